"""What the client does when the server is busy, away, or breaks off: against a server that does just that."""

import dataclasses
import email.utils
import json
import socket
import threading
import time

import pytest

from aindusdb_client import (
    NO_RETRIES,
    Client,
    ConflictError,
    DeadlineExceededError,
    LoadIncompleteError,
    NoAnswerError,
    RateLimitedError,
    RetryPolicy,
    ServerError,
    UnavailableError,
    UnexpectedAnswerError,
)
from aindusdb_client.errors import api_error
from tests.clients.failing import INFO, Failing, ok, problem

COUNT = ok({"count": 7})


@dataclasses.dataclass(frozen=True, slots=True)
class Noted(RetryPolicy):
    """Does not wait, and notes what it would have waited after."""

    notes: list = dataclasses.field(default_factory=list)

    def wait_seconds(self, tried, error):
        self.notes.append(
            (tried, getattr(error, "status", None), super(Noted, self).wait_seconds(tried, error))
        )
        return 0.0


@pytest.fixture
def failing():
    made = Failing()
    yield made
    made.close()


@pytest.fixture
def policy():
    return Noted()


@pytest.fixture
def client(failing, policy):
    with Client(failing.url, "key", retry=policy) as made:
        yield made


@pytest.fixture
def docs(client):
    return client.collection("docs")


def test_busy_unavailable_and_lost_are_tried_again(failing, docs, policy):
    failing.script = [problem(429), problem(503), "reset", "close", COUNT]
    assert docs.count().count == 7
    assert [(tried, status) for tried, status, _ in policy.notes] == [
        (1, 429),
        (2, 503),
        (3, None),
        (4, None),
    ]
    assert len(set(failing.asked)) == 1


def test_an_answer_that_breaks_off_is_asked_for_again(failing, docs):
    failing.script = ["cut", COUNT]
    assert docs.count().count == 7


def test_after_the_last_try_the_error_is_raised(failing, client):
    failing.script = [problem(503, "timeout", request_id=f"r{at}", retry_after=0) for at in range(9)]
    with pytest.raises(UnavailableError) as refused:
        client.collection("docs").count()
    assert (refused.value.code, refused.value.request_id, refused.value.retry_after) == ("timeout", "r4", 0)
    assert len(failing.asked) == 5
    failing.asked.clear()
    with pytest.raises(UnavailableError):
        client.with_options(retry=NO_RETRIES).collection("docs").count()
    assert len(failing.asked) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 415, 422, 500, 502])
def test_what_will_not_get_better_is_not_tried_again(failing, docs, status):
    failing.script = [problem(status), COUNT]
    with pytest.raises(api_error(status, {}, b"").__class__):
        docs.count()
    assert len(failing.asked) == 1


def test_waits_grow_and_are_drawn(policy):
    error = api_error(503, {}, b"")
    waits = [[RetryPolicy(tries=20).wait_seconds(tried, error) for _ in range(200)] for tried in (1, 4, 15)]
    for drawn, most in zip(waits, (0.1, 0.8, 10.0), strict=True):
        assert all(0 <= wait <= most for wait in drawn)
        assert max(drawn) > most / 2 > min(drawn)
    with pytest.raises(ValueError, match="tries"):
        RetryPolicy(tries=0)


def test_what_the_server_asks_for_is_waited(failing, docs, policy):
    in_a_minute = email.utils.formatdate(time.time() + 60, usegmt=True)
    failing.script = [
        problem(429, headers={"Retry-After": "7"}),
        problem(503, retry_after=9, headers={"Retry-After": "3"}),
        problem(503, retry_after=11),
        problem(503, headers={"Retry-After": in_a_minute}),
        COUNT,
    ]
    docs.count()
    waits = [wait for _, _, wait in policy.notes]
    assert [int(wait) for wait in waits[:3]] == [7, 9, 11]
    assert 55 < waits[3] < 62


