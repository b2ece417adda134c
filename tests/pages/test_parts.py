"""The parts pages are made of: paging, timelines, words, and calls to a target."""

import json
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import jwt
import pytest
from django.utils import timezone

from controlplane.errors import ConflictError, InvalidError
from controlplane.pages.paging import paginate
from controlplane.templatetags import pages as tags
from deployments.models import Target
from deployments.pages import infrastructure, selectors
from deployments.pages.operations import steps_of
from deployments.target_api import TargetApi, TargetUnreachableError
from tests.pages.conftest import make_operation, make_target


def test_paging_goes_there_and_back(project):
    Target.objects.bulk_create(
        Target(project=project, name=f"t{n:02}", provider="local", region="same", created_by="x")
        for n in range(7)
    )
    seen, cursors, parameters = [], [], {"sort": "-region"}
    while True:
        page = paginate(
            Target.objects.all(), parameters, sorts={"region": "region"}, default="region", size=3
        )
        seen.append([target.name for target in page])
        cursors.append(page.previous)
        if not page.next:
            break
        parameters = {"sort": "-region", "cursor": page.next}
    assert [len(names) for names in seen] == [3, 3, 1]
    assert len({name for names in seen for name in names}) == 7
    back = paginate(
        Target.objects.all(),
        {"sort": "-region", "cursor": cursors[-1]},
        sorts={"region": "region"},
        default="region",
        size=3,
    )
    assert [target.name for target in back] == seen[1]
    assert back.previous
    assert back.next


@pytest.mark.parametrize("parameters", [{"cursor": "!!"}, {"cursor": "bm9uZQ"}, {"sort": "secrets"}])
def test_paging_drops_what_is_not_valid(parameters, project):
    assert paginate(Target.objects.all(), parameters, sorts={"name": "name"}, default="name").sort == "name"


def test_timeline_of_steps(project):
    operation = make_operation(make_target(project, "a", port=9300), status="waiting")
    steps = steps_of(operation, list(operation.events.order_by("sequence")))
    assert [(step.name, step.state) for step in steps] == [
        ("plan", "succeeded"),
        ("wait_for_replicas", "waiting"),
    ]
    assert steps[0].until is not None
    assert steps[1].until is None


@pytest.mark.parametrize(
    ("healths", "running", "needs", "told"),
    [
        ([], 0, 0, "No targets yet."),
        (["healthy"] * 3, 1, 0, "3 targets healthy, 1 operation running, nothing needs you."),
        (["healthy", "degraded"], 0, 1, "1 target healthy, 1 degraded, 1 thing needs you."),
        (["unhealthy", "unhealthy"], 0, 2, "2 targets unhealthy, 2 things need you."),
    ],
)
def test_sentence(healths, running, needs, told):
    targets = [Target(health=health, status="ready") for health in healths]
    assert selectors.sentence(targets, running, needs) == told


def test_words_of_figures():
    now = datetime(2026, 1, 2, tzinfo=UTC)
    assert tags.relative(now - timedelta(seconds=250), now) == "4 min ago"
    assert tags.relative(now + timedelta(hours=3), now) == "in 3 h"
    assert tags.seconds(0.64) == "640 ms"
    assert tags.seconds(185) == "3 min 5 s"
    assert tags.size(1536) == "1.5 KiB"
    assert tags.number(1234567) == "1,234,567"
    assert tags.percent(0.999999, 3) == "99.999 %"
    assert tags.percent(1.0) == "100 %"
    assert tags.highlight("<b> Fox", "fox") == "&lt;b&gt; <mark>Fox</mark>"


class _Replica(BaseHTTPRequestHandler):
    answers: dict = {}
    seen: list = []

    def do_GET(self):
        self.seen.append(self.headers["Authorization"])
        status, body = self.answers[self.path]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    do_POST = do_GET

    def log_message(self, *arguments):
        pass


@pytest.fixture
def replica(project):
    """A target whose only ready replica is a server of ours."""
    server = HTTPServer(("127.0.0.1", 0), _Replica)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    target = make_target(project, "far", port=9400, secrets={"jwt_secret": "s" * 40})
    target.replicas.update(status="stopped", stopped_at=timezone.now())
    target.replicas.filter(pk=target.replicas.order_by("pk").first().pk).update(
        status="ready", port=server.server_port, stopped_at=None
    )
    yield target
    server.shutdown()
    server.server_close()


def test_target_is_called_with_a_short_token(replica):
    _Replica.answers = {
        "/api/v1/vectors/collections?limit=200": (200, {"items": [{"name": "a"}], "next_cursor": None})
    }
    assert TargetApi(replica, subject="user:ada", role="viewer").collections() == [{"name": "a"}]
    claims = jwt.decode(_Replica.seen[-1].removeprefix("Bearer "), "s" * 40, algorithms=["HS256"])
    assert (claims["sub"], claims["role"]) == ("user:ada", "viewer")
    assert claims["exp"] - claims["iat"] == 60


@pytest.mark.parametrize(
    ("status", "kind"), [(422, InvalidError), (409, ConflictError), (500, TargetUnreachableError)]
)
def test_targets_problems_are_ours(status, kind, replica):
    _Replica.answers = {
        "/api/v1/vectors/collections/a": (status, {"detail": "Because.", "code": "why", "errors": []})
    }
    with pytest.raises(kind, match="Because"):
        TargetApi(replica, subject="x").collection("a")


def test_target_without_replicas_says_so(project, signed_in):
    target = make_target(project, "gone", port=9500, secrets={"jwt_secret": "s" * 40})
    target.replicas.update(status="failed", stopped_at=timezone.now())
    answer = signed_in("viewer").get("/targets/gone/data/")
    assert answer.status_code == 200
    assert b"The target does not answer" in answer.content
    assert b"has no replica that is ready" in answer.content


def test_settings_are_shown_in_words_and_empty_ones_are_not():
    inner = {"tls_secret": {"title": "Certificate"}, "sidecar": {}, "cidrs": {"title": "CIDRs"}}
    schema = {
        "properties": {
            "replicas": {"title": "Replicas"},
            "pull_secrets": {},
            "routing": {"title": "Routing", "properties": inner},
        }
    }
    spec = {
        "replicas": 2,
        "pull_secrets": [{"name": "a"}, {"name": "b"}],
        "routing": {"tls_secret": "", "sidecar": False, "cidrs": ["10.0.0.0/8", "::/0"]},
    }
    assert infrastructure.settings_shown(schema, spec) == [
        ("Replicas", "2"),
        ("Pull secrets", "name=a, name=b"),
        ("Routing: sidecar", "no"),
        ("Routing: CIDRs", "10.0.0.0/8, ::/0"),
    ]
    assert infrastructure.outputs_shown(
        {"namespace": "a", "workload": {"revisions": []}, "capabilities": {"istio": True}}, {"token": "op_1"}
    ) == [("capabilities.istio", "yes"), ("namespace", "a")]
