"""What beat calls: each task calls one function."""

import logging

from celery import shared_task
from django.db import InterfaceError, OperationalError

from costs import budgets

log = logging.getLogger(__name__)


@shared_task(name="costs.watch_budgets", ignore_result=True)
def watch_budgets() -> None:
    """Alert on thresholds of budgets that were reached."""
    try:
        budgets.budgets_watch()
    except (OperationalError, InterfaceError) as error:
        log.warning("no budget is watched, the database does not answer: %s", error)
