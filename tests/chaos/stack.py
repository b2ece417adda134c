"""PostgreSQL, Redis, a Celery worker and beat of their own, each of which may be killed."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from controlplane import embedded
from controlplane.broker import redis_client

ROOT = Path(__file__).resolve().parents[2]


def wait_for(condition, seconds: float, what: str):
    """Poll until the condition gives something true, and give it back; TimeoutError at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        found = None
        with suppress(Exception):
            found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.05)


def _die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Stack:
    """Starts everything, starts the worker and beat again when they die, and ends everything."""

    def __init__(self, layout: embedded.Layout, chaos: Path, concurrency: int = 4):
        self.layout, self.chaos, self.concurrency = layout, chaos, concurrency
        self.processes: dict[str, subprocess.Popen] = {}
        self.worker_starts = 0
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="keeper")

    def start_servers(self) -> None:
        embedded.prepare(self.layout)
        self.start_postgres()
        self.start_redis()
        wait_for(lambda: embedded.ensure_database(self.layout) is None, 30, "PostgreSQL")

    def start_workers(self) -> None:
        self._start_role("worker")
        self._start_role("beat")
        self._keeper.start()

    def start_postgres(self) -> None:
        command, arguments = embedded.postgres_command(self.layout)
        command += ["-c", "fsync=off", "-c", "full_page_writes=off", "-c", "shared_buffers=128MB"]
        self._start("postgres", command, **arguments)

    def start_redis(self) -> None:
        command, arguments = embedded.redis_command(self.layout)
        self._start("redis", command, **arguments)
        wait_for(lambda: redis_client().ping(), 10, "Redis")

    def stop_redis(self) -> None:
        """As a crash would: what was queued is lost."""
        self._end("redis", signal.SIGKILL)
        self.layout.redis_socket.unlink(missing_ok=True)

    def stop_postgres(self) -> None:
        """An immediate shutdown: connections are cut, recovery runs at the next start."""
        self._end("postgres", signal.SIGQUIT)

    def _start(self, name: str, command: list[str], **arguments) -> None:
        log = (self.layout.logs / f"{name}.log").open("ab")
        self.processes[name] = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=_die_with_parent,
            start_new_session=True,
            **arguments,
        )
        log.close()

    def _start_role(self, role: str) -> None:
        command = [sys.executable, "-m", "celery", "--app"]
        if role == "worker":
            command += ["tests.chaos.app", "--quiet", "worker", "--loglevel", "INFO"]
            command += [
                "--hostname",
                f"worker{self.worker_starts}@%h",
                "--concurrency",
                str(self.concurrency),
            ]
            command += ["--queues", "operations,maintenance", "--without-gossip", "--without-mingle"]
            self.worker_starts += 1
        else:
            command += ["worker.celery", "--quiet", "beat", "--loglevel", "INFO"]
            command += ["--schedule", str(self.layout.root / "beat-schedule"), "--pidfile", ""]
        environment = os.environ | {"AINDUS_ROLE": role, "AINDUS_CHAOS_DIR": str(self.chaos)}
        self._start(role, command, env=environment, cwd=ROOT)

    def _keep(self) -> None:
        while not self._closing.wait(0.2):
            for role in ("worker", "beat"):
                if self.processes[role].poll() is not None:
                    self._start_role(role)

    def _end(self, name: str, signal_number: int) -> None:
        process = self.processes.pop(name, None)
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(signal_number)
        process.wait(30)

    def stop_workers(self) -> None:
        if self._keeper.is_alive():
            self._closing.set()
            self._keeper.join()
        for role in ("beat", "worker"):
            process = self.processes.pop(role, None)
            if process:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(30)

    def stop(self) -> None:
        self.stop_workers()
        self._end("redis", signal.SIGKILL)
        self._end("postgres", signal.SIGINT)