def test_the_wait_takes_place(failing):
    failing.script = [problem(429, retry_after=1), COUNT]
    began = time.monotonic()
    with Client(failing.url, retry=RetryPolicy(first_wait_seconds=0)) as client:
        assert client.collection("docs").count().count == 7
    assert time.monotonic() - began >= 1


def test_a_wait_beyond_the_deadline_is_not_begun(failing):
    failing.script = [problem(429, retry_after=3600), COUNT]
    with Client(failing.url, timeout=20) as client, pytest.raises(RateLimitedError) as refused:
        client.collection("docs").count()
    assert refused.value.retry_after == 3600
    assert len(failing.asked) == 1


def test_the_deadline_holds_for_all_tries_together(failing, policy):
    failing.script = ["silent", "silent"]
    with (
        Client(failing.url, timeout=0.3, retry=policy) as client,
        pytest.raises(DeadlineExceededError, match=r"0\.3 s"),
    ):
        client.collection("docs").count()
    assert len(failing.asked) == 1
    assert client.with_options(timeout=None)._transport.options.timeout is None


def test_nobody_listens(policy):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with Client(f"http://127.0.0.1:{taken.getsockname()[1]}", retry=policy) as client:
            with pytest.raises(NoAnswerError, match="refused"):
                client.collection("docs").count()
            # Nothing was sent, so that even what may not be done twice is tried again.
            with pytest.raises(NoAnswerError):
                client.simple_add([1, 2])
    assert [tried for tried, _, _ in policy.notes] == [1, 2, 3, 4] * 2


def test_what_must_not_be_done_twice(failing, client, docs):
    added = ok({"id": "1", "content": None, "metadata": {}}, 201)
    for call in (
        lambda: client.simple_add([1, 2]),
        lambda: client.api_key_create("k"),
        lambda: docs.index_build(),
        lambda: docs.recall_measure(),
    ):
        for lost in ("reset", "cut", problem(503, "timeout")):
            failing.script, failing.asked = [lost, added], []
            with pytest.raises((NoAnswerError, UnavailableError)):
                call()
            assert len(failing.asked) == 1
    # Too busy to begin is another thing.
    failing.script, failing.asked = [problem(429), problem(503, "no_ready_replica"), added], []
    assert client.simple_add([1, 2]).id == "1"
    assert len(failing.asked) == 3
    # Each over a connection of its own.
    assert len(set(failing.connections[-3:])) == 3


def test_a_collection_whose_making_was_not_heard_of(failing, client):
    exists = problem(409, "exists")
    failing.script = ["reset", exists, ok(INFO)]
    assert client.collection_create("docs", 2).name == "docs"
    assert [asked[0] for asked in failing.asked] == ["POST", "POST", "GET"]
    for other in ({"dimension": 3}, {"metric": "l2"}, {"index": {**INFO["index"], "auto": False}}):
        failing.script = ["reset", exists, ok(INFO | other)]
        with pytest.raises(ConflictError):
            client.collection_create("docs", 2)
    # Without a lost try it is somebody else's.
    failing.script = [problem(429), exists, ok(INFO)]
    with pytest.raises(ConflictError):
        client.collection_create("docs", 2)


def test_a_deletion_that_was_not_heard_of(failing, client, docs):
    failing.script = ["reset", problem(404, "unknown_collection")]
    docs.drop()
    failing.script = [problem(503, "timeout"), problem(404, "unknown_namespace")]
    assert docs.namespace_delete("x") == 0
    failing.script = [problem(404, "unknown_key")]
    with pytest.raises(Exception, match="unknown_key"):
        client.api_key_delete("key_1")


