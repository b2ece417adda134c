"""An operation's page, live: rendered again whenever PostgreSQL announces that it changed.

One connection of a process listens, however many browsers look. A listener that cannot connect costs
liveness and not truth: every stream also looks by itself, more often while nobody listens for it.
"""

import asyncio
import contextlib
import logging
import weakref

import psycopg
from asgiref.sync import sync_to_async
from django.core.exceptions import ValidationError
from django.db import connection, connections
from django.http import HttpResponse, StreamingHttpResponse
from django.template import loader

from controlplane.permissions import allowed, membership
from deployments.pages.operations import operation_context
from worker.engine import CHANNEL
from worker.models import Operation

log = logging.getLogger(__name__)

LOOK_SECONDS = 10.0
LOOK_ALONE_SECONDS = 1.0
# Changes that come closer together than this are shown together.
GATHER_SECONDS = 0.15
LONGEST_SECONDS = 15 * 60


class Listener:
    """Wakes those who wait for an operation when the channel names it. One for each event loop."""

    def __init__(self):
        self.waiting: dict[str, set[asyncio.Event]] = {}
        self.task: asyncio.Task | None = None
        self.connected = False

    def subscribe(self, operation_id: str) -> asyncio.Event:
        event = asyncio.Event()
        self.waiting.setdefault(operation_id, set()).add(event)
        if self.task is None or self.task.done():
            self.task = asyncio.get_running_loop().create_task(self._listen())
        return event

    def unsubscribe(self, operation_id: str, event: asyncio.Event) -> None:
        held = self.waiting.get(operation_id, set())
        held.discard(event)
        if not held:
            self.waiting.pop(operation_id, None)
        if not self.waiting and self.task:
            self.task.cancel()
            self.task = None

    async def _listen(self) -> None:
        pause = 1.0
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    **_parameters(), autocommit=True
                ) as database:
                    await database.execute(f"LISTEN {CHANNEL}")
                    self.connected, pause = True, 1.0
                    self._wake_all()
                    async for notice in database.notifies():
                        for event in self.waiting.get(notice.payload, ()):
                            event.set()
            except (psycopg.Error, OSError) as error:
                log.warning("cannot listen for operations, looking instead: %s", error)
            finally:
                self.connected = False
            await asyncio.sleep(pause)
            pause = min(pause * 2, 30.0)

    def _wake_all(self) -> None:
        for events in self.waiting.values():
            for event in events:
                event.set()


_listeners: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def listener() -> Listener:
    """The listener of the running event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _listeners:
        _listeners[loop] = Listener()
    return _listeners[loop]


def _parameters() -> dict:
    wanted = connection.get_connection_params()
    known = ("dbname", "user", "password", "host", "port", "connect_timeout", "sslmode", "sslrootcert")
    return {name: wanted[name] for name in known if wanted.get(name)}


def _allowed_operation(request, operation_id: str) -> Operation | None:
    try:
        if not request.user.is_authenticated or not allowed(request, "project.read"):
            return None
        return Operation.objects.filter(project=membership(request).project, pk=operation_id).first()
    except ValidationError:
        return None
    finally:
        connections.close_all()


def _rendered(operation_id: str, request) -> tuple[str, bool]:
    """The page's live part now, and whether the operation has ended."""
    try:
        operation = Operation.objects.get(pk=operation_id)
        context = operation_context(operation)
        return loader.render_to_string("deployments/_operation.html", context, request), operation.is_finished
    finally:
        # A stream lives for minutes: it gives its connection back between two looks.
        connections.close_all()


def frame(event: str, text: str) -> str:
    """A server-sent event; a line break in the text starts another data line."""
    lines = "".join(f"data: {line}\n" for line in text.splitlines() or [""])
    return f"event: {event}\n{lines}\n"


async def operation_stream(request, operation_id):
    """Server-sent events: `update` with the page's live part, then `close` when the operation has ended."""
    found = await sync_to_async(_allowed_operation)(request, operation_id)
    if found is None:
        return HttpResponse(status=404)
    response = StreamingHttpResponse(_frames(request, operation_id), content_type="text/event-stream")
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"
    return response


async def _frames(request, operation_id):
    hub = listener()
    changed = hub.subscribe(operation_id)
    until = asyncio.get_running_loop().time() + LONGEST_SECONDS
    shown = ""
    try:
        yield "retry: 2000\n\n"
        while asyncio.get_running_loop().time() < until:
            changed.clear()
            text, ended = await sync_to_async(_rendered)(operation_id, request)
            if text != shown:
                shown = text
                yield frame("update", text)
            else:
                yield ": still here\n\n"
            if ended:
                yield frame("close", "ended")
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), LOOK_SECONDS if hub.connected else LOOK_ALONE_SECONDS)
                await asyncio.sleep(GATHER_SECONDS)
    finally:
        hub.unsubscribe(operation_id, changed)
