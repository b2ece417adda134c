"""A container that is a real process of this machine, its output kept line by line."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# Asks for its death with the thread that started it, then becomes the command: this process has threads,
# so nothing of Python may run between its fork and the start of the other program.
_LAUNCHER = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execvp(sys.argv[1], sys.argv[1:])"


class Process:
    """Started at once. `on_line` gets each line of output, `on_exit` the code (128 + a signal's number)."""

    def __init__(
        self,
        command: list[str],
        env: Mapping[str, str],
        folder: Path,
        on_line: Callable[[str], None],
        on_exit: Callable[[int], None],
    ):
        base = {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
        self._on_line, self._on_exit = on_line, on_exit
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _LAUNCHER, *command],
            env={**base, "PYTHONUNBUFFERED": "1", **env},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._used = (0.0, time.monotonic())
        self._thread = threading.Thread(target=self._follow, name=f"container-{self.pid}", daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        with self._process.stdout as output:
            for line in output:
                self._on_line(line.decode(errors="replace").rstrip("\n"))
        code = self._process.wait()
        self._end_group()
        self._on_exit(128 - code if code < 0 else code)

    def _end_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def usage(self) -> tuple[float, int]:
        """Cores used since it was last asked (or its start), and bytes of memory, of the whole group."""
        ticks, pages = 0, 0
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == self.pid:
                ticks += int(fields[11]) + int(fields[12])
                pages += int(fields[21])
        now, seconds = time.monotonic(), ticks / os.sysconf("SC_CLK_TCK")
        (before, at), self._used = self._used, (seconds, now)
        return max(0.0, seconds - before) / max(now - at, 1e-3), pages * os.sysconf("SC_PAGE_SIZE")

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number) if self._process.poll() is None else None

    def kill(self) -> None:
        """All of it, at once; returns when its output has ended."""
        self._end_group()
        if threading.current_thread() is not self._thread:
            self._thread.join(10)
