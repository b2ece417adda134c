"""Waiting for long work: the pauses between looks."""

import time
from collections.abc import Iterator

FIRST_PAUSE_SECONDS = 0.05
MOST_PAUSE_SECONDS = 2.0


def pauses(timeout: float | None, what: str) -> Iterator[None]:
    """Comes back at once, then after pauses that grow; TimeoutError after `timeout` seconds."""
    until = None if timeout is None else time.monotonic() + timeout
    pause = FIRST_PAUSE_SECONDS
    while True:
        yield
        left = None if until is None else until - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError(f"{what} was not done within {timeout:g} s.")
        time.sleep(pause if left is None else min(pause, left))
        pause = min(pause * 1.5, MOST_PAUSE_SECONDS)
