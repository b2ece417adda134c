"""What keeps a replica answering under more than it can do: a bounded queue before its threads, and a rate
for each caller."""

import contextlib
import fcntl
import hashlib
import logging
import math
import mmap
import os
import threading
import time
from collections import deque
from typing import NamedTuple

from controlplane.errors import InvalidError, TooManyRequestsError
from vectors import database

log = logging.getLogger("vectors.limits")

# Threads beside those that work and those that wait: they answer probes, and refuse what must not wait.
SPARE_THREADS = 2
# Calls that somebody waits for; others, such as loads, are worth more patience.
READS = frozenset(("query", "fetch", "count", "scroll", "recommend", "search"))
LOAD_PATIENCE = 10
# How much of the estimated time between two departures the newest one makes up.
SMOOTHING = 0.1
TOLD_SECONDS = 1.0
# The most that PostgreSQL takes for a timeout.
TIMEOUT_MOST_MS = 2**31 - 1


class OverloadedError(TooManyRequestsError):
    """More requests wait already than this replica serves in time; try again later, or run more replicas."""

    code = "overloaded"
    # For the gateway: nothing was done, and another replica may have a place.
    headers = (("X-Retry-Elsewhere", "yes"),)


class RateLimitedError(TooManyRequestsError):
    """This key asks more often than it may; try again later."""

    code = "rate_limited"

    def __init__(self, *arguments, headers: tuple = (), **more):
        super().__init__(*arguments, **more)
        self.headers = headers


class Gate:
    """The queue of one process: so many requests at work, so many waiting, and no more.

    The server hands requests to more threads than may work, so that waiting happens here, where it is seen
    and bounded, rather than in the server's own queue. What finds no place, or would by the pace of the last
    departures wait longer than its patience, is refused at once: to be refused late costs both sides. Waiting
    is first come, first served; a place that comes free is handed over, so that nobody overtakes.
    """

    # After a queue has been empty for so long, its pace says nothing of the next one's.
    FORGET_SECONDS = 1.0

    def __init__(self, threads: int, waiting_most: int, patience_seconds: float, note=lambda name, by: None):
        self.threads = threads
        self.waiting_most = waiting_most
        self.patience = patience_seconds
        # note(name, by) counts "waiting" and "shed".
        self.note = note
        self._lock = threading.Lock()
        self._free = threads
        self._waiting: deque = deque()
        # Estimated seconds between two places that come free while others wait, and when the last one did.
        self._interval = 0.0
        self._handed = self._emptied = 0.0
        self._told = (0.0, 0)

    def enter(self, path: str, method: str) -> None:
        """Take a place at work, after waiting for one where need be; OverloadedError."""
        with self._lock:
            if self._free:
                self._free -= 1
                return
            patience = self.patience
            if method != "GET" and path.rpartition("/")[2] not in READS:
                patience *= LOAD_PATIENCE
            ahead = len(self._waiting)
            if not ahead and time.monotonic() - self._emptied > self.FORGET_SECONDS:
                self._interval = 0.0
            expected = (ahead + 1) * self._interval
            if ahead >= self.waiting_most or (ahead >= self.threads and expected > patience):
                place = None
            else:
                place = threading.Lock()
                place.acquire()
                self._waiting.append(place)
        if place is None:
            self._refuse(expected)
        self.note("waiting", 1)
        # Those at the head may meet slow ones at work, of which the pace of the past knows nothing.
        handed = place.acquire(timeout=2 * patience)
        self.note("waiting", -1)
        if handed:
            return
        with self._lock:
            if place in self._waiting:
                self._waiting.remove(place)
                place = None
        if place is None:
            self._refuse(patience)

    def leave(self) -> None:
        """Give the place to the next, or free."""
        with self._lock:
            if not self._waiting:
                self._free += 1
                if self._handed:
                    self._emptied, self._handed = time.monotonic(), 0.0
                return
            now = time.monotonic()
            if self._handed:
                weight = SMOOTHING if self._interval else 1.0
                self._interval += weight * (now - self._handed - self._interval)
            self._handed = now
            self._waiting.popleft().release()

    def _refuse(self, expected_seconds: float) -> None:
        self.note("shed", 1)
        now = time.monotonic()
        with self._lock:
            since, count = self._told
            tell = now - since > TOLD_SECONDS
            self._told = (now, 0) if tell else (since, count + 1)
        if tell:
            # One line a second: a line each would be one more load.
            log.warning("overloaded: refused %d requests, %d wait", count + 1, len(self._waiting))
        raise OverloadedError(retry_after_seconds=max(1, min(30, math.ceil(expected_seconds))))


