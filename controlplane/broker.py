"""A client of the Redis server that carries the wake-up calls."""

import redis
from django.conf import settings

# When beat's last round trip (beat, Redis, worker, Redis) ended, in seconds since the epoch.
HEARTBEAT_KEY = "aindusdb:heartbeat"
HEARTBEAT_EVERY_SECONDS = 5


def redis_client(timeout_seconds: float = 3.0) -> redis.Redis:
    """A client of REDIS_URL; Celery writes a socket's address as `redis+socket://`, redis-py as `unix://`."""
    url = settings.REDIS_URL.replace("redis+socket://", "unix://", 1)
    return redis.Redis.from_url(url, socket_timeout=timeout_seconds, socket_connect_timeout=timeout_seconds)
