"""The durable operation engine: the only code that changes an operation's status.

`advance` runs at most one step: it takes a lease in one short transaction, runs the step with no
transaction open, and commits the outcome in one more, fenced by the lease's token. A worker may die at
any point: its lease ends, and the step runs again elsewhere. PostgreSQL's clock is the only clock.
"""

import logging
import time
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from billiard.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.db import IntegrityError, InterfaceError, OperationalError, connection, transaction
from django.db.models import Exists, OuterRef, Q

from worker import owner, signals
from worker.handlers import LeaseLostError, StepError, handler_for, registered
from worker.models import FINISHED, UNFINISHED, Operation, OperationEvent, Status
from worker.outcomes import Cancelled, Done, Fail, Next, Outcome, Wait

log = logging.getLogger(__name__)

CHANNEL = "operation_events"
LONGEST_BACKOFF_SECONDS = 60.0
LONGEST_COUNTDOWN_SECONDS = 10.0
OUTAGE_SECONDS = 8.0


def database_now() -> datetime:
    """PostgreSQL's clock, which all workers share."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        return cursor.fetchone()[0]


def backoff_seconds(attempt: int) -> float:
    """How long to wait before trying again after the attempt of this number (from 1)."""
    return min(2.0 ** (attempt - 1), LONGEST_BACKOFF_SECONDS)


def lease_seconds(kind: str) -> int:
    """How long one step of this kind may be owned."""
    handler = registered().get(kind)
    return getattr(handler, "lease_seconds", None) or settings.OPERATION_LEASE_SECONDS


def append_event(operation: Operation, outcome: str, message: str = "", *, step: str = "", **detail) -> None:
    """Number and store an event of an operation whose row the caller's transaction has locked."""
    operation.last_sequence += 1
    OperationEvent.objects.create(
        operation=operation,
        sequence=operation.last_sequence,
        at=database_now(),
        step=step or operation.step,
        outcome=outcome,
        message=message,
        detail=detail,
    )
    Operation.objects.filter(pk=operation.pk).update(last_sequence=operation.last_sequence)
    announce(operation.pk)


