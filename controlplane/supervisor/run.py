"""The life of the control plane on one machine: start in order, keep running, stop in order."""

import asyncio
import contextlib
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.utils.module_loading import import_string

from controlplane import embedded
from controlplane.supervisor import children, prepare
from controlplane.supervisor.child import Child, ChildSpec
from controlplane.supervisor.console import Console, LogFile
from controlplane.supervisor.preflight import RunLock, StartError

READY_SECONDS = 90
CRASHES_BEFORE_GIVING_UP = 3


@dataclass(frozen=True)
class Started:
    """What the person who started it is told: the address, and the password of `admin` if it is new."""

    url: str
    password: str | None
    seconds: float


class Supervisor:
    """Runs the children of one data directory. `ready` is called once, when the web role answers.

    `began` is the time.monotonic() from which the start is measured.
    """

    def __init__(
        self,
        *,
        layout: embedded.Layout,
        lock: RunLock,
        host: str,
        port: int,
        console: Console,
        ready: Callable[[Started], None],
        embedded_postgres: bool,
        embedded_redis: bool,
        began: float,
    ):
        self.layout = layout
        self.lock = lock
        self.host = host
        self.port = port
        self.console = console
        self._ready = ready
        self._embedded_postgres = embedded_postgres
        self._embedded_redis = embedded_redis
        self._children: dict[str, Child] = {}
        self._began = began
        self._stop = asyncio.Event()
        self._signals = 0
        self._log = LogFile(layout.logs, "up")

    @property
    def url(self) -> str:
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)
        if ":" in host and not host.startswith("["):
            host = f"[{host}]"
        return f"http://{host}:{self.port}"

    def say(self, text: str) -> None:
        """A line of the supervisor itself."""
        self.console.line("up", text)
        self._log.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}")

    async def run(self) -> None:
        """Start, keep running until a signal, stop; StartError when the start fails."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal, number)
        self._tell()
        starting = asyncio.create_task(self._start())
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                await stopping
        finally:
            for task in (starting, stopping):
                task.cancel()
            await asyncio.gather(starting, stopping, return_exceptions=True)
            await self._stop_all()

    def _on_signal(self, number: int) -> None:
        self._signals += 1
        self._stop.set()
        if self._signals == 1:
            self.say("Stopping; a second Ctrl-C ends everything at once.")
        else:
            self.say("Ending everything at once.")
            for child in self._children.values():
                child.force()

    def _tell(self, child: Child | None = None) -> None:
        groups = [child.pid for child in self._children.values() if child.pid]
        self.lock.write(pid=os.getpid(), url=self.url, groups=groups)

    def _launch(self, spec: ChildSpec) -> Child:
        child = Child(spec, self.console, self.layout.logs, changed=self._tell)
        self._children[spec.name] = child
        child.start()
        return child

    async def _start(self) -> None:
        servers = []
        if self._embedded_postgres:
            servers.append(self._launch(children.postgres(self.layout)))
        if self._embedded_redis:
            servers.append(self._launch(children.redis(self.layout)))
        database = asyncio.create_task(self._until("PostgreSQL", prepare.database_ready, servers))
        broker = asyncio.create_task(self._until("Redis", prepare.redis_ready, servers))
        try:
            await asyncio.gather(database, broker)
        finally:
            database.cancel()
            broker.cancel()
        password = await asyncio.to_thread(prepare.migrate_and_fill, self.say)
        try:
            web = self._launch(children.web(self.layout, self.host, self.port))
            await self._until("The web role", self._web_ready, [*servers, web])
            # After it, because all import much at their start and somebody waits for the page.
            self._launch(children.worker(self.layout))
            self._launch(children.beat(self.layout))
            self._launch(children.jobs(self.layout))
        except BaseException:
            # It is stored hashed by now: a start that fails after this must not swallow it.
            if password:
                self.console.say(f"The administrator was made: user admin, password {password}")
            raise
        self._ready(Started(self.url, password, time.monotonic() - self._began))

    async def _until(self, what: str, works: Callable[[], str], watched: list[Child]) -> None:
        """Poll `works` (in a thread; it returns the fault, or an empty text) until it holds."""
        deadline = time.monotonic() + READY_SECONDS
        while fault := await asyncio.to_thread(works):
            for child in watched:
                if child.crashes >= CRASHES_BEFORE_GIVING_UP:
                    tail = "\n  ".join([*child.log.tail][-12:])
                    raise StartError(
                        f"{child.spec.name} does not start. Its last lines"
                        f" ({self.layout.logs / child.spec.name}.log):\n  {tail}"
                    )
            if time.monotonic() > deadline:
                raise StartError(f"{what} was not ready after {READY_SECONDS} s: {fault}")
            await asyncio.sleep(0.05)

    def _web_ready(self) -> str:
        return http_fault(f"{self.url}/ready")

    async def _stop_all(self) -> None:
        # No new requests and no new messages first; then what runs may end.
        await asyncio.gather(*(self._stop_child(name) for name in ("web", "beat", "jobs")))
        await self._stop_child("worker")
        if self._signals < 2:
            await asyncio.to_thread(self._run_stop_hooks)
        await asyncio.gather(self._stop_child("redis"), self._stop_child("postgres"))
        self.say("Stopped.")
        self._log.close()

    async def _stop_child(self, name: str) -> None:
        child = self._children.get(name)
        if child:
            await child.stop()

    def _run_stop_hooks(self) -> None:
        for name in settings.STOP_HOOKS:
            try:
                import_string(name)(Path(self.layout.root))
            except Exception as error:
                self.say(f"{name} failed at the stop: {error!r}")


def http_fault(url: str) -> str:
    """Why a GET of url is not answered with 200; an empty text when it is."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with contextlib.closing(opener.open(url, timeout=3)):
            return ""
    except urllib.error.HTTPError as error:
        with error:
            return f"{error.code} {error.read(500).decode('utf-8', 'replace')}"
    except OSError as error:
        return str(error)
