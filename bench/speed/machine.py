"""What a measurement runs on: a PostgreSQL of its own, databases in it, and servers as child processes."""

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jwt
import psycopg
from psycopg.conninfo import make_conninfo

from controlplane import embedded

ROOT = Path(__file__).resolve().parents[2]
KEY = "the-key-of-a-bench-" + "x" * 64


def token(role: str = "admin") -> str:
    """A JWT that the measured server takes for a day."""
    return jwt.encode({"sub": "bench", "role": role, "exp": time.time() + 86_400}, KEY, algorithm="HS256")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def die_with_parent(by: int = signal.SIGTERM) -> None:
    """In a child before its program: end when the bench does, however that is."""
    ctypes.CDLL(None).prctl(1, by)


def until(condition, seconds: float, what: str, every: float = 0.01):
    """The first true value of condition(), asked every so often; RuntimeError when none comes in time."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not come about within {seconds:.0f} s")
        time.sleep(every)


class Postgres:
    """A cluster in a temporary folder with the settings the product gives its own, or a server that is given.

    As a context it is started, and stopped and removed at the end.
    """

    def __init__(self, url: str | None = None):
        self.url = url
        self.folder: Path | None = None
        self.process: subprocess.Popen | None = None

    def __enter__(self) -> "Postgres":
        if self.url:
            return self
        self.folder = Path(tempfile.mkdtemp(prefix="aindus-bench-"))
        # PostgreSQL has another account when we are root.
        self.folder.chmod(0o711)
        layout = embedded.Layout(self.folder)
        embedded.prepare(layout)
        command, arguments = embedded.postgres_command(layout)
        with (self.folder / "postgres.log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                preexec_fn=lambda: die_with_parent(signal.SIGINT),
                **arguments,
            )
        self.url = layout.database_url
        until(self._answers, 60, "PostgreSQL")
        return self

    def _answers(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.server):
            return True
        return False

    def __exit__(self, *_) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(timeout=60)
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def backends(self) -> list[int]:
        """The processes of its connections and of its background; none of a server that was given."""
        return children(self.process.pid) if self.process is not None else []

    @property
    def server(self) -> str:
        return make_conninfo(self.url, dbname="postgres")

    @contextlib.contextmanager
    def database(self, name: str):
        """The URL of a new database, dropped at the end."""
        name = f"bench_{name}_{os.getpid()}"
        with psycopg.connect(self.server, autocommit=True) as db:
            db.execute(f"CREATE DATABASE {name}")
        try:
            yield make_conninfo(self.url, dbname=name)
        finally:
            with psycopg.connect(self.server, autocommit=True) as db:
                db.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def api_environment(url: str, **more: str) -> dict[str, str]:
    """The environment of a process in role `api` on a database."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AINDUS_", "DATABASE_", "REDIS_"))}
    return kept | {
        "AINDUS_ROLE": "api",
        "AINDUS_DATA_DIR": "/nonexistent",
        "DATABASE_URL": url,
        "JWT_SECRET_KEY": KEY,
        # A measurement of recall by itself reads all points in the middle of ours.
        "AINDUS_RECALL_HOURS": "0",
        "DJANGO_SETTINGS_MODULE": "controlplane.settings",
        **more,
    }


def migrate(url: str) -> None:
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "vectors", "-v0"],
        cwd=ROOT,
        env=api_environment(url),
        check=True,
    )


@contextlib.contextmanager
def child(command: list, **options):
    """A child process, stopped at the end and killed when that takes too long."""
    process = subprocess.Popen(command, preexec_fn=die_with_parent, start_new_session=True, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            # Its own session: nothing of another's is hit.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def children(pid: int) -> list[int]:
    """The processes that a process has started, whichever of its threads did, and those that they started."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *children(child)]
    return found


def listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


class Api:
    """A running server of role `api`."""

    def __init__(self, process: subprocess.Popen, port: int, url: str):
        self.process = process
        self.port = port
        self.url = url

    def workers(self) -> list[int]:
        """The pids of its worker processes: the children that are forks of it, not the runner of jobs."""
        own = Path(f"/proc/{self.process.pid}/cmdline").read_bytes()
        return [pid for pid in children(self.process.pid) if Path(f"/proc/{pid}/cmdline").read_bytes() == own]


@contextlib.contextmanager
def api(url: str, *, workers: int | None = None, threads: int | None = None, ready: bool = True, **more: str):
    """A server of role `api` on a migrated database, as an installation starts it; None: its defaults."""
    port = free_port()
    command = [sys.executable, "manage.py", "api", "--port", str(port)]
    for option, value in (("--workers", workers), ("--threads", threads)):
        command += [option, str(value)] if value else []
    log = os.environ.get("AINDUS_BENCH_LOG")
    with (
        Path(log or os.devnull).open("ab") as out,
        child(command, cwd=ROOT, env=api_environment(url, **more), stdout=out, stderr=out) as process,
    ):
        if ready:
            until(lambda: listening(port), 30, "the API")
        yield Api(process, port, url)
