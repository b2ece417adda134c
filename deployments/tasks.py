"""What beat calls: each task calls one function."""

from celery import shared_task

from deployments import reconciliation


@shared_task(name="deployments.reconcile", ignore_result=True)
def reconcile() -> None:
    """Notice replicas that died and targets that lack some."""
    reconciliation.reconcile_all()


@shared_task(name="deployments.tidy_replicas", ignore_result=True)
def tidy_replicas() -> None:
    """Keep logs and folders of replicas within bounds."""
    reconciliation.tidy_replicas()
