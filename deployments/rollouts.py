"""What people do to a rollout that is under way: promote, pause, resume, abort.

Each takes the operation's lock first, in which the worker writes what it decides: of a promotion and an
abort in the same moment the abort wins, whichever comes first.
"""

from contextlib import contextmanager

from django.db import transaction

from controlplane import audit
from controlplane.errors import ConflictError
from deployments.models import Rollout, RolloutStatus
from deployments.strategies import CANARY
from worker.models import Operation
from worker.services import operation_cancel, operation_wake


@contextmanager
def _held(rollout: Rollout):
    """(rollout, operation) as they are, kept so until the transaction ends; ConflictError when it is over."""
    with transaction.atomic():
        rows = Operation.objects.select_for_update(no_key=True)
        operation = rows.filter(pk=rollout.operation).first() if rollout.operation else None
        held = Rollout.objects.select_related("target__project").get(pk=rollout.pk)
        if operation is None or operation.is_finished or held.finished_at is not None:
            raise ConflictError(f"This rollout has ended already ({held.status}).", code="rollout_finished")
        yield held, operation


def rollout_abort(*, rollout: Rollout, requested_by: str) -> Operation:
    """Stop a rollout and go back to what served before; ConflictError when it has ended."""
    with _held(rollout) as (held, operation):
        _record(held, operation, "abort", requested_by)
        return operation_cancel(operation=operation, requested_by=requested_by)


def rollout_promote(*, rollout: Rollout, full: bool = False, requested_by: str) -> Operation:
    """End a canary's present step and go to the next one, or with `full` past all that are left."""
    return _control(rollout, "promote", requested_by, command="full" if full else "promote")


def rollout_pause(*, rollout: Rollout, requested_by: str) -> Operation:
    """Keep a canary at its step until it is resumed or promoted; its gates go on being watched."""
    return _control(rollout, "pause", requested_by, paused=True)


def rollout_resume(*, rollout: Rollout, requested_by: str) -> Operation:
    """Let a paused canary go on."""
    return _control(rollout, "resume", requested_by, paused=False)


def _control(rollout: Rollout, verb: str, requested_by: str, **values) -> Operation:
    if rollout.strategy != CANARY:
        raise ConflictError(
            "A rolling rollout replaces replicas one by one by itself, so there is nothing to"
            f" {verb}; abort it to go back.",
            code="strategy_rolling",
        )
    with _held(rollout) as (held, operation):
        if operation.cancel_requested_at is not None or held.status != RolloutStatus.RUNNING:
            raise ConflictError(
                f"This rollout is going back, which nothing stops: there is nothing to {verb}.",
                code="rollout_aborting",
            )
        if verb == "resume" and not held.paused:
            raise ConflictError("This rollout is not paused.", code="rollout_not_paused")
        Rollout.objects.filter(pk=held.pk).update(**values)
        _record(held, operation, verb, requested_by, **values)
        operation_wake(subject=operation.subject)
        return operation


def _record(rollout: Rollout, operation: Operation, verb: str, requested_by: str, **values) -> None:
    audit.record(
        project=rollout.target.project,
        actor=requested_by,
        action=f"rollout.{verb}",
        subject=rollout.target_id,
        detail={"rollout": rollout.pk, "operation": operation.pk, "step": rollout.step, **values},
    )
