"""What beat calls: each task calls one function."""

import logging

from celery import shared_task
from django.db import InterfaceError, OperationalError

from deployments import reconciliation

log = logging.getLogger(__name__)


@shared_task(name="deployments.reconcile", ignore_result=True)
def reconcile() -> None:
    """Notice replicas that died and targets that lack some."""
    try:
        reconciliation.reconcile_all()
    except (OperationalError, InterfaceError) as error:
        log.warning("nothing is reconciled, the database does not answer: %s", error)


@shared_task(name="deployments.tidy_replicas", ignore_result=True)
def tidy_replicas() -> None:
    """Keep logs and folders of replicas within bounds."""
    reconciliation.tidy_replicas()