def timeout(text: str | None):
    """A block whose statements take up to the ms that the header X-Timeout-Ms says; InvalidError."""
    if text is None:
        return contextlib.nullcontext()
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:11]) <= TIMEOUT_MOST_MS:
        raise InvalidError(
            f"A timeout is a whole number of ms between 1 and {TIMEOUT_MOST_MS}.", field="X-Timeout-Ms"
        )
    return database.timeout(int(text))


class Limit(NamedTuple):
    """How often a caller may ask: `key` tells callers apart, `burst` at once and `rate` a second for good."""

    key: int
    rate: float
    burst: int


def limit_of(subject: str, rate: float | None, burst: int | None) -> Limit | None:
    """The limit of a caller; None when there is none. A burst of None is what one second allows."""
    if not rate:
        return None
    digest = hashlib.blake2b(subject.encode(), digest_size=8).digest()
    # 0 marks an entry that was never used.
    return Limit(int.from_bytes(digest) or 1, rate, burst or max(1, math.ceil(rate)))


class Rates:
    """The buckets of all callers, shared by the worker processes of a replica, and exact across them.

    A bucket is one number: the time at which it is full again (the generic cell rate algorithm). One whose
    time has passed is as good as none, so its entry is free. Locks are the kernel's record locks, which a
    process that is killed does not keep.
    """

    GROUPS, ENTRIES = 512, 8

    def __init__(self):
        # note(name, by) counts "limited".
        self.note = lambda name, by: None
        size = self.GROUPS * self.ENTRIES * 16
        self._file = os.memfd_create("aindusdb-rates")
        os.truncate(self._file, size)
        memory = memoryview(mmap.mmap(self._file, size))
        half = size // 2
        self._keys, self._times = memory[:half].cast("Q"), memory[half:].cast("d")
        self._lock = threading.Lock()

    def __del__(self):
        os.close(self._file)

    def admit(self, limit: Limit) -> tuple:
        """Count a request; the RateLimit headers of its answer. RateLimitedError: it comes too early."""
        group = limit.key % self.GROUPS
        with self._lock:
            fcntl.lockf(self._file, fcntl.LOCK_EX, 1, group)
            try:
                wait, full = self._count(limit, group * self.ENTRIES)
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, group)
        left = 0 if wait else int(limit.burst - full * limit.rate + 1e-6)
        headers = (
            ("RateLimit-Limit", str(limit.burst)),
            ("RateLimit-Remaining", str(left)),
            ("RateLimit-Reset", str(math.ceil(wait or full))),
        )
        if wait:
            self.note("limited", 1)
            raise RateLimitedError(
                f"This key may ask {limit.rate:g} times a second, {limit.burst} times at once; try again in"
                f" {wait:.3f} s.",
                retry_after_seconds=max(1, math.ceil(wait)),
                headers=headers,
            )
        return headers

    def _count(self, limit: Limit, first: int) -> tuple[float, float]:
        """(seconds until there is a token, 0 when one was taken; seconds until the bucket is full)."""
        now, keys, times = time.monotonic(), self._keys, self._times
        at = oldest = first
        for at in range(first, first + self.ENTRIES):
            if keys[at] == limit.key:
                break
            if times[at] < times[oldest]:
                oldest = at
        else:
            # Free, or of whom is nearest to it: that caller is forgiven what it asked.
            at = oldest
            keys[at], times[at] = limit.key, 0.0
        full = max(times[at], now) + 1 / limit.rate
        wait = full - now - limit.burst / limit.rate
        if wait > 1e-9:
            return wait, times[at] - now
        times[at] = full
        return 0.0, full - now


_rates: Rates | None = None


def rates() -> Rates:
    """The buckets of this process and of what it forks from now on; made on first use."""
    global _rates
    if _rates is None:
        _rates = Rates()
    return _rates
