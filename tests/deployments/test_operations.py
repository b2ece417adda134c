"""Provision, rollout, scale, restart, heal and destroy, with real databases and processes."""

import os
import signal
import time

import pytest

from deployments.models import LIVE_REPLICA, Replica, ReplicaStatus, RolloutStatus, TargetStatus
from deployments.reconciliation import reconcile_all
from deployments.runtimes.processes import ProcessRuntime, stop_all
from deployments.services import (
    plan_apply,
    rollback_start,
    rollout_start,
    target_create,
    target_destroy,
    target_plan,
    target_restart,
    target_scale,
    target_update,
)
from tests.deployments.conftest import replica_processes, target_databases, wait_until
from worker import engine
from worker.models import Operation, OperationEvent, Status
from worker.services import operation_cancel, operation_retry

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


def config(mode="", **values):
    return {"env": {"STAND_IN": mode, **values}}


def messages(operation):
    return [event.message for event in operation.events.all()]


def assert_gapless(operation):
    numbers = list(operation.events.values_list("sequence", flat=True))
    assert numbers == list(range(1, len(numbers) + 1))
    assert numbers[-1] == operation.last_sequence


def test_rollout(target, run, stand_in):
    before = {r.pk for r in live(target)}
    rollout, operation = rollout_start(target=target, config=config("", A="1"), requested_by="test")
    operation = run(operation)
    assert operation.status == Status.SUCCEEDED, operation.error
    rollout.refresh_from_db()
    target.refresh_from_db()
    assert rollout.status == RolloutStatus.SUCCEEDED
    assert target.release == rollout.release
    assert target.status == TargetStatus.READY
    now = live(target)
    assert [(r.status, r.release_id) for r in now] == [("ready", rollout.release_id)] * 2
    assert before.isdisjoint(r.pk for r in now)
    assert len(replica_processes(stand_in)) == 4, "a launcher and a process each"
    assert_gapless(operation)


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("exit", "exit code 1: "),
        ("unready", "was not ready within 2 s: /ready answers 503: database: does not answer"),
    ],
)
def test_broken_release_rolls_back(target, run, stand_in, settings, mode, reason):
    settings.REPLICA_READY_SECONDS = 2
    before = {r.pk for r in live(target)}
    old = target.release
    rollout, operation = rollout_start(target=target, config=config(mode), requested_by="test")
    operation = run(operation)
    assert (operation.status, operation.error_code) == (Status.FAILED, "rolled_back")
    assert reason in operation.error
    assert "one runs v1 as before" in operation.remedy
    rollout.refresh_from_db()
    target.refresh_from_db()
    assert rollout.status == RolloutStatus.ROLLED_BACK
    assert reason in rollout.reason
    assert (target.status, target.release) == (TargetStatus.READY, old)
    assert {r.pk for r in live(target)} == before, "the old replicas went on serving"
    assert {r.status for r in live(target)} == {ReplicaStatus.READY}
    assert len(replica_processes(stand_in)) == 4
    # More than one when another program of this machine took the first one's port.
    failed = Replica.objects.filter(target=target, release=rollout.release)
    assert {replica.status for replica in failed} == {ReplicaStatus.FAILED}
    assert reason in failed.latest("pk").reason
    assert_gapless(operation)


