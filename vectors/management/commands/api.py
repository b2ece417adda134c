"""`manage.py api`: the vector API under granian, with a runner for jobs beside it."""

import copy
import functools
import gc
import logging
import os
import sys
from pathlib import Path

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from vectors import limits, metrics, replica

STOP_SECONDS = 7


# A kept connection counts though nothing comes over it, so that a low limit would keep out even probes.
CONNECTIONS_MOST = 8192


def load(counters: metrics.Counters, parent: int):
    """In a worker process: the application, which counts in what all of them share."""
    replica.die_with(parent)
    replica.give_memory_back()
    # A request leaves no cycles: to look for them rarely is enough, and each look is a pause.
    gc.set_threshold(20_000, 20, 100)
    from vectors import database
    from vectors.wsgi import Application

    database.use(None)
    return Application(counters)


class Command(BaseCommand):
    help = "Serves the vector API."
    # Checks would import every URL; /ready says what is wrong.
    requires_system_checks = []

    def add_arguments(self, parser):
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8000, help="0: any free port")
        parser.add_argument("--workers", type=int, default=settings.VECTORS["workers"])
        parser.add_argument("--threads", type=int, default=settings.VECTORS["threads"])
        parser.add_argument("--no-runner", action="store_true", help="do no jobs in this replica")

    def handle(self, *, host, port, workers, threads, no_runner, **_):
        folder = Path(settings.VECTORS["replica_dir"]) if settings.VECTORS["replica_dir"] else None
        try:
            lock = replica.hold(folder) if folder else None
            port, claim = replica.claim_port(host, port)
        except replica.ReplicaError as error:
            raise CommandError(str(error), returncode=error.status) from error
        if folder:
            replica.record(folder, port, settings.VERSION)
        settings.VECTORS["threads"] = threads
        try:
            self.serve(host, port, workers, threads, not no_runner)
        finally:
            for held in (lock, claim):
                if held:
                    held.close()

    def serve(self, host: str, port: int, workers: int, threads: int, with_runner: bool) -> None:
        import multiprocessing

        from granian import Granian
        from granian.constants import HTTPModes, Interfaces
        from granian.log import LogLevels

        # Imported before the fork: workers start at once and share the memory of it.
        import vectors.wsgi  # noqa: F401

        # What is there now stays: no collection of garbage looks at it, nor copies its pages in the workers.
        gc.collect()
        gc.freeze()
        # The counters' memory is inherited, which only a fork does.
        multiprocessing.set_start_method("fork", force=True)
        runner = replica.RunnerProcess()
        # Shared by inheritance.
        counters = metrics.Counters(workers * 2 + 1)
        limits.rates()
        server = Granian(
            "vectors.wsgi",
            address=host,
            port=port,
            interface=Interfaces.WSGI,
            http=HTTPModes.http1,
            workers=workers,
            # Those that wait for a place take a thread each, see vectors/limits.py.
            blocking_threads=threads + settings.VECTORS["queue_requests"] + limits.SPARE_THREADS,
            backpressure=CONNECTIONS_MOST,
            blocking_threads_idle_timeout=600,
            websockets=False,
            respawn_failed_workers=True,
            respawn_interval=0.5,
            workers_kill_timeout=STOP_SECONDS,
            log_level=LogLevels.warning,
            log_dictconfig=copy.deepcopy(settings.LOGGING),
        )
        # It takes threads that only wait for a place for threads at work, and warns of so many.
        logging.getLogger("_granian").addFilter(lambda record: "Python threads" not in str(record.msg))
        if with_runner:
            server.on_startup(runner.start)
        self.stderr.write(f"Vector API {settings.VERSION} on http://{host}:{port} (pid {os.getpid()})")
        try:
            server.serve(
                target_loader=functools.partial(load, counters, os.getpid()),
                wrap_loader=False,
            )
        except SystemExit as ended:
            if server.interrupt_signal:
                # A worker that was stopped is no failure.
                ended.code = 0
            raise
        finally:
            runner.stop()
        sys.stderr.flush()