def test_batches_are_sent_again_alike(failing, docs):
    done = ok({"upserted": 2, "errors": []})
    failing.script = ["reset", done, problem(503), "close", done]
    points = ((str(at), [at, 1]) for at in range(4))
    assert docs.upsert(points, batch_points=2).upserted == 4
    bodies = [json.loads(body) for _, _, body in failing.asked]
    assert bodies[0] == bodies[1] and bodies[2] == bodies[3] == bodies[4]
    assert [body["ids"] for body in (bodies[0], bodies[2])] == [["0", "1"], ["2", "3"]]


def test_the_first_error_ends_a_parallel_load(failing, docs):
    failing.script = [ok({"upserted": 1, "errors": []}), problem(422, "invalid"), *[problem(500)] * 50]
    with pytest.raises((ServerError, Exception)) as refused:
        docs.upsert(((str(at), [at, 1]) for at in range(50)), batch_points=1, parallel=3)
    assert refused.value.rows_done in (0, 1)
    assert len(failing.asked) < 10


SUMMARY = {"summary": {"lines": 3, "upserted": 3, "failed": 0, "took_ms": 1.0}}


def lines(*values) -> tuple:
    return 200, b"".join(json.dumps(value).encode() + b"\n" for value in values), {}


def test_a_stream_that_is_refused_is_sent_again(failing, docs):
    points = [(str(at), [at, 1]) for at in range(3)]
    for given in (points, iter(points)):
        failing.script, failing.asked = [problem(429), "early refusal", "reset", lines(SUMMARY)], []
        assert docs.upsert_stream(given).upserted == 3
        sent = [body for _, _, body in failing.asked]
        assert sent[0] == sent[2] == sent[3] and sent[0].count(b"\n") == 3


def test_a_stream_too_far_gone_is_not_sent_again(failing, docs):
    many = ((f"{at}", [at, 1], {"text": "x" * 10_000}) for at in range(1200))
    failing.script = [problem(429), lines(SUMMARY)]
    with pytest.raises(RateLimitedError):
        docs.upsert_stream(many)
    again = [(f"{at}", [at, 1], {"text": "x" * 10_000}) for at in range(1200)]
    failing.script, failing.asked = ["close", lines(SUMMARY)], []
    assert docs.upsert_stream(again).upserted == 3
    assert [body.count(b"\n") for _, _, body in failing.asked] == [1200, 1200]


def test_a_stream_that_ends_early(failing, docs):
    for told in (
        lines({"line": 1, "id": "a", "status": "upserted"}),
        lines({"summary": SUMMARY["summary"] | {"error": {"code": "unavailable", "detail": "Away."}}}),
        lines({"progress": {"lines": 1, "upserted": 0}}),
    ):
        failing.script = [told]
        with pytest.raises(LoadIncompleteError):
            docs.upsert_stream([("a", [1, 2])])
    failing.script = [lines({"progress": {"lines": 1, "upserted": 0}}, SUMMARY)]
    assert docs.upsert_stream([("a", [1, 2])]).lines == 3


def test_something_else_answers(failing, docs):
    failing.script = [(200, b"<html>", {}), (502, b"<html>Bad gateway", {})]
    with pytest.raises(UnexpectedAnswerError):
        docs.count()
    with pytest.raises(ServerError, match="http_502: <html>Bad gateway"):
        docs.count()


def test_connections_are_kept(failing, docs):
    failing.script = [COUNT] * 20
    for _ in range(20):
        docs.count()
    assert len(set(failing.connections)) == 1


def test_threads_have_connections_of_their_own(failing, docs):
    failing.script = [COUNT] * 40
    start = threading.Barrier(4)

    def ask():
        start.wait()
        for _ in range(10):
            assert docs.count().count == 7

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= len(set(failing.connections)) <= 4
    assert len(failing.asked) == 40


def test_the_key_and_headers_are_sent_and_not_shown(failing):
    failing.script = [COUNT]
    with Client(failing.url, "secret-key", headers={"X-Request-Id": "mine"}) as client:
        client.collection("docs").count()
        assert "secret-key" not in repr(client) + repr(client.collection("docs"))
