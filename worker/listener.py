"""Hearing of operation events as they are committed: one LISTEN connection for all readers of a process.

A reader that hears nothing within its time-out looks at the database anyway, so a dropped connection
delays news and never loses it.
"""

import asyncio
import logging
import weakref
from contextlib import asynccontextmanager, suppress

import psycopg
from django.conf import settings

from controlplane.database import conninfo
from worker.engine import CHANNEL

log = logging.getLogger(__name__)

RECONNECT_SECONDS = 1.0
_listeners: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Listener]" = weakref.WeakKeyDictionary()


class Subscription:
    """News of one operation, or of all when `operation_id` is empty."""

    def __init__(self, operation_id: str):
        self.operation_id = operation_id
        self._news = asyncio.Event()

    async def wait(self, timeout_seconds: float) -> bool:
        """True as soon as something changed, False after the time-out; then look at the database."""
        try:
            await asyncio.wait_for(self._news.wait(), timeout_seconds)
        except TimeoutError:
            return False
        self._news.clear()
        return True


class _Listener:
    def __init__(self):
        self.subscriptions: set[Subscription] = set()
        self.task: asyncio.Task | None = None

    def tell(self, operation_id: str | None) -> None:
        """Wake the readers of this operation; all of them for None."""
        for subscription in self.subscriptions:
            if operation_id is None or subscription.operation_id in ("", operation_id):
                subscription._news.set()

    async def run(self) -> None:
        while True:
            try:
                where = conninfo(settings.DATABASES["default"])
                connection = await psycopg.AsyncConnection.connect(where, autocommit=True)
                async with connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    # What was announced before we listened is looked up now.
                    self.tell(None)
                    async for note in connection.notifies():
                        self.tell(note.payload)
            except psycopg.Error as error:
                log.warning("listening for operation events was interrupted: %s", error)
                self.tell(None)
            await asyncio.sleep(RECONNECT_SECONDS)


@asynccontextmanager
async def subscribe(operation_id: str = ""):
    """A Subscription for the time of the context. The connection is shared, and closed with the last one."""
    loop = asyncio.get_running_loop()
    listener = _listeners.setdefault(loop, _Listener())
    subscription = Subscription(operation_id)
    listener.subscriptions.add(subscription)
    if listener.task is None or listener.task.done():
        listener.task = loop.create_task(listener.run(), name="operation events")
    try:
        yield subscription
    finally:
        listener.subscriptions.discard(subscription)
        if not listener.subscriptions and listener.task:
            task, listener.task = listener.task, None
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
