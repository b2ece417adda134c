"""Celery tasks of the control plane itself."""

import time

from celery import shared_task

from controlplane.broker import HEARTBEAT_KEY, redis_client


@shared_task(name="controlplane.heartbeat", ignore_result=True)
def heartbeat() -> None:
    """Note that beat sent and a worker took; `manage.py doctor` reads it."""
    with redis_client() as client:
        client.set(HEARTBEAT_KEY, repr(time.time()), ex=3600)


@shared_task(name="controlplane.forget_answers", ignore_result=True)
def forget_answers() -> None:
    """Drop the answers remembered for idempotency keys that are too old to be sent again."""
    from controlplane.api.idempotency import forget_old_answers

    forget_old_answers()
