"""What beat calls: each task calls one function."""

import logging

from celery import shared_task
from django.db import InterfaceError, OperationalError

from controlplane.models import Project
from costs import budgets, recommendations, spend, syncing
from worker.services import OperationInProgressError

log = logging.getLogger(__name__)


@shared_task(name="costs.watch_budgets", ignore_result=True)
def watch_budgets() -> None:
    """Alert on thresholds of budgets that were reached."""
    try:
        budgets.budgets_watch()
    except (OperationalError, InterfaceError) as error:
        log.warning("no budget is watched, the database does not answer: %s", error)


@shared_task(name="costs.find_recommendations", ignore_result=True)
def find_recommendations() -> None:
    """Look for savings in every project that has costs."""
    for project in Project.objects.order_by("pk"):
        if spend.has_records(project):
            try:
                recommendations.recommendations_search(project=project, requested_by="system")
            except OperationInProgressError:
                log.info("the search for savings in %s goes on", project)


@shared_task(name="costs.sync_sources", ignore_result=True)
def sync_sources() -> None:
    """Read the sources whose time has come."""
    try:
        syncing.sync_due()
    except (OperationalError, InterfaceError) as error:
        log.warning("no source of costs is read, the database does not answer: %s", error)
