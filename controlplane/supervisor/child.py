"""One supervised process: started, its output carried on, restarted with backoff, stopped in bounded time."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from controlplane.supervisor.console import Console, Lines, LogFile

TETHER = Path(__file__).with_name("tether.py")
FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30.0
STABLE_SECONDS = 30.0


def backoff_seconds(crashes_in_a_row: int) -> float:
    """Half a second, doubled with each crash, at most 30 s."""
    return min(FIRST_BACKOFF_SECONDS * 2 ** max(0, crashes_in_a_row - 1), LONGEST_BACKOFF_SECONDS)


@dataclass(frozen=True)
class ChildSpec:
    """How a child is run.

    `stop_signal` asks it to end, `hard_signal` makes it after `stop_seconds`; `orphan_signal` is what the
    kernel sends when the supervisor is killed. `account` is the (uid, gid) to run as, None for our own.
    """

    name: str
    command: list[str]
    environment: dict[str, str]
    folder: str = "/"
    account: tuple[int, int] | None = None
    stop_signal: int = signal.SIGTERM
    hard_signal: int = signal.SIGKILL
    orphan_signal: int = signal.SIGTERM
    stop_seconds: float = 10.0


class Output:
    """Carries a pipe's lines on as they come.

    The end of the process, not of the pipe, ends it: who inherited the pipe may hold it for ever.
    """

    def __init__(self, pipe, take: Callable[[str], None]):
        self._pipe = pipe
        self._lines = Lines(take)
        self._loop = asyncio.get_running_loop()
        os.set_blocking(pipe.fileno(), False)
        self._loop.add_reader(pipe.fileno(), self._read)

    def _read(self) -> bool:
        try:
            data = os.read(self._pipe.fileno(), 65536)
        except BlockingIOError:
            return False
        if not data:
            self._loop.remove_reader(self._pipe.fileno())
        self._lines.feed(data)
        return bool(data)

    def close(self) -> None:
        """Take what is in the pipe by now, and leave it."""
        while self._read():
            pass
        self._loop.remove_reader(self._pipe.fileno())
        self._lines.end()
        self._pipe.close()


async def exit_status(process: subprocess.Popen) -> int:
    """Wait for a process in a thread of its own: the loop's are few, and children live long."""
    loop = asyncio.get_running_loop()
    ended = loop.create_future()

    def tell(status: int) -> None:
        if not ended.done():
            ended.set_result(status)

    def wait() -> None:
        status = process.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(tell, status)

    threading.Thread(target=wait, name=f"wait {process.pid}", daemon=True).start()
    return await ended


class Child:
    """A process of a spec, kept running until `stop`. Each is the leader of its own process group."""

    def __init__(
        self,
        spec: ChildSpec,
        console: Console,
        logs: Path,
        changed: Callable[["Child"], None] = lambda child: None,
    ):
        self.spec = spec
        self.log = LogFile(logs, spec.name)
        self.process: subprocess.Popen | None = None
        self.crashes = 0
        self._console = console
        self._changed = changed
        self._stopping = asyncio.Event()
        self._keeper: asyncio.Task | None = None

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process and self.process.returncode is None else None

    def start(self) -> None:
        """Begin to keep it running."""
        self._keeper = asyncio.create_task(self._keep(), name=f"keep {self.spec.name}")

    def say(self, text: str) -> None:
        """A line of the supervisor about this child, on the terminal and in the child's log."""
        self._console.line(self.spec.name, text)
        self.log.write(text)

    async def _keep(self) -> None:
        in_a_row = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            status = await self._run_once()
            if self._stopping.is_set():
                return
            self.crashes += 1
            in_a_row = 1 if time.monotonic() - began >= STABLE_SECONDS else in_a_row + 1
            pause = backoff_seconds(in_a_row)
            self.say(f"[supervisor] {self.spec.name} {describe(status)}; starting it again in {pause:g} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)

    async def _run_once(self) -> int:
        try:
            process = subprocess.Popen(
                [*self._tether(), *self.spec.command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=self.spec.environment,
                start_new_session=True,
                cwd=self.spec.folder,
            )
        except OSError as error:
            self.say(f"[supervisor] {self.spec.name} cannot be started: {error}")
            return 127
        self.process = process
        self._changed(self)
        output = Output(process.stdout, self._line)
        status = await exit_status(process)
        # What a dead leader left in its group would hold its port or its sockets.
        signal_group(process.pid, signal.SIGKILL)
        output.close()
        self._changed(self)
        return status

    def _tether(self) -> list[str]:
        account = ":".join(map(str, self.spec.account)) if self.spec.account else "-"
        orphan = str(int(self.spec.orphan_signal))
        return [sys.executable, "-I", "-S", str(TETHER), orphan, str(os.getpid()), account]

    def _line(self, text: str) -> None:
        self._console.line(self.spec.name, text)
        self.log.write(text)

    async def stop(self) -> None:
        """Ask it to end, wait `stop_seconds`, then make it end; returns when it is gone."""
        self._stopping.set()
        if self._keeper is None:
            return
        if self.pid:
            # The leader alone: it ends its own workers in order.
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(self.spec.stop_signal)
        done, _ = await asyncio.wait([self._keeper], timeout=self.spec.stop_seconds)
        if not done:
            self.say(f"[supervisor] {self.spec.name} did not stop in {self.spec.stop_seconds:g} s; ending it")
            self.force()
            done, _ = await asyncio.wait([self._keeper], timeout=10)
            if not done and self.pid:
                signal_group(self.pid, signal.SIGKILL)
                await self._keeper
        self.log.close()

    def force(self) -> None:
        """Make it end now."""
        self._stopping.set()
        if self.pid:
            if self.spec.hard_signal == signal.SIGKILL:
                signal_group(self.pid, signal.SIGKILL)
            else:
                with contextlib.suppress(ProcessLookupError):
                    self.process.send_signal(self.spec.hard_signal)


def signal_group(group: int, number: int) -> None:
    """Send a signal to a process group; nobody there is fine."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def describe(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"ended with exit status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
