"""The output of one container: of the run that is, and of those before."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

Line = tuple[datetime, str]


class Log:
    """Lines with the time they were written; thread-safe, and can be followed."""

    def __init__(self):
        self._changed = threading.Condition()
        self._runs: list[list[Line]] = []
        self._ended = True
        self._closed = False

    def start(self) -> None:
        with self._changed:
            self._runs.append([])
            self._ended = False

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = self._ended = True
            self._changed.notify_all()

    def write(self, text: str) -> None:
        with self._changed:
            if not self._runs:
                self._runs.append([])
            for line in text.split("\n"):
                self._runs[-1].append((datetime.now(UTC), line))
            self._changed.notify_all()

    @property
    def has_previous(self) -> bool:
        return len(self._runs) > 1

    def lines(self, previous: bool = False) -> list[Line]:
        with self._changed:
            at = -2 if previous else -1
            return list(self._runs[at]) if len(self._runs) >= -at else []

    def follow(self, after: int, deadline: float) -> Iterator[Line]:
        """Lines of the present run from number `after` on, until it ends."""
        with self._changed:
            run = self._runs[-1] if self._runs else []
        while True:
            with self._changed:
                while after >= len(run) and not self._ended and time.monotonic() < deadline:
                    self._changed.wait(min(5.0, max(0.0, deadline - time.monotonic())))
                found, over = run[after:], self._ended or run is not (self._runs or [None])[-1]
            yield from found
            after += len(found)
            if (over and after >= len(run)) or time.monotonic() >= deadline:
                return
