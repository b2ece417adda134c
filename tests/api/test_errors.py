"""Every error has the one shape, whoever raised it."""

import json

import pytest
from django.db import OperationalError

from controlplane.api import accounts
from controlplane.api.errors import problem_answer
from controlplane.errors import ConflictError, NotFoundError, ProblemError
from deployments import target_api
from tests.api.conftest import assert_problem
from vectors import endpoints, probes

pytestmark = pytest.mark.django_db


def test_unknown_address(anonymous, viewer):
    assert_problem(anonymous.get("/api/nothing"), 404, "not_found")
    assert_problem(viewer.get("nothing"), 404, "not_found")


def test_no_or_bad_credentials(anonymous):
    assert_problem(anonymous.get("targets"), 401, "unauthenticated")
    assert_problem(anonymous.get("targets", Authorization="Basic YTpi"), 401, "unauthenticated")
    for token in ("ak_wrong", "a.b.c", "é", "x" * 5000, ""):
        assert_problem(anonymous.get("targets", Authorization=f"Bearer {token}"), 401)


def test_wrong_method(viewer, anonymous):
    answer = viewer.call("PUT", "targets")
    assert_problem(answer, 405, "method_not_allowed")
    assert_problem(anonymous.call("PUT", "targets"), 401)


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b"{", "application/json", 400, "malformed"),
        (b"\xff\xfe", "application/json", 400, "malformed"),
        (b'{"a": NaN}', "application/json", 400, "malformed"),
        (b"[" * 100_000, "application/json", 400, "malformed"),
        (b"[]", "application/json", 422, "not_an_object"),
        (b"3", "application/json", 422, "not_an_object"),
        (b'{"note": "\\u0000"}', "application/json", 422, "unstorable_text"),
        (b'{"note": "\\ud800"}', "application/json", 422, "unstorable_text"),
        (b'{"config": {"a": 1e999}}', "application/json", 422, "number_too_large"),
        (b"a=1", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        (b'{"note": "' + b"x" * 1_100_000 + b'"}', "application/json", 413, "too_large"),
    ],
)
def test_bodies_that_cannot_be_taken(operator, body, content_type, status, code):
    answer = operator.client.post(
        "/api/v1/releases", body, content_type=content_type, headers=operator.headers
    )
    assert_problem(answer, status, code)


def test_unknown_fields_and_parameters_are_named(operator):
    body = assert_problem(operator.post("releases", {"imagee": "a:1"}), 422, field="imagee")
    assert "known are: config, image, note" in body["errors"][0]["message"]
    assert_problem(operator.get("releases?colour=red"), 422, field="colour")
    assert_problem(operator.get("releases/v1?colour=red"), 422, field="colour")
    assert_problem(operator.post("releases", {"config": {"threads": 99}}), 422, field="config.threads")


def test_what_is_not_foreseen_is_told_with_its_request_id(viewer, monkeypatch, caplog):
    def fails(actor):
        raise RuntimeError("surprise")

    monkeypatch.setattr(accounts.selectors, "projects_of", fails)
    body = assert_problem(viewer.get("projects"), 500, "internal")
    assert "surprise" not in json.dumps(body)
    assert body["request_id"] in caplog.text and "surprise" in caplog.text


def test_a_database_that_does_not_answer(viewer, monkeypatch):
    def fails(actor):
        raise OperationalError("server closed the connection")

    monkeypatch.setattr(accounts.selectors, "projects_of", fails)
    assert_problem(viewer.get("projects"), 503, "database_unavailable")


def kinds(kind=ProblemError) -> set[type[ProblemError]]:
    """A class of errors and all below it, of both planes."""
    return {kind}.union(*map(kinds, kind.__subclasses__()))


def test_what_may_be_tried_again_says_when():
    """In the body as in the header, in the control plane and in a target, whoever raises it."""
    assert issubclass(probes.NotReadyError, ProblemError)
    again = sorted((kind for kind in kinds() if kind.status in (429, 503)), key=str)
    assert {kind.code for kind in again} >= {"too_many_requests", "unavailable", "timeout", "not_ready"}
    for kind in again:
        for given, told in ((None, kind.retry_after_seconds), (7, 7)):
            error = kind(retry_after_seconds=given)
            answer = problem_answer(error)
            target = endpoints.problem(error, "")
            for body, header in (
                (json.loads(answer.content), answer["Retry-After"]),
                (json.loads(target.body), dict(target.headers)["Retry-After"]),
            ):
                assert body["retry_after"] == body["retry_after_seconds"] == int(header) == told > 0, kind
    assert "retry_after" not in NotFoundError().as_dict()
    assert ConflictError(retry_after_seconds=1).as_dict()["retry_after"] == 1


def test_a_target_s_wait_is_passed_on():
    problem = {"detail": "Too much at once.", "code": "too_many_requests", "retry_after": 9}
    assert target_api.problem_of(429, json.dumps(problem).encode()).as_dict()["retry_after"] == 9
    assert target_api.problem_of(502, b"<html>").as_dict()["retry_after"] == 1


def test_a_given_request_id_is_kept(viewer):
    answer = viewer.get("targets/none", X_Request_Id="trace-1")
    assert assert_problem(answer, 404)["request_id"] == "trace-1"


def test_names_with_odd_characters_are_not_found(viewer):
    for name in ("%00", "a%00b", "..%2f..", "tgt_x", "tgt_" + "z" * 26, "%F0%9F%92%A5", "x" * 3000):
        for path in (
            "targets",
            "operations",
            "plans",
            "rollouts",
            "releases",
            "members",
            "api-keys",
            "projects",
        ):
            assert_problem(viewer.get(f"{path}/{name}"), 404)
