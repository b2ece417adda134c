"""The operation engine: leases, outcomes, retries, cancellation, deadlines, order."""

import subprocess
import sys
import threading
import uuid
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, connections, transaction

from controlplane.errors import ConflictError
from tests.worker.conftest import ended, entered, gate, ran
from worker import engine, owner
from worker.handlers import LeaseLostError, check_unfinished_operations
from worker.models import Operation, Status
from worker.outcomes import Done
from worker.services import (
    OperationInProgressError,
    operation_cancel,
    operation_retry,
    operation_submit,
    operation_wake,
)

pytestmark = pytest.mark.django_db


def events(operation):
    return [(e.sequence, e.step, e.outcome) for e in operation.events.all()]


def reload(operation):
    return Operation.objects.get(pk=operation.pk)


def lease_of(operation, *, expires_in_seconds, lease_owner):
    Operation.objects.filter(pk=operation.pk).update(
        lease_token=uuid.uuid4(),
        lease_owner=lease_owner,
        lease_expires_at=engine.database_now() + timedelta(seconds=expires_in_seconds),
        status=Status.RUNNING,
        attempt=1,
    )


def test_an_operation_runs_to_its_end_and_tells_every_step(submit):
    operation = submit("sample.count", of=3)
    engine.drain()
    operation = reload(operation)
    assert (operation.status, operation.result, operation.percent) == (Status.SUCCEEDED, {"turns": 3}, 100)
    assert operation.lease_token is None and operation.finished_at >= operation.started_at
    assert events(operation) == [
        (1, "begin", "created"),
        (2, "begin", "started"),
        (3, "begin", "next"),
        (4, "middle", "wait"),
        (5, "middle", "wait"),
        (6, "middle", "next"),
        (7, "end", "succeeded"),
    ]
    assert [step for _, step in ran] == ["begin", "middle", "middle", "middle", "end"]


def test_a_step_runs_with_no_transaction_open(project, transactional_db):
    seen = []
    from worker.handlers import OperationHandler, operation
    from worker.outcomes import Outcome

    @operation("sample.transaction", first="look")
    class Look(OperationHandler):
        def look(self) -> Outcome:
            seen.append(connection.in_atomic_block)
            with self.atomic():
                seen.append(connection.in_atomic_block)
            return Done()

    operation_submit(project=project, kind="sample.transaction", subject="thing:1")
    engine.drain()
    assert seen == [False, True]


def test_two_workers_cannot_own_one_step(submit):
    operation = submit("sample.count")
    assert engine.take_lease(operation.pk) is not None
    assert engine.take_lease(operation.pk) is None


def test_the_backoff_is_written_before_the_attempt(submit):
    operation = submit("sample.count")
    lease = engine.take_lease(operation.pk)
    assert lease.run_after > engine.database_now()
    assert reload(operation).attempt == 1


def test_a_lease_of_a_dead_process_is_taken_over_at_once(submit, due):
    operation = submit("sample.count")
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    ticks = owner.start_ticks(process.pid)
    lease_of(operation, expires_in_seconds=3600, lease_owner=f"{owner.local_prefix()}{process.pid}/{ticks}")
    due(operation)
    assert engine.due_operations() == []
    assert engine.take_lease(operation.pk) is None
    process.communicate(b"\n", timeout=10)
    assert [found.pk for found in engine.due_operations()] == [operation.pk]
    assert engine.advance(operation.pk)
    assert "lost" in [outcome for _, _, outcome in events(operation)]


def test_a_lease_elsewhere_is_respected_until_it_expires(submit, due):
    operation = submit("sample.count")
    lease_of(operation, expires_in_seconds=3600, lease_owner="another-host/1/42/4242")
    due(operation)
    assert engine.due_operations() == []
    assert engine.take_lease(operation.pk) is None
    lease_of(operation, expires_in_seconds=-1, lease_owner="another-host/1/42/4242")
    assert [found.pk for found in engine.due_operations()] == [operation.pk]
    assert engine.advance(operation.pk)


def test_the_outcome_of_a_lost_lease_is_dropped(submit):
    operation = submit("sample.count")
    lease = engine.take_lease(operation.pk)
    handler = engine.handler_for("sample.count")(lease)
    lease_of(operation, expires_in_seconds=60, lease_owner="another-host/1/42/4242")
    with pytest.raises(LeaseLostError):
        lease.commit(handler, Done({"stolen": True}))
    with pytest.raises(LeaseLostError):
        handler.remember(token="x")
    with pytest.raises(LeaseLostError):
        handler.report("still here")
    with pytest.raises(LeaseLostError), handler.atomic():
        pytest.fail("the lease is gone")
    assert reload(operation).status == Status.RUNNING
    assert events(operation) == [(1, "begin", "created"), (2, "begin", "started")]


