"""Celery tasks: calls that carry an id, never work that would be lost with them."""

from celery import shared_task

from worker import engine


@shared_task(name="worker.advance", ignore_result=True)
def advance_operation(operation_id: str) -> None:
    """Run the operation's next step if it is due."""
    engine.advance(operation_id)


@shared_task(name="worker.sweep", ignore_result=True)
def sweep() -> None:
    """Ring for every operation that is due: what a lost message or a dead worker left behind."""
    for operation in engine.due_operations():
        engine.ring(operation)
