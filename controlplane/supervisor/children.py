"""The children of `manage.py up`: their environments, and how they are stopped."""

import os
import signal
import sys

from django.conf import settings

from controlplane import embedded, roles
from controlplane.supervisor.child import ChildSpec
from controlplane.supervisor.leftovers import MARK

# What the embedded servers need of our environment: none of our secrets.
PLAIN = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "TMPDIR")


def server_environment(layout: embedded.Layout) -> dict[str, str]:
    """Environment of PostgreSQL and Redis."""
    return {name: os.environ[name] for name in PLAIN if name in os.environ} | {MARK: str(layout.root)}


def role_environment(layout: embedded.Layout, role: str) -> dict[str, str]:
    """Environment of a process of the image: ours, with its role and the data directory made explicit."""
    return dict(os.environ) | {
        "AINDUS_DATA_DIR": str(layout.root),
        "AINDUS_ROLE": role,
        "DJANGO_SETTINGS_MODULE": "controlplane.settings",
        "PYTHONUNBUFFERED": "1",
        MARK: str(layout.root),
    }


def postgres(layout: embedded.Layout) -> ChildSpec:
    """SIGINT is PostgreSQL's fast shutdown: it ends connections, writes a checkpoint and leaves."""
    command, arguments = embedded.postgres_command(layout)
    account = (arguments["user"], arguments["group"]) if arguments else None
    return ChildSpec(
        "postgres",
        command,
        server_environment(layout),
        account=account,
        stop_signal=signal.SIGINT,
        hard_signal=signal.SIGQUIT,
        orphan_signal=signal.SIGINT,
        stop_seconds=30,
    )


def redis(layout: embedded.Layout) -> ChildSpec:
    command, _ = embedded.redis_command(layout)
    return ChildSpec("redis", command, server_environment(layout), stop_seconds=5)


def _role(layout: embedded.Layout, role: str, command: list[str], **values) -> ChildSpec:
    environment = role_environment(layout, role)
    if role == "worker" and os.geteuid() == 0:
        # Messages are JSON, so Celery's warning about root and pickle says nothing here.
        quiet = "ignore:You're running the worker with superuser privileges"
        environment["PYTHONWARNINGS"] = ",".join(filter(None, [environment.get("PYTHONWARNINGS"), quiet]))
    return ChildSpec(role, command, environment, folder=str(settings.BASE_DIR), **values)


def web(layout: embedded.Layout, host: str, port: int) -> ChildSpec:
    return _role(layout, "web", roles.web(host, port))


def worker(layout: embedded.Layout) -> ChildSpec:
    """SIGTERM is Celery's warm shutdown; a step cut short is taken up by the next start."""
    return _role(layout, "worker", roles.worker(), stop_seconds=15)


def beat(layout: embedded.Layout) -> ChildSpec:
    return _role(layout, "beat", roles.beat(layout.root), stop_seconds=5)


def jobs(layout: embedded.Layout) -> ChildSpec:
    """Index builds of this installation's own collections, as each replica does its target's.

    A process of role `api`, which loads nothing of the control plane.
    """
    return ChildSpec(
        "jobs",
        [sys.executable, "-m", "django", "vectors_runner"],
        role_environment(layout, "api"),
        folder=str(settings.BASE_DIR),
        stop_seconds=5,
    )
