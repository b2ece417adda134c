"""Limits on how often something may be tried, counted in Redis; in this process alone while Redis is away."""

import hashlib
import threading
import time

import redis

from controlplane.broker import redis_client
from controlplane.errors import TooManyRequestsError

REMEMBERED_MOST = 50_000

_counts: dict[str, int] = {}
_lock = threading.Lock()


def count(subject: str, *, most: int, window_seconds: int) -> None:
    """Count one try of `subject`; TooManyRequestsError from the try after `most` in the window on."""
    window, into = divmod(time.time(), window_seconds)
    name = hashlib.sha256(subject.encode("utf-8", "replace")).hexdigest()[:32]
    key = f"aindusdb:throttle:{name}:{window_seconds}:{int(window)}"
    try:
        with redis_client(1.0) as client:
            pipeline = client.pipeline()
            pipeline.incr(key)
            pipeline.expire(key, window_seconds)
            tries = pipeline.execute()[0]
    except (redis.RedisError, OSError):
        with _lock:
            if len(_counts) >= REMEMBERED_MOST:
                _counts.clear()
            tries = _counts[key] = _counts.get(key, 0) + 1
    if tries > most:
        seconds = max(1, int(window_seconds - into) + 1)
        raise TooManyRequestsError(f"Too many tries; try again in {seconds} s.", retry_after_seconds=seconds)


def count_sign_in(username: str, address: str) -> None:
    """Count a try to sign in: few for one name from one address, more for each of the two alone."""
    username = username.casefold()
    count(f"sign-in:{username}:{address}", most=10, window_seconds=60)
    count(f"sign-in-name:{username}", most=60, window_seconds=60)
    count(f"sign-in-from:{address}", most=120, window_seconds=60)
