"""A project with members of every role, a target with replicas, a plan, rollouts and operations."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.test import Client
from django.utils import timezone

from controlplane.models import Membership, Project, Role, User
from deployments.backups.models import Restore
from deployments.drift.models import DriftDecision
from deployments.fleets.services import fleet_create, fleet_rollout_start
from deployments.models import HealthTransition, MetricPoint, Plan, Release, Replica, Rollout, Target
from tests.api.conftest import make_backup, make_finding
from worker.engine import append_event
from worker.models import Operation

PASSWORD = "correct-horse-7"


@pytest.fixture
def project(db):
    return Project.objects.create(name="acme")


@pytest.fixture
def members(project, settings):
    """{role: user}."""
    # A password hash that is slow to guess is slow to make, three times for each test.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    found = {}
    for role in Role.values:
        user = User.objects.create_user(username=f"the-{role}", password=PASSWORD)
        Membership.objects.create(user=user, project=project, role=role)
        found[role] = user
    return found


@pytest.fixture
def signed_in(members):
    """A client of a member with this role."""

    def client(role: str) -> Client:
        made = Client()
        made.force_login(members[role])
        return made

    return client


def make_target(project, name: str, *, port: int, **values) -> Target:
    release, _ = Release.objects.get_or_create(
        project=project,
        number=1,
        defaults={
            "image": "aindusdb/api:0.1.0",
            "config": {"env": {"A": "1"}},
            "digest": "d" * 64,
            "created_by": "user:ada",
        },
    )
    now = timezone.now()
    target = Target.objects.create(
        project=project,
        name=name,
        provider="local",
        region="local",
        spec={"replicas": 2, "connection_limit": -1},
        created_by="user:ada",
        release=release,
        **{"status": "ready", "health": "healthy", "health_since": now, "ready_at": now} | values,
    )
    for number in range(2):
        replica = Replica.objects.create(
            target=target, release=release, status="ready", port=port + number, last_probe_ms=1.5
        )
        MetricPoint.objects.create(
            target=target,
            replica=replica,
            resolution_seconds=15,
            at=now - timedelta(seconds=30),
            covered_seconds=15,
            requests=150,
            errors=1,
            buckets=[0, 100, 40, 10],
            memory_bytes=2**27,
        )
    HealthTransition.objects.create(
        target=target, at=now - timedelta(hours=2), previous="unknown", health="healthy"
    )
    return target


def make_operation(target, kind: str = "target.provision", **values) -> Operation:
    made = Operation.objects.create(
        project=target.project,
        kind=kind,
        subject=target.subject,
        step="wait_for_replicas",
        run_after=timezone.now() + timedelta(hours=1),
        started_at=timezone.now(),
        created_by="user:ada",
        input={"target": target.pk},
        **values,
    )
    append_event(made, "created", "Asked for", step="plan")
    append_event(made, "started", step="plan")
    append_event(made, "next", "Planned", step="plan")
    append_event(made, "wait", "Waiting for replica 1", step="wait_for_replicas")
    return made


@pytest.fixture
def seeded(project):
    """Things that every page has something to show of."""
    target = make_target(project, "search", port=9100)
    release = Release.objects.create(
        project=project,
        number=2,
        image="aindusdb/api:0.1.0",
        config={},
        digest="e" * 64,
        created_by="user:ada",
    )
    done = {"finished_at": timezone.now()}
    failed = make_operation(
        target, "target.rollout", status="failed", error="It broke.", remedy="Mend it.", **done
    )
    rollout = Rollout.objects.create(
        target=target,
        release=release,
        previous=target.release,
        status="rolled_back",
        reason="It did not become ready.",
        operation=failed.pk,
        created_by="user:ada",
        **done,
    )
    plan = Plan.objects.create(
        target=target,
        spec=target.spec,
        digest="x" * 64,
        created_by="user:ada",
        changes=[
            {"action": "create", "kind": "database", "name": "d", "fields": {"a": 1}, "replaces_data": False}
        ],
        problems=[
            {"severity": "warning", "field": "spec", "message": "Hm.", "remedy": "Look.", "code": "hm"}
        ],
    )
    failed.input = {"target": target.pk, "rollout": rollout.pk, "release": release.pk}
    failed.save(update_fields=["input"])
    running = make_operation(target, "target.scale", status="waiting", percent=40, waiting_for="replica 1")
    backup = make_backup(target, place="/nowhere/search/one.dump")
    restore = Restore.objects.create(
        target=target,
        backup=backup,
        mode="in_place",
        status="succeeded",
        kept_database="aindus_k_1",
        created_by="user:ada",
        **done,
    )
    finding = make_finding(target)
    fleet = fleet_create(project=project, name="world", members=[{"target": "search"}], created_by="user:ada")
    fleet_rollout, _ = fleet_rollout_start(fleet=fleet, release=release, requested_by="user:ada")
    return SimpleNamespace(
        target=target,
        rollout=rollout,
        plan=plan,
        running=running,
        failed=failed,
        release=release,
        backup=backup,
        restore=restore,
        finding=finding,
        decision=DriftDecision.objects.create(finding=finding, action="ignore", reason="why", by="user:ada"),
        fleet_rollout=fleet_rollout,
    )
