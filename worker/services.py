"""What callers do with operations: submit, cancel, retry, wake."""

from collections.abc import Collection
from datetime import timedelta

from django.db import connection, transaction

from controlplane.errors import ConflictError
from worker.engine import append_event, database_now, ring
from worker.handlers import handler_for
from worker.models import Operation, Status


class OperationInProgressError(ConflictError):
    """Another operation is under way on this subject."""

    code = "operation_in_progress"


def _lock_subject(subject: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"operation:{subject}"])


def operation_submit(
    *,
    project,
    kind: str,
    subject: str,
    input: dict | None = None,
    created_by: str = "system",
    exclusive: bool = True,
    may_follow: Collection[str] = (),
    idempotency_key: str | None = None,
    retry_of: Operation | None = None,
) -> Operation:
    """Record an operation and ring for a worker when the caller's transaction commits.

    `exclusive` refuses with OperationInProgressError while another is unfinished on the subject;
    otherwise, and behind operations of the kinds in `may_follow`, it queues. The same idempotency key gives
    the same operation.
    """
    handler = handler_for(kind)
    with transaction.atomic():
        _lock_subject(subject)
        if idempotency_key:
            known = Operation.objects.filter(
                project=project, kind=kind, idempotency_key=idempotency_key
            ).first()
            if known:
                return known
        if exclusive:
            others = Operation.objects.unfinished().on(subject).exclude(kind__in=may_follow)
            busy = others.order_by("pk").first()
            if busy:
                raise OperationInProgressError(
                    f"{handler_for(busy.kind).label} ({busy.pk}) is {busy.status}; "
                    "wait for it to end or cancel it, then try again.",
                    operation=busy.pk,
                )
        now = database_now()
        operation = Operation.objects.create(
            project=project,
            kind=kind,
            subject=subject,
            input=input or {},
            step=handler.first,
            queue=handler.queue,
            run_after=now,
            deadline_at=now + timedelta(seconds=handler.deadline_seconds),
            created_by=created_by,
            idempotency_key=idempotency_key,
            retry_of=retry_of,
        )
        append_event(operation, "created", f"{handler.label} asked for by {created_by}")
        ring(operation)
        return operation


def operation_cancel(*, operation: Operation, requested_by: str) -> Operation:
    """Ask for cancellation: the running step ends, then the handler undoes what it must."""
    with transaction.atomic():
        held = Operation.objects.select_for_update(no_key=True).get(pk=operation.pk)
        if held.is_finished:
            raise ConflictError(f"{held.pk} has ended already ({held.status}).", code="operation_finished")
        if held.cancel_requested_at is None:
            held.cancel_requested_at = held.run_after = database_now()
            held.status = Status.CANCELLING
            held.save(update_fields=["cancel_requested_at", "run_after", "status"])
            append_event(held, "cancel", f"Cancellation asked for by {requested_by}")
        ring(held)
        return held


def operation_retry(*, operation: Operation, requested_by: str) -> Operation:
    """Submit the same work again after it failed or was cancelled; steps adopt what is there already."""
    if operation.status not in (Status.FAILED, Status.CANCELLED):
        raise ConflictError(
            f"{operation.pk} is {operation.status}; only what failed or was cancelled can be retried.",
            code="operation_not_failed",
        )
    return handler_for(operation.kind).resubmit(operation, requested_by)


def operation_wake(*, subject: str) -> None:
    """Something happened that a waiting operation on this subject may be waiting for."""
    with transaction.atomic():
        waiting = Operation.objects.unfinished().on(subject).order_by("pk").first()
        if waiting:
            Operation.objects.filter(pk=waiting.pk, cancel_requested_at=None).update(run_after=database_now())
            ring(waiting)
