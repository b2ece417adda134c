"""People, keys and rows that the tests of the REST API share, and the one check of an error's shape."""

import json
from dataclasses import dataclass

import pytest
from django.test import Client
from django.utils import timezone

from controlplane import actors, throttle
from controlplane.models import Membership, Project, Role, User
from controlplane.services import api_key_create
from deployments.backups.models import Backup, BackupStatus, Restore
from deployments.drift.models import DriftDecision, DriftFinding
from deployments.fleets.models import Fleet, FleetRollout
from deployments.fleets.services import fleet_create, fleet_rollout_start
from deployments.models import Plan, Release, Replica, ReplicaStatus, Rollout, Target, TargetStatus
from worker.handlers import OperationHandler, operation
from worker.outcomes import Done, Outcome
from worker.services import operation_submit

PASSWORD = "correct horse battery"
JWT_SECRET = "target-secret-" * 4


@operation("sample.api", first="go", label="Sample")
class Sample(OperationHandler):
    """Ends at once."""

    def go(self) -> Outcome:
        self.report("half way", percent=50)
        return Done({"answer": 42}, "Done")


@pytest.fixture(autouse=True)
def nobody_remembered(settings):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    actors.forget()
    throttle._counts.clear()


def assert_problem(answer, status: int, code: str = "", field: str | None = None) -> dict:
    """The one shape of every error."""
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    body = json.loads(answer.content)
    assert {"type", "title", "status", "detail", "code", "errors", "request_id"} <= set(body)
    assert body["status"] == status
    assert body["type"] == f"urn:aindusdb:problem:{body['code']}"
    assert body["title"] and body["detail"] and body["request_id"]
    assert answer["X-Request-Id"] == body["request_id"]
    for error in body["errors"]:
        assert set(error) == {"field", "code", "message"}
        assert error["message"]
    if status in (429, 503):
        assert body["retry_after"] == int(answer["Retry-After"]) > 0
    if status == 401:
        assert answer["WWW-Authenticate"].startswith("Bearer")
    if code:
        assert body["code"] == code, body
    if field is not None:
        assert field in [error["field"] for error in body["errors"]], body
    return body


class Api:
    """A client of one caller: `api.get("targets")`, JSON both ways."""

    def __init__(self, token: str = ""):
        self.client = Client(raise_request_exception=False)
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def call(self, method, path, body=None, **headers):
        url = path if path.startswith("/") else f"/api/v1/{path}"
        headers = self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        given = {} if body is None else {"data": json.dumps(body), "content_type": "application/json"}
        return self.client.generic(method, url, headers=headers, **given)

    def get(self, path, **headers):
        return self.call("GET", path, **headers)

    def post(self, path, body=None, **headers):
        return self.call("POST", path, body, **headers)

    def patch(self, path, body=None, **headers):
        return self.call("PATCH", path, body, **headers)

    def delete(self, path, body=None, **headers):
        return self.call("DELETE", path, body, **headers)


@pytest.fixture
def project(db):
    return Project.objects.create(name="default")


@pytest.fixture
def key_of(project):
    """The text of a key of a role; `in_project` for another project."""

    def key_of(role: str, in_project=None, name: str = "") -> str:
        _, text = api_key_create(
            project=in_project or project, name=name or f"key-{role}", role=role, created_by="test"
        )
        return text

    return key_of


@pytest.fixture
def viewer(key_of):
    return Api(key_of("viewer"))


@pytest.fixture
def operator(key_of):
    return Api(key_of("operator"))


@pytest.fixture
def admin(key_of):
    return Api(key_of("admin"))


@pytest.fixture
def stranger(db, key_of):
    """An administrator of another project."""
    return Api(key_of("admin", Project.objects.create(name="other")))


@pytest.fixture
def anonymous(db):
    return Api()


@pytest.fixture
def user(project):
    user = User.objects.create_user("ada", "ada@example.org", PASSWORD)
    Membership.objects.create(user=user, project=project, role=Role.ADMIN)
    return user


def make_release(project, number: int = 1) -> Release:
    return Release.objects.create(
        project=project,
        number=number,
        image=f"aindusdb/api:0.{number}",
        config={},
        digest=f"{number:064x}",
        created_by="test",
    )


def make_target(project, name: str = "alpha", **values) -> Target:
    values = {
        "provider": "local",
        "region": "here",
        "spec": {"replicas": 2},
        "status": TargetStatus.READY,
        "secrets": {"jwt_secret": JWT_SECRET},
        "created_by": "test",
    } | values
    return Target.objects.create(project=project, name=name, **values)


def make_replica(target, port: int, status: str = ReplicaStatus.READY, **values) -> Replica:
    return Replica.objects.create(target=target, release=target.release, status=status, port=port, **values)


def make_finding(target, **values) -> DriftFinding:
    now = timezone.now()
    values = {
        "source": "provider",
        "kind": "database role",
        "name": "aindus_t_1",
        "field": "connection_limit",
        "expected": -1,
        "actual": 10,
        "first_seen_at": now,
        "last_seen_at": now,
    } | values
    return DriftFinding.objects.create(target=target, **values)


def make_backup(target, **values) -> Backup:
    now = timezone.now()
    values = {
        "status": BackupStatus.PROVEN,
        "place": f"/nowhere/{target.pk}/x.dump",
        "stored": True,
        "at": now,
        "proven_at": now,
        "size_bytes": 4096,
        "collections": [{"name": "docs", "points": 10, "checksum": "0" * 16, "recall": 1.0}],
        "proof": {"collections": 1, "points": 10, "queries": 10, "recall": 1.0},
        "created_by": "test",
    } | values
    return Backup.objects.create(target=target, **values)


@dataclass
class World:
    """One of everything."""

    project: Project
    release: Release
    target: Target
    replica: Replica
    plan: Plan
    rollout: Rollout
    operation: object
    backup: Backup
    restore: Restore
    finding: DriftFinding
    decision: DriftDecision
    fleet: Fleet
    fleet_rollout: FleetRollout


@pytest.fixture
def world(project):
    release = make_release(project)
    target = make_target(project, release=release)
    fleet = fleet_create(project=project, name="all", members=[{"target": "alpha"}], created_by="test")
    fleet_rollout, _ = fleet_rollout_start(fleet=fleet, release=release, requested_by="test")
    submitted = operation_submit(project=project, kind="sample.api", subject="thing:1", created_by="key:x")
    return World(
        project,
        release,
        target,
        make_replica(target, 19001),
        Plan.objects.create(target=target, spec={}, digest="0" * 64, created_by="test"),
        Rollout.objects.create(target=target, release=release, created_by="test", operation=""),
        submitted,
        backup := make_backup(target),
        Restore.objects.create(target=target, backup=backup, mode="scratch", created_by="test"),
        finding := make_finding(target),
        DriftDecision.objects.create(finding=finding, action="ignore", reason="why", by="test"),
        fleet,
        fleet_rollout,
    )
