"""The controllers' thread: a queue of keys without duplicates, and timers on the cluster's own clock."""

import contextlib
import heapq
import itertools
import threading
import time
import traceback
from collections.abc import Callable


class Loop:
    """Runs callables one after the other. The same key waits once, however often it is asked for.

    `speed` divides every delay: at 10, ten seconds of back-off pass in one.
    """

    def __init__(self, speed: float):
        self.speed = speed
        self.failures: list[str] = []
        self._waiting = threading.Condition()
        self._queue: dict[object, Callable[[], None]] = {}
        self._timers: list[tuple[float, int, object, Callable[[], None]]] = []
        self._due: dict[object, int] = {}
        self._numbers = itertools.count()
        self._stopped = False
        self._busy = False
        self._thread = threading.Thread(target=self._run, name="kubernetes-controllers", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def soon(self, key: object, action: Callable[[], None]) -> None:
        with self._waiting:
            self._queue.setdefault(key, action)
            self._waiting.notify_all()

    def later(self, seconds: float, key: object, action: Callable[[], None]) -> None:
        """After `seconds` of the cluster's clock; a key that waits already is put to the new time."""
        with self._waiting:
            number = next(self._numbers)
            self._due[key] = number
            heapq.heappush(self._timers, (time.monotonic() + seconds / self.speed, number, key, action))
            self._waiting.notify_all()

    def cancel(self, key: object) -> None:
        with self._waiting:
            self._due.pop(key, None)

    def idle(self, timeout_seconds: float = 10) -> bool:
        """Wait until nothing is to be done at once (timers may still wait)."""
        deadline = time.monotonic() + timeout_seconds
        with self._waiting:
            while self._queue or self._busy:
                if (
                    not self._waiting.wait(max(0, deadline - time.monotonic()))
                    and time.monotonic() >= deadline
                ):
                    return False
        return True

    def _run(self) -> None:
        while True:
            with self._waiting:
                self._busy = False
                self._waiting.notify_all()
                while not self._stopped and not self._queue and not self._ripe():
                    wait = self._timers[0][0] - time.monotonic() if self._timers else None
                    self._waiting.wait(wait)
                if self._stopped:
                    return
                key = next(iter(self._queue))
                action = self._queue.pop(key)
                self._busy = True
            try:
                action()
            except Exception:
                # One broken object must not stop the rest; the cluster's end tells of it.
                self.failures.append(traceback.format_exc())

    def _ripe(self) -> bool:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            _, number, key, action = heapq.heappop(self._timers)
            if self._due.get(key) == number:
                del self._due[key]
                self._queue.setdefault(key, action)
        return bool(self._queue)

    def stop(self) -> None:
        with self._waiting:
            self._stopped = True
            self._waiting.notify_all()
        with contextlib.suppress(RuntimeError):
            self._thread.join(10)
