"""Ends a Celery worker that no longer takes messages, so that whoever supervises it starts a new one.

Celery on Redis can lose its consumer when the connection breaks at the wrong moment: the process lives on,
says nothing, and takes nothing. What it was doing is safe: a step whose worker is gone runs again.
"""

import logging
import os
import signal
import threading
import time

from celery import signals as celery_signals
from celery.worker import state

log = logging.getLogger(__name__)

CHECK_SECONDS = 1.0
DEAF_SECONDS = 8.0
# All processes may be busy with steps for as long as one may take; then waiting messages mean nothing.
DEAF_WHILE_BUSY_SECONDS = 60.0


class Watchdog(threading.Thread):
    """Watches that, while messages wait in the queues, this worker takes some."""

    def __init__(self, queues: list[str], concurrency: int):
        super().__init__(name="watchdog", daemon=True)
        self.queues, self.concurrency = queues, concurrency
        self.taken_at = time.monotonic()
        celery_signals.task_received.connect(self.note)

    def note(self, **_) -> None:
        self.taken_at = time.monotonic()

    def run(self) -> None:
        while True:
            time.sleep(CHECK_SECONDS)
            if not self.messages_wait():
                self.note()
                continue
            silent = time.monotonic() - self.taken_at
            if silent > self.patience():
                log.critical("No message was taken for %.0f s though some wait; this worker ends.", silent)
                os.kill(os.getpid(), signal.SIGKILL)

    def patience(self) -> float:
        """How long the queues may stand still, in seconds."""
        return DEAF_SECONDS if len(state.active_requests) < self.concurrency else DEAF_WHILE_BUSY_SECONDS

    def messages_wait(self) -> bool:
        """Whether Redis answers and holds a message for us; without Redis there is nothing to take."""
        import redis

        from controlplane.broker import redis_client

        try:
            with redis_client(timeout_seconds=2) as client:
                return any(client.llen(queue) for queue in self.queues)
        except redis.RedisError:
            return False


@celery_signals.worker_ready.connect
def watch(sender, **_) -> None:
    """Start watching once, when the worker takes messages for the first time."""
    if not any(isinstance(thread, Watchdog) for thread in threading.enumerate()):
        queues = [queue.name for queue in sender.app.amqp.queues.consume_from.values()]
        Watchdog(queues, sender.controller.concurrency).start()
