"""The command of each role: what `manage.py up` starts as children, and a container runs as itself."""

import os
import sys
from pathlib import Path
from typing import NoReturn

from django.conf import settings


def web(host: str, port: int) -> list[str]:
    """One process: server-sent events are cheap under ASGI, and the heavy reads are the targets' own."""
    return [
        *(sys.executable, "-m", "granian"),
        *("--interface", "asgi", "--host", host, "--port", str(port), "--workers", "1"),
        *("--no-ws", "--log-level", "warning", "--workers-kill-timeout", "5"),
        "controlplane.asgi:application",
    ]


def worker() -> list[str]:
    """A Celery worker of the queues and with the processes that the settings name."""
    return [
        *(sys.executable, "-m", "celery", "--app", "worker.celery", "--quiet", "worker"),
        *("--loglevel", settings.LOG_LEVEL, "--hostname", "worker@%h"),
        *("--concurrency", str(settings.WORKER_CONCURRENCY), "--queues", ",".join(settings.WORKER_QUEUES)),
        *("--without-gossip", "--without-mingle"),
    ]


def beat(folder: Path) -> list[str]:
    """The clock; it keeps its schedule in this folder, which may be empty at every start."""
    return [
        *(sys.executable, "-m", "celery", "--app", "worker.celery", "--quiet", "beat"),
        *("--loglevel", settings.LOG_LEVEL, "--schedule", str(folder / "beat-schedule"), "--pidfile", ""),
    ]


def become(role: str, command: list[str]) -> NoReturn:
    """Replace this process by a role's, which takes its signals; its log goes to standard output."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(1, 2)
    os.chdir(settings.BASE_DIR)
    environment = os.environ | {
        "AINDUS_ROLE": role,
        "DJANGO_SETTINGS_MODULE": "controlplane.settings",
        "PYTHONUNBUFFERED": "1",
    }
    os.execve(command[0], command, environment)
