"""`/health`, `/ready` and `/metrics` of a role on a port of its own, AINDUS_PROBE_PORT.

For what watches the process from beside it (a kubelet, Prometheus), which calls it by an address that no
setting could name: nobody else is to reach this port, and nothing forwards to it.
"""

import http.server
import json
import logging
import threading
import time
from collections.abc import Callable

from django.conf import settings
from django.db import DatabaseError, connection
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from redis import RedisError

from controlplane.broker import redis_client

log = logging.getLogger(__name__)

SILENT_SECONDS = 30.0


class Pulse:
    """When a role last did what it is there for; for one that may rest, None."""

    def __init__(self):
        self.at: float | None = None

    def beat(self, **_) -> None:
        self.at = time.monotonic()

    def fault(self) -> str:
        """What is wrong; empty when nothing is."""
        if self.at is None or time.monotonic() - self.at < SILENT_SECONDS:
            return ""
        return f"nothing was done for {time.monotonic() - self.at:.0f} s"


def readiness() -> dict[str, str]:
    """{part: "ok" or what is wrong} of what every role needs."""
    checks = {"database": "ok", "redis": "ok"}
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except (DatabaseError, OSError) as error:
        checks["database"] = f"does not answer: {error}".strip().splitlines()[0]
    finally:
        # The thread of one request ends with it, and its connection must not stay behind.
        connection.close()
    try:
        with redis_client(timeout_seconds=2) as client:
            client.ping()
    except (RedisError, OSError) as error:
        checks["redis"] = f"does not answer: {error}"
    return checks


class Handler(http.server.BaseHTTPRequestHandler):
    pulse: Pulse

    def do_GET(self):
        if self.path == "/health":
            fault = self.pulse.fault()
            if fault and readiness()["redis"] != "ok":
                # It waits for Redis, which a restart would not bring back.
                fault = ""
            self._json(503 if fault else 200, {"status": fault or "ok"})
        elif self.path == "/ready":
            checks = readiness()
            good = all(value == "ok" for value in checks.values())
            self._json(200 if good else 503, {"status": "ready" if good else "not ready", "checks": checks})
        elif self.path == "/metrics":
            self._answer(200, CONTENT_TYPE_LATEST, generate_latest())
        else:
            self._json(404, {"status": "there are /health, /ready and /metrics"})

    def _json(self, status: int, body: dict) -> None:
        self._answer(status, "application/json", json.dumps(body).encode())

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        """Probes are asked for all the time; a line for each would hide all others."""


def serve(
    pulse: Pulse | None = None, *, host: str = "", port: int | None = None
) -> Callable[[], None] | None:
    """Answer probes in a thread until the returned function is called; None when no port is set."""
    port = settings.PROBE_PORT if port is None else port
    if not port:
        return None
    handler = type("RoleHandler", (Handler,), {"pulse": pulse or Pulse()})
    server = http.server.ThreadingHTTPServer((host, port), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="probes", daemon=True).start()
    log.info("probes and metrics on port %s", port)

    def stop() -> None:
        server.shutdown()
        server.server_close()

    return stop
