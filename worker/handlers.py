"""Handlers of operation kinds, and the registry of them."""

from contextlib import contextmanager
from typing import ClassVar

from django.core.checks import Error, register

from worker.outcomes import Cancelled, Outcome

_registry: dict[str, type["OperationHandler"]] = {}


class LeaseLostError(Exception):
    """Another worker owns this operation now; whatever this one did is dropped."""


class StepError(Exception):
    """A step failed.

    `permanent` ends the operation; otherwise the step is tried again, later each time. The message tells
    the operator what happened; `remedy` what to do.
    """

    permanent = False
    code = "step_failed"

    def __init__(self, message: str = "", *, remedy: str = "", code: str = "", permanent: bool | None = None):
        super().__init__(message or (self.__doc__ or "").strip().splitlines()[0])
        self.remedy = remedy
        if code:
            self.code = code
        if permanent is not None:
            self.permanent = permanent


class OperationHandler:
    """One kind of operation: each step is a method without arguments that returns one outcome.

    A step may be run again after a crash at any point, so it observes before it acts. Domain rows are
    written inside `self.atomic()`; what must be known after a crash is stored with `self.remember()`
    before the outside call it is for.
    """

    kind: ClassVar[str]
    first: ClassVar[str]
    steps: ClassVar[frozenset[str]]
    queue: ClassVar[str]
    deadline_seconds: ClassVar[int]
    label: ClassVar[str]

    def __init__(self, lease):
        self._lease = lease
        self.operation = lease.operation
        self.input: dict = lease.operation.input
        self.state: dict = lease.operation.state

    @contextmanager
    def atomic(self):
        """A transaction in which the lease is held under lock; LeaseLostError when it is gone."""
        with self._lease.atomic():
            yield

    def remember(self, **values) -> None:
        """Store values in `state` now, before an outside call that a crash could interrupt."""
        self.state.update(values)
        self._lease.save_state(self.state)

    def report(self, message: str, *, percent: int | None = None, **detail) -> None:
        """Append an event now, visible while the step still runs."""
        self._lease.report(message, detail, percent)

    @classmethod
    def title(cls, operation) -> str:
        """What one operation of this kind is called; the kind's label unless its input tells more."""
        return cls.label

    @classmethod
    def resubmit(cls, operation, requested_by: str):
        """Submit the work of a failed or cancelled operation again."""
        from worker.services import operation_submit

        return operation_submit(
            project=operation.project,
            kind=operation.kind,
            subject=operation.subject,
            input=operation.input,
            created_by=requested_by,
            retry_of=operation,
        )

    def cancel(self) -> Outcome:
        """The step that carries out a cancellation; by default nothing needs undoing."""
        return Cancelled()

    def failed(self, failure):
        """Called once, in the transaction that ends the operation as failed, to record it in the domain."""

    def cancelled(self):
        """Called once, in the transaction that ends the operation as cancelled."""


def operation(
    kind: str, *, first: str, label: str = "", queue: str = "operations", deadline_seconds: int = 3600
):
    """Register a handler class; its public methods annotated to return an Outcome are the steps."""

    def decorate(handler: type[OperationHandler]) -> type[OperationHandler]:
        if kind in _registry and _registry[kind].__qualname__ != handler.__qualname__:
            raise ValueError(f"two handlers for {kind}")
        steps = {
            name
            for base in handler.__mro__
            if issubclass(base, OperationHandler) and base is not OperationHandler
            for name, member in vars(base).items()
            if not name.startswith("_")
            and getattr(member, "__annotations__", {}).get("return") in (Outcome, "Outcome")
        }
        if first not in steps:
            raise ValueError(f"{kind}: the first step {first!r} is not a method that returns an Outcome")
        handler.kind, handler.first, handler.queue = kind, first, queue
        handler.deadline_seconds = deadline_seconds
        handler.label = label or kind.replace(".", " ")
        handler.steps = frozenset(steps | {"cancel"})
        _registry[kind] = handler
        return handler

    return decorate


def handler_for(kind: str) -> type[OperationHandler]:
    """The handler of a kind; KeyError when this code knows none."""
    return _registry[kind]


def title_of(operation) -> str:
    """An operation as its handler calls it; one of a kind that this code does not know by its kind."""
    handler = _registry.get(operation.kind)
    if handler is None:
        return operation.kind.replace(".", " ").replace("_", " ").capitalize()
    return handler.title(operation)


def registered() -> dict[str, type[OperationHandler]]:
    """All handlers by kind."""
    return dict(_registry)


@register("operations", deploy=True)
def check_unfinished_operations(app_configs, databases=None, **kwargs):
    """An unfinished operation whose kind or step this code no longer has would never end."""
    from django.db import DatabaseError

    from worker.models import Operation

    problems = []
    try:
        rows = list(Operation.objects.unfinished().values_list("id", "kind", "step"))
    except DatabaseError:
        return []
    for operation_id, kind, step in rows:
        handler = _registry.get(kind)
        if handler is None or step not in handler.steps:
            problems.append(
                Error(
                    f"{operation_id} stands at {kind}.{step}, which this version does not have.",
                    hint="Start the previous version and let it finish, or cancel the operation there.",
                    id="worker.E001",
                )
            )
    return problems
