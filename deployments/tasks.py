"""What beat calls: each task calls one function."""

import logging

from celery import shared_task
from django.db import InterfaceError, OperationalError

from deployments import probing, reconciliation, rollup, scraping, watching
from deployments.backups import schedules
from deployments.drift import services as drift_services

log = logging.getLogger(__name__)


@shared_task(name="deployments.reconcile", ignore_result=True)
def reconcile() -> None:
    """Notice replicas that died and targets that lack some."""
    try:
        reconciliation.reconcile_all()
    except (OperationalError, InterfaceError) as error:
        log.warning("nothing is reconciled, the database does not answer: %s", error)


@shared_task(name="deployments.watch", ignore_result=True)
def watch() -> None:
    """Look at the clusters that targets run in."""
    watching.watch_round()


@shared_task(name="deployments.tidy_replicas", ignore_result=True)
def tidy_replicas() -> None:
    """Keep logs and folders of replicas within bounds."""
    reconciliation.tidy_replicas()


@shared_task(name="deployments.drift", ignore_result=True)
def drift() -> None:
    """See whether targets are as they were made."""
    drift_services.check_all()


@shared_task(name="deployments.backups", ignore_result=True)
def backups() -> None:
    """Start the backups that are due, and let go of those that their schedules keep no more."""
    schedules.tick()


@shared_task(name="deployments.probe", ignore_result=True)
def probe() -> None:
    """Ask every replica whether it is ready, and record changes of health."""
    probing.probe_round()


@shared_task(name="deployments.scrape", ignore_result=True)
def scrape() -> None:
    """Read every replica's metrics."""
    scraping.scrape_round()


@shared_task(name="deployments.roll_up", ignore_result=True)
def roll_up() -> None:
    """Roll metrics up, and delete what is past its retention."""
    rollup.roll_up_and_expire()
