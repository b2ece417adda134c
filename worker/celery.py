"""The Celery application. `celery -A worker.celery worker` and `... beat` run the roles."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings")

from celery import Celery, signals
from django.conf import settings
from kombu import Queue

app = Celery("aindusdb")
app.conf.update(
    broker_url=settings.REDIS_URL,
    task_serializer="json",
    accept_content=["json"],
    result_backend=None,
    task_ignore_result=True,
    task_default_queue="operations",
    task_queues=[Queue(name) for name in ("operations", "maintenance", *settings.WORKER_QUEUES)],
    task_routes={
        "worker.advance": {"queue": "operations"},
        "*": {"queue": "maintenance"},
    },
    worker_prefetch_multiplier=1,
    worker_max_tasks_per_child=2000,
    worker_hijack_root_logger=False,
    worker_concurrency=settings.WORKER_CONCURRENCY,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={
        "socket_timeout": 10,
        "socket_connect_timeout": 3,
        "socket_keepalive": True,
        "health_check_interval": 10,
        "visibility_timeout": 600,
    },
    task_publish_retry=False,
    timezone="UTC",
    beat_schedule=settings.BEAT_SCHEDULE,
    beat_max_loop_interval=1,
)
app.autodiscover_tasks()


@signals.worker_ready.connect
def answer_probes_of_the_worker(**kwargs):
    from controlplane import probe_server

    probe_server.serve()


@signals.beat_init.connect
def answer_probes_of_beat(**kwargs):
    """It lives as long as it sends: something is due every few seconds."""
    from controlplane import probe_server

    pulse = probe_server.Pulse()
    pulse.beat()
    signals.before_task_publish.connect(pulse.beat, weak=False)
    probe_server.serve(pulse)


@signals.worker_init.connect
def watch_over_the_worker(**kwargs):
    """Only a worker needs its watchdog; importing it there connects it."""
    from worker import watchdog  # noqa: F401


@signals.worker_init.connect
def refuse_unknown_operations(**kwargs):
    """A worker that lacks the code of an unfinished operation must not start and let it lie."""
    from worker.handlers import check_unfinished_operations

    problems = check_unfinished_operations(None)
    if problems:
        raise SystemExit("\n".join(f"{problem.msg} {problem.hint}" for problem in problems))
