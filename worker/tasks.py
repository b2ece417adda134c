"""Celery tasks: calls that carry an id, never work that would be lost with them."""

import logging

from celery import shared_task
from django.db import InterfaceError, OperationalError

from worker import engine

log = logging.getLogger(__name__)


@shared_task(name="worker.advance", ignore_result=True)
def advance_operation(operation_id: str) -> None:
    """Run the operation's next step if it is due."""
    try:
        engine.advance(operation_id)
    except (OperationalError, InterfaceError) as error:
        log.warning("%s is left to the sweep, the database does not answer: %s", operation_id, error)


@shared_task(name="worker.sweep", ignore_result=True)
def sweep() -> None:
    """Ring for every operation that is due: what a lost message or a dead worker left behind."""
    try:
        for operation in engine.due_operations():
            engine.ring(operation)
    except (OperationalError, InterfaceError) as error:
        log.warning("nothing is swept, the database does not answer: %s", error)
