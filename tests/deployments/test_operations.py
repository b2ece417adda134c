"""Provision, rollout, scale, restart, heal and destroy, with real databases and processes."""

import pytest

from deployments.models import LIVE_REPLICA, Replica, ReplicaStatus, TargetStatus
from deployments.services import target_create, target_destroy, target_update
from tests.deployments.conftest import replica_processes, target_databases
from worker.models import Status

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def target(project, stand_in, run):
    """A target that serves with two replicas."""
    target, _, operation = target_create(project=project, name="one", provider="local", created_by="test")
    assert run(operation).status == Status.SUCCEEDED, operation.error
    target.refresh_from_db()
    return target


def live(target):
    return list(Replica.objects.filter(target=target, status__in=LIVE_REPLICA).order_by("pk"))


def test_provision_and_destroy(target, run, stand_in, settings):
    assert target.status == TargetStatus.READY
    assert [r.status for r in live(target)] == [ReplicaStatus.READY] * 2
    assert len({r.port for r in live(target)}) == 2
    target_update(target=target, deletion_protection=False, requested_by="test")
    operation = run(target_destroy(target=target, confirm="one", requested_by="test"))
    assert operation.status == Status.SUCCEEDED, operation.error
    target.refresh_from_db()
    assert target.status == TargetStatus.DESTROYED
    assert live(target) == []
    assert replica_processes(stand_in) == []
    assert target_databases(settings.DATABASE_URL) == set()
    assert dict(target.secrets) == {}
    assert list((stand_in / "replicas").iterdir()) == []
