"""Replicas that die, stay unready or crash again and again, and what is left of old ones."""

import os
import signal
from datetime import timedelta

import pytest

from deployments.models import LIVE_REPLICA, Replica, ReplicaStatus, TargetStatus
from deployments.reconciliation import reconcile, reconcile_all, tidy_replicas
from deployments.runtimes.processes import ProcessRuntime
from deployments.services import target_create
from tests.deployments.conftest import replica_processes, wait_until
from worker.engine import database_now
from worker.models import Operation, Status

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def target(project, stand_in, run):
    """A target that serves with one replica."""
    target, _, operation = target_create(
        project=project, name="one", provider="local", spec={"replicas": 1}, created_by="test"
    )
    assert run(operation).status == Status.SUCCEEDED, operation.error
    target.refresh_from_db()
    return target


def live(target):
    return list(Replica.objects.filter(target=target, status__in=LIVE_REPLICA).order_by("pk"))


def kill(replica):
    os.kill(replica.handle["pid"], signal.SIGKILL)
    wait_until(lambda: ProcessRuntime().state(replica.pk).state == "exited")


def heals():
    return Operation.objects.filter(kind="target.heal").order_by("pk")


def test_crashing_again_and_again_is_backed_off(target, run, stand_in):
    for _ in range(2):
        (replica,) = live(target)
        kill(replica)
        now = database_now()
        target.refresh_from_db()
        operation = reconcile(target, now=now)
        if operation is None:
            break
        assert run(operation).status == Status.SUCCEEDED
        target.refresh_from_db()
        assert target.status == TargetStatus.READY
    assert heals().count() == 1, "the second crash in a row waits"
    target.refresh_from_db()
    assert target.status == TargetStatus.DEGRADED
    assert "killed by SIGKILL" in target.status_reason
    assert reconcile(target, now=now + timedelta(seconds=4)) is None
    assert run(reconcile(target, now=now + timedelta(seconds=6))).status == Status.SUCCEEDED
    target.refresh_from_db()
    assert target.status == TargetStatus.READY
    assert [r.status for r in live(target)] == ["ready"]


def test_a_heal_that_fails_leaves_the_target_degraded(target, run, stand_in, settings):
    (replica,) = live(target)
    target.release.config["env"] = {"STAND_IN": "exit"}
    target.release.save()
    kill(replica)
    operation = run(reconcile(target, now=database_now()))
    assert (operation.status, operation.error_code) == (Status.FAILED, "not_ready")
    target.refresh_from_db()
    assert target.status == TargetStatus.DEGRADED
    assert "the setting FOO is missing" in target.status_reason
    assert replica_processes(stand_in) == []
    assert reconcile(target, now=database_now()) is None, "not in a hot loop"


def test_unready_for_long_is_replaced(target, run, stand_in):
    (replica,) = live(target)
    Replica.objects.filter(pk=replica.pk).update(status=ReplicaStatus.UNREADY)
    now = database_now()
    assert reconcile(target, now=now - timedelta(seconds=31)) is None
    replica.refresh_from_db()
    assert "unready_since" in replica.handle
    assert reconcile(target, now=now - timedelta(seconds=5)) is None
    operation = run(reconcile(target, now=now))
    assert operation.status == Status.SUCCEEDED, operation.error
    assert "has not been ready for 31 s" in operation.input["reason"]
    replica.refresh_from_db()
    assert replica.status == ReplicaStatus.STOPPED
    assert [r.status for r in live(target)] == ["ready"]


def test_ready_again_is_left_alone(target):
    (replica,) = live(target)
    Replica.objects.filter(pk=replica.pk).update(status=ReplicaStatus.UNREADY)
    reconcile(target, now=database_now() - timedelta(seconds=60))
    Replica.objects.filter(pk=replica.pk).update(status=ReplicaStatus.READY)
    assert reconcile(target, now=database_now()) is None
    replica.refresh_from_db()
    assert "unready_since" not in replica.handle


def test_a_busy_target_is_only_noted(target):
    (replica,) = live(target)
    kill(replica)
    assert reconcile(target, now=database_now(), is_busy=True) is None
    replica.refresh_from_db()
    assert replica.status == ReplicaStatus.FAILED


def test_tidy_ends_and_forgets_what_its_row_says_has_ended(target, stand_in, settings):
    (replica,) = live(target)
    runtime = ProcessRuntime()
    tidy_replicas()
    assert runtime.state(replica.pk).state == "running"
    ended = {"status": ReplicaStatus.FAILED, "stopped_at": database_now()}
    Replica.objects.filter(pk=replica.pk).update(**ended)
    tidy_replicas()
    assert replica_processes(stand_in) == []
    assert runtime.known() == [replica.pk], "its log is kept"
    Replica.objects.filter(pk=replica.pk).update(stopped_at=database_now() - timedelta(hours=25))
    tidy_replicas()
    assert runtime.known() == []


def test_tidy_leaves_the_replicas_of_another_database_alone(target, stand_in):
    (replica,) = live(target)
    Replica.objects.filter(pk=replica.pk).delete()
    tidy_replicas()
    assert ProcessRuntime().state(replica.pk).state == "running"


def test_reconcile_all_is_cheap(target, django_assert_max_num_queries):
    with django_assert_max_num_queries(5):
        reconcile_all()
