"""Connections whose making may take less time than a request on them.

urllib3 gives what sends a body the time that is meant for connecting, of which a large body needs more.
"""

from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool


def pool_classes(connect_timeout: float) -> dict[str, Any]:
    """What a PoolManager makes its pools of, by scheme; connecting takes up to `connect_timeout` seconds."""

    class Plain(HTTPConnection):
        def connect(self) -> None:
            whole, self.timeout = self.timeout, _least(self.timeout, connect_timeout)
            super().connect()
            self.timeout = whole
            self.sock.settimeout(_seconds(whole))

    class Secure(HTTPSConnection):
        def connect(self) -> None:
            whole, self.timeout = self.timeout, _least(self.timeout, connect_timeout)
            super().connect()
            self.timeout = whole
            self.sock.settimeout(_seconds(whole))

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


def _least(given: Any, most: float) -> float:
    seconds = _seconds(given)
    return most if seconds is None else min(seconds, most)


def _seconds(given: Any) -> float | None:
    return float(given) if isinstance(given, int | float) else None