def announce(operation_id: str) -> None:
    """Tell listeners that this operation changed; delivered when the transaction commits."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, operation_id])


def ring(operation: Operation, countdown: float = 0) -> None:
    """Ask a worker to advance the operation once this transaction commits. Losing the call loses nothing."""
    operation_id, queue, kind = operation.pk, operation.queue, operation.kind

    def send():
        from worker.tasks import advance_operation

        limit = lease_seconds(kind) - 2
        try:
            advance_operation.apply_async(
                [operation_id],
                queue=queue,
                countdown=countdown or None,
                time_limit=limit,
                soft_time_limit=max(1, limit - 2),
                retry=False,
            )
        except Exception as error:
            log.warning("could not ring for %s, the sweep will: %s", operation_id, error)

    transaction.on_commit(send)


def has_older_on_subject() -> Exists:
    """Whether an older unfinished operation stands before this one on the same subject."""
    return Exists(
        Operation.objects.filter(subject=OuterRef("subject"), pk__lt=OuterRef("pk"), status__in=UNFINISHED)
    )


@dataclass
class Lease:
    """The right to run one step of an operation, until it expires or another worker takes it."""

    operation: Operation
    token: uuid.UUID
    run_after: datetime

    def _locked(self) -> Operation:
        held = (
            Operation.objects.select_for_update(no_key=True)
            .filter(pk=self.operation.pk, lease_token=self.token)
            .first()
        )
        if held is None:
            raise LeaseLostError(self.operation.pk)
        return held

    @contextmanager
    def atomic(self):
        """A transaction that holds the operation's row, so that no other worker can take the lease."""
        with transaction.atomic():
            self._locked()
            yield

    def save_state(self, state: dict) -> None:
        with transaction.atomic():
            held = self._locked()
            held.state = state
            held.save(update_fields=["state"])

    def report(self, message: str, detail: dict, percent: int | None) -> None:
        with transaction.atomic():
            held = self._locked()
            if percent is not None:
                held.percent = percent
                held.save(update_fields=["percent"])
            append_event(held, "info", message, **detail)

    def commit(self, handler, outcome: Outcome) -> Operation:
        """Write the outcome; LeaseLostError when somebody else owns the operation by now."""
        with transaction.atomic():
            held = self._locked()
            woken = held.run_after != self.run_after
            step = held.step
            held.state = handler.state
            held.lease_token = held.lease_expires_at = None
            held.lease_owner = ""
            now = database_now()
            if isinstance(outcome, Next | Wait):
                self._commit_progress(held, outcome, now, woken)
            else:
                self._commit_end(held, handler, outcome, now)
            held.save()
            message = getattr(outcome, "message", "")
            if isinstance(outcome, Next):
                append_event(held, "next", message, step=step, **outcome.detail)
                ring(held)
            elif isinstance(outcome, Wait):
                if outcome.waiting_for and outcome.waiting_for != self.operation.waiting_for:
                    append_event(held, "wait", f"Waiting for {outcome.waiting_for}", step=step)
                else:
                    announce(held.pk)
                if woken:
                    ring(held)
                elif outcome.seconds <= LONGEST_COUNTDOWN_SECONDS:
                    ring(held, outcome.seconds)
            elif isinstance(outcome, Fail):
                append_event(
                    held, "failed", outcome.error, step=step, code=outcome.code, remedy=outcome.remedy
                )
            elif isinstance(outcome, Cancelled):
                append_event(held, "cancelled", message, step=step)
            else:
                append_event(held, "succeeded", message, step=step)
            if held.status in FINISHED:
                follower = Operation.objects.unfinished().on(held.subject).order_by("pk").first()
                if follower:
                    ring(follower)
            return held

    def _commit_progress(self, held, outcome, now, woken):
        held.attempt = 0
        cancelling = held.cancel_requested_at is not None
        if isinstance(outcome, Next):
            held.step = outcome.name
            held.step_started_at = now
            held.waiting_for, held.percent = "", None
            held.run_after = now
            held.status = Status.CANCELLING if cancelling else Status.RUNNING
        else:
            held.waiting_for, held.percent = outcome.waiting_for[:300], outcome.percent
            held.run_after = held.run_after if woken else now + timedelta(seconds=outcome.seconds)
            held.status = Status.CANCELLING if cancelling else Status.WAITING

    def _commit_end(self, held, handler, outcome, now):
        held.finished_at = now
        held.waiting_for = ""
        if isinstance(outcome, Done):
            held.status, held.result, held.percent = Status.SUCCEEDED, outcome.result, 100
        elif isinstance(outcome, Fail):
            held.status = Status.FAILED
            held.error, held.error_code, held.remedy = outcome.error, outcome.code, outcome.remedy
            handler.failed(outcome)
        elif isinstance(outcome, Cancelled):
            held.status = Status.CANCELLED
            handler.cancelled()
        else:
            raise TypeError(f"{held.kind}.{held.step} returned {outcome!r}, which is not an outcome")

    def postpone(self, handler, message: str) -> None:
        """A try failed in a way that may pass: keep the backoff that the lease wrote, and say why."""
        with transaction.atomic():
            held = self._locked()
            held.state = handler.state
            held.lease_token = held.lease_expires_at = None
            held.lease_owner = ""
            held.status = Status.CANCELLING if held.cancel_requested_at else Status.WAITING
            held.waiting_for = f"another try: {message}"[:300]
            held.save()
            seconds = max(0.0, (held.run_after - database_now()).total_seconds())
            append_event(held, "retry", message, attempt=held.attempt, retry_in_seconds=round(seconds, 1))
            if seconds <= LONGEST_COUNTDOWN_SECONDS:
                ring(held, seconds)


def take_lease(operation_id: str) -> Lease | None:
    """Own the operation's next step, or None when it is not due, not first in line, or owned."""
    try:
        with transaction.atomic():
            operation = (
                Operation.objects.select_for_update(skip_locked=True, no_key=True, of=("self",))
                .filter(~has_older_on_subject(), pk=operation_id, status__in=UNFINISHED)
                .first()
            )
            if operation is None:
                return None
            now = database_now()
            if operation.lease_token is not None:
                if operation.lease_expires_at > now and not owner.is_dead(operation.lease_owner):
                    return None
                append_event(
                    operation,
                    "lost",
                    f"The worker that ran this step is gone (try {operation.attempt}); it runs again.",
                    owner=operation.lease_owner,
                )
                operation.lease_token = operation.lease_expires_at = None
                operation.save(update_fields=["lease_token", "lease_expires_at"])
            if operation.run_after > now:
                return None
            return _lease(operation, now)
    except IntegrityError:
        return None


def _lease(operation: Operation, now: datetime) -> Lease:
    operation.attempt += 1
    operation.lease_token = uuid.uuid4()
    operation.lease_owner = owner.mine()
    operation.lease_expires_at = now + timedelta(seconds=lease_seconds(operation.kind))
    operation.run_after = now + timedelta(seconds=backoff_seconds(operation.attempt))
    if operation.cancel_requested_at and not operation.cancelled_from_step:
        operation.cancelled_from_step = operation.step
        operation.step, operation.step_started_at, operation.attempt = "cancel", now, 1
    operation.status = Status.CANCELLING if operation.cancel_requested_at else Status.RUNNING
    first = operation.started_at is None
    if first:
        operation.started_at = operation.step_started_at = now
    overdue = operation.deadline_at and operation.deadline_at < now and not operation.deadline_passed
    if overdue:
        operation.deadline_passed = True
    operation.save()
    if first:
        append_event(operation, "started")
    if overdue:
        append_event(operation, "deadline", "This takes longer than it should; the work goes on.")
        log.error("%s %s passed its deadline at step %s", operation.pk, operation.kind, operation.step)
    return Lease(operation, operation.lease_token, operation.run_after)


