"""What one replica is to its machine: its folder's lock, its port, and children that die with it."""

import ctypes
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

EXIT_HELD = 75
EXIT_PORT_TAKEN = 76
PR_SET_PDEATHSIG = 1
# glibc's mallopt: the number of an option, and the value set.
M_TRIM_THRESHOLD = (-1, 256 * 1024)
M_MMAP_THRESHOLD = (-3, 256 * 1024)
M_ARENA_MAX = (-8, 2)


class ReplicaError(Exception):
    """The replica cannot start; `status` is the process's exit status."""

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


def start_ticks(pid: int) -> int:
    """When a process started, in clock ticks since boot: with the pid it tells a process for good."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[19])


def hold(folder: Path):
    """The open lock file of a replica's folder, locked while this process lives; ReplicaError when held.

    The lock is not inherited by programs that are started, and children of a fork die with their parent.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / "lock").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise ReplicaError(f"Another process runs this replica: {folder}/lock is held.", EXIT_HELD) from None
    return file


def record(folder: Path, port: int, version: str) -> None:
    """Write replica.json {pid, start_ticks, started_at, port, version} as a whole."""
    temporary = folder / f".replica.json.{os.getpid()}"
    temporary.write_text(
        json.dumps(
            {
                "pid": os.getpid(),
                "start_ticks": start_ticks(os.getpid()),
                "started_at": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
                "port": port,
                "version": version,
            }
        )
    )
    temporary.rename(folder / "replica.json")


def claim_port(host: str, port: int) -> tuple[int, socket.socket | None]:
    """The port (a free one for 0) and what to keep open while it is used; ReplicaError when it is taken.

    The server's own socket would share the port with another server's (SO_REUSEPORT) and say nothing. A
    bind that is undone at once finds what listens already; two replicas that start in the same moment
    both pass it, so the port is also claimed by an abstract socket, of which the kernel gives a name once.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            port = probe.getsockname()[1]
            return port, _claim(port)
        except OSError as error:
            raise ReplicaError(
                f"{host}:{port} cannot be listened on: {error.strerror}.", EXIT_PORT_TAKEN
            ) from None


def _claim(port: int) -> socket.socket | None:
    if sys.platform != "linux":
        return None
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        claim.bind(f"\0aindusdb-api-port-{port}")
    except OSError:
        claim.close()
        raise
    return claim


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, however that happens."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def child_environment() -> dict[str, str]:
    """The environment of another process of this installation, which is first among what Python imports."""
    paths = [str(Path(__file__).resolve().parent.parent), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def give_memory_back() -> None:
    """Have this process's C library return what large requests took, rather than keep it for each thread.

    Bodies of many MiB, and what is made of them, otherwise stay in the arena of every thread that had one.
    Where the C library is not glibc nothing is changed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX):
            mallopt(option, value)


class RunnerProcess:
    """The child that does the jobs, started again when it dies."""

    def __init__(self):
        self.stopping = threading.Event()
        self.process: subprocess.Popen | None = None
        # Its starter must live as long as the runner: the kernel kills with the thread that forked.
        self.thread = threading.Thread(target=self._keep, name="runner-keeper", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def _keep(self) -> None:
        pause = 1.0
        while not self.stopping.is_set():
            started = time.monotonic()
            self.process = subprocess.Popen(
                [sys.executable, "-m", "django", "vectors_runner", "--parent", str(os.getpid())],
                env=child_environment(),
                stdin=subprocess.DEVNULL,
            )
            self.process.wait()
            pause = 1.0 if time.monotonic() - started > 60 else min(pause * 2, 30.0)
            self.stopping.wait(pause)

    def stop(self, timeout_seconds: float = 2.0) -> None:
        self.stopping.set()
        process = self.process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        self.thread.join(timeout_seconds)
        if process.poll() is None:
            process.kill()