def test_a_transient_error_is_tried_again_with_growing_backoff(submit, due):
    operation = submit("sample.error", how="transient", until=3)
    backoffs = []
    for _ in range(2):
        engine.advance(operation.pk)
        row = reload(operation)
        assert row.status == Status.WAITING and "busy" in row.waiting_for
        backoffs.append(row.events.last().detail["retry_in_seconds"])
        assert not engine.advance(operation.pk), "not before its backoff has passed"
        due(operation)
    assert backoffs[0] < backoffs[1]
    engine.advance(operation.pk)
    assert reload(operation).status == Status.SUCCEEDED


def test_attempts_over_the_limit_fail_visibly(submit, due, settings):
    settings.OPERATION_ATTEMPTS = 3
    operation = submit("sample.error", how="transient")
    for _ in range(3):
        due(operation)
        engine.advance(operation.pk)
    row = reload(operation)
    assert row.status == Status.FAILED and "tried 3 times" in row.error and row.remedy
    assert ended == [(operation.pk, "failed", "step_failed")]


def test_a_worker_that_dies_in_every_try_ends_as_failed(submit, due, settings):
    settings.OPERATION_ATTEMPTS = 3
    operation = submit("sample.count")
    for _ in range(3):
        due(operation)
        assert engine.take_lease(operation.pk)
        Operation.objects.filter(pk=operation.pk).update(
            lease_expires_at=engine.database_now() - timedelta(seconds=1)
        )
    due(operation)
    engine.advance(operation.pk)
    row = reload(operation)
    assert (row.status, row.error_code) == (Status.FAILED, "attempts_exhausted")
    assert not ran


@pytest.mark.parametrize(
    ("how", "code", "remedy"),
    [("permanent", "shut", "Open it."), ("fail", "no", "Say yes."), ("nothing", "defect", "")],
)
def test_what_cannot_pass_fails_at_once(submit, how, code, remedy):
    operation = submit("sample.error", how=how)
    engine.advance(operation.pk)
    row = reload(operation)
    assert (row.status, row.error_code, row.remedy) == (Status.FAILED, code, remedy)
    assert ended == [(operation.pk, "failed", code)]
    assert row.events.last().outcome == "failed"


def test_an_unexpected_error_names_itself_and_is_tried_again(submit):
    operation = submit("sample.error", how="bug")
    engine.advance(operation.pk)
    assert "ZeroDivisionError" in reload(operation).waiting_for


def test_what_was_remembered_and_reported_survives_the_failed_try(submit):
    operation = submit("sample.error", how="remember")
    engine.advance(operation.pk)
    row = reload(operation)
    assert row.state == {"token": "t1"} and row.percent == 10
    assert [(e.outcome, e.message) for e in row.events.all()][-2:] == [
        ("info", "token stored"),
        ("retry", "after remembering"),
    ]


def test_one_operation_at_a_time_on_a_subject(submit):
    first = submit("sample.count")
    with pytest.raises(OperationInProgressError) as refused:
        submit("sample.count")
    assert first.pk in refused.value.detail and refused.value.extra == {"operation": first.pk}
    second = submit("sample.count", exclusive=False)
    elsewhere = submit("sample.count", subject="thing:2")
    assert not engine.advance(second.pk), "an older one stands before it"
    assert engine.advance(elsewhere.pk)
    engine.drain()
    assert reload(second).started_at >= reload(first).finished_at


def test_the_database_refuses_two_leases_on_a_subject(submit):
    first, second = submit("sample.count"), submit("sample.count", exclusive=False)
    lease_of(first, expires_in_seconds=60, lease_owner="a/1/2/3")
    with pytest.raises(IntegrityError), transaction.atomic():
        lease_of(second, expires_in_seconds=60, lease_owner="b/1/2/3")


def test_the_same_idempotency_key_gives_the_same_operation(submit):
    first = submit("sample.count", idempotency_key="k1")
    assert submit("sample.count", idempotency_key="k1").pk == first.pk
    engine.drain()
    assert submit("sample.count", idempotency_key="k1").pk == first.pk
    assert submit("sample.count", idempotency_key="k2").pk != first.pk


def test_cancel_before_the_start(submit):
    operation = submit("sample.error", how="done")
    operation_cancel(operation=operation, requested_by="user:ann")
    assert reload(operation).status == Status.CANCELLING
    engine.drain()
    assert reload(operation).status == Status.CANCELLED
    assert ended == [(operation.pk, "cancelled")] and not ran


