"""A real installation in a temporary folder, driven as its users do: by commands and signals."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, seconds: float, what: str):
    """The first true value of condition(), AssertionError naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)
    return value


def processes_of(folder: Path) -> dict[int, str]:
    """Living processes that carry the data directory in their environment or command: {pid: command}."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            environment = (entry / "environ").read_bytes()
            status = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if status != "Z" and (str(folder).encode() in command or str(folder).encode() in environment):
            found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace")
    return found


class Installation:
    """manage.py on one data directory and one port."""

    def __init__(self, environment: dict[str, str] | None = None):
        # Short, because of the sockets in it, and open to pass: as root PostgreSQL has another account.
        self.folder = Path(tempfile.mkdtemp(prefix="aindus-up-"))
        self.folder.chmod(0o711)
        self.data = self.folder / "data"
        self.port = free_port()
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name not in {"DATABASE_URL", "REDIS_URL"} and not name.startswith("AINDUS_")
        }
        self.environment = inherited | {
            "AINDUS_DATA_DIR": str(self.data),
            "AINDUS_WORKER_CONCURRENCY": "1",
            **(environment or {}),
        }
        self.process: subprocess.Popen | None = None
        self.output = self.folder / "output"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def manage(self, *arguments: str, timeout: float = 60, **values) -> subprocess.CompletedProcess:
        """Run a command to its end; its output is text."""
        return subprocess.run(
            [sys.executable, ROOT / "manage.py", *arguments],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout,
            **values,
        )

    def start(self, *arguments: str) -> str:
        """Start in the foreground and wait until it is ready; what it printed."""
        with self.output.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, ROOT / "manage.py", "up", "--port", str(self.port), *arguments],
                env=self.environment,
                cwd=self.folder,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

        def is_ready():
            text = self.output.read_text()
            assert self.process.poll() is None, text
            return text if "is ready after" in text and "Stop with" in text else ""

        return wait_for(is_ready, 60, "ready")

    def lines(self, pattern: str) -> list[str]:
        """What the output holds that matches."""
        return re.findall(pattern, self.output.read_text())

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signal the supervisor and wait; its exit status."""
        self.process.send_signal(number)
        return self.process.wait(timeout=60)

    def child(self, name: str) -> int:
        """The process id of a child's leader."""
        words = {"postgres": "bin/postgres", "redis": "redis-server", "web": "granian", "beat": " beat "}
        words |= {"worker": " worker ", "jobs": "-m django vectors_runner"}
        pids = [
            pid
            for pid, command in processes_of(self.data).items()
            # A replica's own runner dies with its replica, and is no child of the supervisor.
            if words[name] in command and "--parent" not in command
        ]
        return min(pids) if pids else 0

    def close(self) -> None:
        for pid in [self.process.pid] if self.process and self.process.poll() is None else []:
            os.kill(pid, signal.SIGTERM)
            self.process.wait(timeout=60)
        for pid in processes_of(self.data):
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)
