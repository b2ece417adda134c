"""Reads of operations."""

from django.db.models import QuerySet

from controlplane.models import Project
from controlplane.selectors import by_id
from worker.models import Operation, OperationEvent


def operations(project: Project) -> QuerySet[Operation]:
    """The operations of a project."""
    return Operation.objects.filter(project=project)


def operation_find(project: Project, reference: str) -> Operation:
    """An operation by id; NotFoundError."""
    return by_id(operations(project), "op", reference, what="operation")


def events_after(operation_id: str, after: int, limit: int = 500) -> list[OperationEvent]:
    """An operation's events with a higher number, in their order."""
    rows = OperationEvent.objects.filter(operation=operation_id, sequence__gt=after)
    return list(rows.order_by("sequence")[:limit])