def test_cancel_while_waiting_undoes_what_was_done(submit):
    operation = submit("sample.undo")
    engine.advance(operation.pk)
    operation_cancel(operation=operation, requested_by="user:ann")
    engine.drain()
    assert reload(operation).status == Status.CANCELLED
    assert ran == [(operation.pk, "undo", "work")]
    with pytest.raises(ConflictError):
        operation_cancel(operation=operation, requested_by="user:ann")


def test_cancel_while_a_step_runs_takes_effect_after_it(submit):
    operation = submit("sample.error", how="wait")
    lease = engine.take_lease(operation.pk)
    operation_cancel(operation=operation, requested_by="user:ann")
    handler = engine.handler_for("sample.error")(lease)
    lease.commit(handler, handler.go())
    row = reload(operation)
    assert row.status == Status.CANCELLING
    assert row.run_after <= engine.database_now(), "the cancellation must not wait for the hour"
    engine.drain()
    assert reload(operation).status == Status.CANCELLED


def test_a_wake_during_the_run_survives(submit):
    operation = submit("sample.error", how="wait")
    lease = engine.take_lease(operation.pk)
    operation_wake(subject="thing:1")
    handler = engine.handler_for("sample.error")(lease)
    lease.commit(handler, handler.go())
    assert reload(operation).run_after <= engine.database_now()


def test_a_passed_deadline_is_told_once_and_the_work_goes_on(submit, due):
    operation = submit("sample.count", of=3)
    Operation.objects.filter(pk=operation.pk).update(deadline_at=engine.database_now() - timedelta(seconds=1))
    engine.drain()
    row = reload(operation)
    assert row.status == Status.SUCCEEDED and row.deadline_passed
    assert [outcome for _, _, outcome in events(row)].count("deadline") == 1


def test_retry_submits_the_same_work_again(submit):
    operation = submit("sample.error", how="fail")
    engine.drain()
    again = operation_retry(operation=reload(operation), requested_by="user:ann")
    assert again.pk != operation.pk and again.input == operation.input
    assert again.retry_of_id == operation.pk and again.created_by == "user:ann"
    engine.drain()
    done = submit("sample.count", subject="thing:9")
    engine.drain()
    with pytest.raises(ConflictError):
        operation_retry(operation=reload(done), requested_by="user:ann")


def test_an_operation_that_this_version_does_not_know_is_named_by_the_deploy_check(submit):
    operation = submit("sample.count")
    assert check_unfinished_operations(None) == []
    Operation.objects.filter(pk=operation.pk).update(step="gone")
    (problem,) = check_unfinished_operations(None)
    assert operation.pk in problem.msg and "sample.count.gone" in problem.msg
    Operation.objects.filter(pk=operation.pk).update(kind="sample.gone")
    assert not engine.advance(operation.pk)
    assert len(check_unfinished_operations(None)) == 1


@pytest.mark.django_db(transaction=True)
def test_many_workers_on_many_operations_run_each_step_once(submit):
    operations = [submit("sample.count", subject=f"thing:{n % 5}", of=2, exclusive=False) for n in range(20)]

    def work():
        try:
            engine.drain(seconds=60)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ran) == sorted(
        (o.pk, step) for o in operations for step in ("begin", "middle", "middle", "end")
    )
    for operation in operations:
        row = reload(operation)
        assert row.status == Status.SUCCEEDED
        assert [e.sequence for e in row.events.all()] == list(range(1, row.last_sequence + 1))


@pytest.mark.django_db(transaction=True)
def test_events_are_announced_when_the_transaction_commits(submit):
    with connection.cursor() as cursor:
        cursor.execute("LISTEN operation_events")
    raw = connection.connection
    operation = submit("sample.count")
    engine.drain()
    heard = {note.payload for note in raw.notifies(timeout=5, stop_after=3)}
    assert heard == {operation.pk}
    with connection.cursor() as cursor:
        cursor.execute("UNLISTEN operation_events")


@pytest.mark.django_db(transaction=True)
def test_a_step_holds_no_row_lock_while_it_runs(submit):
    operation = submit("sample.gated")

    def work():
        try:
            engine.advance(operation.pk)
        finally:
            connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    assert entered.wait(20)
    with transaction.atomic():
        Operation.objects.select_for_update(nowait=True).get(pk=operation.pk)
    gate.set()
    thread.join(20)
    assert reload(operation).status == Status.SUCCEEDED