def advance_until(operation, condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        engine.advance(operation.pk)
        assert time.monotonic() < deadline
    operation.refresh_from_db()


def test_cancelled_rollout_goes_back(target, run, stand_in):
    rollout, operation = rollout_start(target=target, config=config("", B="1"), requested_by="test")
    new = Replica.objects.filter(release=rollout.release, status="ready")
    old = Replica.objects.filter(target=target, release=target.release)
    advance_until(operation, lambda: new.exists() and old.filter(status="stopped").exists())
    operation_cancel(operation=operation, requested_by="test")
    operation = run(operation)
    assert operation.status == Status.CANCELLED, operation.error
    rollout.refresh_from_db()
    target.refresh_from_db()
    assert rollout.status == RolloutStatus.CANCELLED
    assert target.release_id != rollout.release_id
    assert [(r.status, r.release_id) for r in live(target)] == [("ready", target.release_id)] * 2
    assert len(replica_processes(stand_in)) == 4
    assert_gapless(operation)


def test_scale_out_and_in(target, run, stand_in):
    for count in (4, 1):
        operation = run(target_scale(target=target, replicas=count, requested_by="test"))
        assert operation.status == Status.SUCCEEDED, operation.error
        target.refresh_from_db()
        assert target.desired_replicas == target.spec["replicas"] == count
        assert [r.status for r in live(target)] == ["ready"] * count
        assert len(replica_processes(stand_in)) == count * 2


def test_cancelled_scale_keeps_the_count(target, run, stand_in):
    operation = target_scale(target=target, replicas=5, requested_by="test")
    advance_until(operation, lambda: len(live(target)) > 2)
    operation_cancel(operation=operation, requested_by="test")
    assert run(operation).status == Status.CANCELLED
    target.refresh_from_db()
    assert target.desired_replicas == target.spec["replicas"] == 2
    assert len(live(target)) == 2


def test_restart(target, run):
    before = {r.pk for r in live(target)}
    operation = run(target_restart(target=target, requested_by="test"))
    assert operation.status == Status.SUCCEEDED, operation.error
    assert [r.status for r in live(target)] == ["ready"] * 2
    assert before.isdisjoint(r.pk for r in live(target))


def test_rollback_to_the_release_before(target, run):
    first = target.release
    _, operation = rollout_start(target=target, config=config("", A="1"), requested_by="test")
    run(operation)
    target.refresh_from_db()
    _, operation = rollback_start(target=target, requested_by="test")
    assert run(operation).status == Status.SUCCEEDED
    target.refresh_from_db()
    assert target.release == first


def test_a_rolled_back_rollout_can_be_retried(target, run):
    _, operation = rollout_start(target=target, config=config("exit"), requested_by="test")
    operation = run(operation)
    again = run(operation_retry(operation=operation, requested_by="test"))
    assert (again.status, again.error_code, again.retry_of_id) == ("failed", "rolled_back", operation.pk)


def kill_replica(replica):
    """End its process as the kernel would, and wait until that is seen."""
    os.kill(ProcessRuntime().state(replica.pk).handle["pid"], signal.SIGKILL)
    wait_until(lambda: ProcessRuntime().state(replica.pk).state == "exited")


def test_a_dead_replica_is_replaced(target, run, stand_in):
    victim, other = live(target)
    kill_replica(victim)
    reconcile_all()
    victim.refresh_from_db()
    assert victim.status == ReplicaStatus.FAILED
    assert "killed by SIGKILL" in victim.reason
    target.refresh_from_db()
    assert target.status == TargetStatus.DEGRADED
    operation = run(Operation.objects.get(kind="target.heal"))
    assert operation.status == Status.SUCCEEDED, operation.error
    target.refresh_from_db()
    assert target.status == TargetStatus.READY
    assert [r.status for r in live(target)] == ["ready"] * 2
    assert other.pk in {r.pk for r in live(target)}
    assert len(replica_processes(stand_in)) == 4


def test_all_replicas_come_back_after_a_stop(target, run, stand_in):
    assert stop_all(stand_in) == 2
    assert replica_processes(stand_in) == []
    reconcile_all()
    operation = run(Operation.objects.get(kind="target.heal"))
    assert operation.status == Status.SUCCEEDED, operation.error
    assert [r.status for r in live(target)] == ["ready"] * 2
    assert not Replica.objects.filter(status=ReplicaStatus.FAILED).exists()


def test_live_replicas_are_adopted(target):
    before = [(r.pk, r.handle["pid"]) for r in live(target)]
    reconcile_all()
    assert not Operation.objects.filter(kind="target.heal").exists()
    assert [(r.pk, r.handle["pid"]) for r in live(target)] == before


def test_cancelled_provision_leaves_nothing(project, stand_in, run, settings):
    target, _, operation = target_create(project=project, name="two", provider="local", created_by="test")
    advance_until(operation, lambda: len(live(target)) > 0)
    operation_cancel(operation=operation, requested_by="test")
    operation = run(operation)
    assert operation.status == Status.CANCELLED, operation.error
    target.refresh_from_db()
    assert target.status == TargetStatus.PENDING
    assert replica_processes(stand_in) == []
    assert target_databases(settings.DATABASE_URL) == set()
    again = run(operation_retry(operation=operation, requested_by="test"))
    assert again.status == Status.SUCCEEDED, again.error
    target.refresh_from_db()
    assert target.status == TargetStatus.READY


def test_changed_spec_is_applied_to_a_serving_target(target, run):
    plan = target_plan(target=target, spec={"replicas": 3, "connection_limit": 40}, created_by="test")
    assert {change["kind"] for change in plan.changes} == {"replicas", "database role"}
    before = {r.pk for r in live(target)}
    operation = run(plan_apply(plan=plan, requested_by="test"))
    assert operation.status == Status.SUCCEEDED, operation.error
    target.refresh_from_db()
    assert (target.status, target.desired_replicas) == (TargetStatus.READY, 3)
    assert len(live(target)) == 3
    assert before < {r.pk for r in live(target)}
    again = target_plan(target=target, created_by="test")
    assert again.changes == []


def test_cancelled_change_of_spec_is_taken_back(target, run):
    plan = target_plan(target=target, spec={"replicas": 4}, created_by="test")
    operation = plan_apply(plan=plan, requested_by="test")
    advance_until(operation, lambda: len(live(target)) > 2)
    operation_cancel(operation=operation, requested_by="test")
    operation = run(operation)
    assert operation.status == Status.CANCELLED, operation.error
    target.refresh_from_db()
    assert (target.status, target.desired_replicas, target.spec["replicas"]) == ("ready", 2, 2)
    assert [r.status for r in live(target)] == ["ready"] * 2


def test_first_provision_that_does_not_come_up(project, stand_in, run, settings):
    settings.API_COMMAND = ["/bin/false"]
    target, _, operation = target_create(project=project, name="two", provider="local", created_by="test")
    operation = run(operation)
    assert (operation.status, operation.error_code) == (Status.FAILED, "not_ready")
    assert "exit code 1" in operation.error
    target.refresh_from_db()
    assert target.status == TargetStatus.FAILED
    assert replica_processes(stand_in) == []
    target_update(target=target, deletion_protection=False, requested_by="test")
    assert run(target_destroy(target=target, confirm="two", requested_by="test")).status == Status.SUCCEEDED
    assert target_databases(settings.DATABASE_URL) == set()


def test_destroy_can_be_cancelled_until_data_is_touched(target, run, stand_in):
    target_update(target=target, deletion_protection=False, requested_by="test")
    operation = target_destroy(target=target, confirm="one", requested_by="test")
    engine.advance(operation.pk)
    assert live(target) == []
    operation_cancel(operation=operation, requested_by="test")
    assert run(operation).status == Status.CANCELLED
    target.refresh_from_db()
    assert target.status == TargetStatus.READY
    reconcile_all()
    assert run(Operation.objects.get(kind="target.heal")).status == Status.SUCCEEDED
    assert [r.status for r in live(target)] == ["ready"] * 2


def test_destroy_goes_on_once_data_is_touched(target, run, settings):
    target_update(target=target, deletion_protection=False, requested_by="test")
    operation = target_destroy(target=target, confirm="one", requested_by="test")
    advance_until(
        operation, lambda: Operation.objects.filter(pk=operation.pk, step="wait_until_absent").exists()
    )
    operation_cancel(operation=operation, requested_by="test")
    operation = run(operation)
    assert operation.status == Status.SUCCEEDED
    assert "the destruction goes on" in " ".join(messages(operation))
    target.refresh_from_db()
    assert target.status == TargetStatus.DESTROYED
    assert target_databases(settings.DATABASE_URL) == set()


def test_a_port_lost_to_another_program_is_not_the_releases_fault(target, run, stand_in, settings):
    """The stand-in says that its port is taken; after three other ports it is believed to be broken."""
    _, operation = rollout_start(target=target, config=config("port"), requested_by="test")
    operation = run(operation)
    assert operation.error_code == "rolled_back"
    failed = Replica.objects.filter(target=target, status=ReplicaStatus.FAILED)
    assert len(set(failed.values_list("port", flat=True))) == 4


def test_nothing_secret_in_events_or_rows(target, run):
    secrets = list(target.secrets.values())
    assert len(secrets) == 3
    run(target_restart(target=target, requested_by="test"))
    rows = [*OperationEvent.objects.values_list("message", "detail")]
    rows += [*Operation.objects.values_list("input", "state", "result", "error")]
    rows += [*Replica.objects.values_list("reason", "handle")]
    rows += [target.engine_ref, target.outputs, repr(target.secrets)]
    for secret in secrets:
        assert secret not in str(rows)
