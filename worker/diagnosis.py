"""Checks of `manage.py doctor` about operations."""

from datetime import timedelta

from controlplane.doctor import Finding, check, ok, warning
from worker.engine import database_now
from worker.models import Operation

OVERDUE = timedelta(minutes=5)


@check("operations", needs="migrations")
def unfinished_operations() -> Finding:
    now = database_now()
    unfinished = Operation.objects.unfinished()
    # Waiting behind another operation of its subject is no fault; the first of each subject tells.
    first = unfinished.order_by("subject", "created_at").distinct("subject")
    overdue = [operation for operation in first if operation.run_after < now - OVERDUE]
    late = [operation for operation in first if operation.deadline_at and operation.deadline_at < now]
    if overdue:
        return warning(
            f"{len(overdue)} due for over 5 minutes: {', '.join(operation.pk for operation in overdue[:5])}",
            "Are a worker and beat running? Their page tells the last step; cancel or retry them there.",
        )
    if late:
        return warning(
            f"{len(late)} past their deadline: {', '.join(operation.pk for operation in late[:5])}",
            "See what they wait for on their page; cancel them if it will not come.",
        )
    return ok(f"{unfinished.count()} unfinished, none overdue")