def advance(operation_id: str) -> bool:
    """Run one step of an operation if it is due and free; True when a step was run and committed."""
    lease = take_lease(operation_id)
    if lease is None:
        return False
    operation = lease.operation
    moment = {
        "operation_id": operation.pk,
        "kind": operation.kind,
        "step": operation.step,
        "attempt": operation.attempt,
    }
    signals.step_leased.send(sender=Operation, **moment)
    try:
        handler = handler_for(operation.kind)(lease)
    except KeyError:
        log.error("%s is of kind %s, which this version does not know", operation.pk, operation.kind)
        return False
    try:
        try:
            outcome = _run(handler, operation)
        except StepError as error:
            outcome = _through_outage(_after_error, lease, handler, error)
        signals.step_ran.send(sender=Operation, **moment)
        if outcome is not None:
            _through_outage(lease.commit, handler, outcome)
    except LeaseLostError:
        log.warning("%s: lost the lease of %s; its result is dropped", operation.pk, operation.step)
        return False
    signals.step_committed.send(sender=Operation, **moment)
    return True


def _through_outage(write, *arguments):
    """Call a write until PostgreSQL takes it, for a while; the lease's token makes it safe to repeat.

    A step that has run is worth more than the wait: without its outcome it would run again only when the
    lease expires.
    """
    deadline = time.monotonic() + OUTAGE_SECONDS
    while True:
        try:
            return write(*arguments)
        except (OperationalError, InterfaceError):
            if time.monotonic() > deadline:
                raise
            connection.close()
            time.sleep(0.2)


def _run(handler, operation: Operation) -> Outcome:
    if operation.attempt > settings.OPERATION_ATTEMPTS:
        return Fail(
            f"Step {operation.step} did not finish in {settings.OPERATION_ATTEMPTS} tries.",
            code="attempts_exhausted",
            remedy="Read the events for the cause, mend it, then retry the operation.",
        )
    try:
        outcome = getattr(handler, operation.step)()
    except (StepError, LeaseLostError):
        raise
    except (OperationalError, InterfaceError) as error:
        message = f"The control plane's database did not answer: {str(error).strip().splitlines()[0]}"
        log.warning("%s %s.%s: %s", operation.pk, operation.kind, operation.step, message)
        raise StepError(message, code="database_away") from error
    except SoftTimeLimitExceeded:
        raise StepError(
            f"Step {operation.step} took longer than its time limit.", code="time_limit"
        ) from None
    except Exception as error:
        log.exception("%s %s.%s failed", operation.pk, operation.kind, operation.step)
        raise StepError(f"{type(error).__name__}: {error}", code="unexpected") from error
    if not isinstance(outcome, Outcome):
        raise StepError(
            f"Step {operation.step} returned {outcome!r} instead of an outcome.",
            permanent=True,
            code="defect",
        )
    return outcome


def _after_error(lease: Lease, handler, error: StepError) -> Fail | None:
    """Fail for good, or None after the step was put off to another try."""
    attempt = lease.operation.attempt
    if error.permanent:
        return Fail(str(error), code=error.code, remedy=error.remedy)
    if attempt >= settings.OPERATION_ATTEMPTS:
        return Fail(
            f"{error} (tried {attempt} times)",
            code=error.code,
            remedy=error.remedy or "Mend the cause, then retry the operation.",
        )
    lease.postpone(handler, str(error))
    return None


def due_operations(limit: int = 500) -> list[Operation]:
    """Operations that a worker should advance now: due, first in line, and owned by nobody alive."""
    now = database_now()
    free = Q(lease_token=None) | Q(lease_expires_at__lte=now)
    rows = Operation.objects.unfinished().filter(~has_older_on_subject(), run_after__lte=now)
    found = list(rows.filter(free).order_by("run_after")[:limit])
    suspects = rows.exclude(free).filter(lease_owner__startswith=owner.local_prefix())
    found += [operation for operation in suspects[:limit] if owner.is_dead(operation.lease_owner)]
    return found


def drain(subject: str | None = None, *, seconds: float = 60.0) -> None:
    """Advance what is due in this process until nothing unfinished is left; TimeoutError after `seconds`.

    For management commands and tests that have no Celery worker at hand.
    """
    deadline = time.monotonic() + seconds
    while True:
        open_rows = Operation.objects.unfinished()
        if subject:
            open_rows = open_rows.on(subject)
        waiting = list(open_rows.order_by("run_after").values_list("pk", flat=True))
        if not waiting:
            return
        if not sum(advance(pk) for pk in waiting):
            if time.monotonic() > deadline:
                raise TimeoutError(f"unfinished after {seconds} s: {waiting}")
            with suppress(InterruptedError):
                time.sleep(0.02)
