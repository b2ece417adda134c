"""A caller of the REST API: the standard library alone, one connection per thread, no retries of its own."""

import http.client
import json
import threading
import time
from urllib.parse import urlsplit


class ApiError(Exception):
    """An answer of 400 or more, with what the problem body says."""

    def __init__(self, method: str, path: str, status: int, body):
        detail = body.get("detail", body) if isinstance(body, dict) else body
        super().__init__(f"{method} {path} answered {status}: {detail}")
        self.status = status
        self.body = body


class Api:
    """Calls of one API key against one control plane."""

    def __init__(self, url: str, key: str, timeout_seconds: float = 120):
        parts = urlsplit(url)
        self._address = (parts.hostname, parts.port)
        self._timeout_seconds = timeout_seconds
        self._key = key
        self._local = threading.local()

    def call(self, method: str, path: str, body=None, *, timeout_seconds: float | None = None):
        """The decoded answer; ApiError for 400 and more, OSError or HTTPException when there is none."""
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = http.client.HTTPConnection(*self._address, timeout=self._timeout_seconds)
            self._local.connection = connection
        if connection.sock is not None:
            connection.sock.settimeout(timeout_seconds or self._timeout_seconds)
        headers = {"Authorization": f"Bearer {self._key}", "Accept": "application/json"}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            self._local.connection = None
            raise
        value = (
            json.loads(text) if text and "json" in answer.headers.get("Content-Type", "") else text.decode()
        )
        if answer.status >= 400:
            raise ApiError(method, path, answer.status, value)
        return value

    def get(self, path: str):
        return self.call("GET", path)

    def post(self, path: str, body):
        return self.call("POST", path, body)


class QueryLoad:
    """Queries without a pause from some threads, until stopped; every failure is kept."""

    def __init__(self, api: Api, path: str, bodies: list[dict], threads: int = 2):
        self._api = api
        self._path = path
        self._bodies = bodies
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(at,), daemon=True) for at in range(threads)]
        self.latencies_seconds: list[float] = []
        self.failures: list[str] = []

    def __enter__(self):
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error):
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self.seconds = time.monotonic() - self._began

    def _run(self, at: int) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                self._api.post(self._path, self._bodies[at % len(self._bodies)])
            except (ApiError, OSError, http.client.HTTPException) as error:
                self.failures.append(f"{type(error).__name__}: {error}")
            self.latencies_seconds.append(time.monotonic() - began)
            at += len(self._threads)

    @property
    def answered(self) -> int:
        return len(self.latencies_seconds)

    def __str__(self):
        ordered = sorted(self.latencies_seconds) or [0.0]
        p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1000
        return (
            f"{self.answered:,} queries at {self.answered / max(self.seconds, 0.001):,.0f}/s,"
            f" p99 {p99:.0f} ms, {len(self.failures)} failed"
        )
