"""The vector API of role `api`: a raw WSGI callable, with Django beside it for every other address."""

import contextlib
import logging
import os
import time
from http import HTTPStatus

import django
import orjson

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings")
django.setup(set_prefix=False)

from django.conf import settings  # noqa: E402

from controlplane.errors import ProblemError  # noqa: E402
from vectors import auth, bodies, endpoints, limits, metrics, probes, slow  # noqa: E402
from vectors.calls import base  # noqa: E402

log = logging.getLogger("vectors.api")
STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}
# Dialects mounted below the prefix; below the root they are no prefix of this API's anyway.
DIALECTS = (f"{base.PREFIX}/pinecone", f"{base.PREFIX}/qdrant")
PROBES = {"/health": "health", "/ready": "ready", "/metrics": "metrics"}
PROBE_NAMES = frozenset(PROBES.values())


class InternalError(ProblemError):
    """A defect of this server; its log has the cause under this request_id."""

    status = 500
    code = "internal"


class Streamed:
    """A body that is made while it is sent; at its end, however it ends, it is closed and finish() called."""

    def __init__(self, parts, finish):
        self.parts = parts
        self.finish = finish

    def __iter__(self):
        try:
            yield from self.parts
        except Exception:
            log.exception("an answer broke off")
            raise
        finally:
            self.close()

    def close(self) -> None:
        finish, self.finish = self.finish, None
        if finish is not None:
            self.parts.close()
            finish()

    # A server that lets go of an answer without iterating over it must not keep the stream's place.
    __del__ = close


def media_type(environ) -> str:
    """The Content-Type of a request; granian gives it as any other header."""
    return environ.get("CONTENT_TYPE") or environ.get("HTTP_CONTENT_TYPE") or ""


class Application:
    """WSGI: reads, authenticates, routes, answers, counts, logs."""

    def __init__(self, counters: metrics.Counters | None = None):
        if counters is None:
            counters = metrics.Counters(slots=1)
        counters.claim()
        self.counters = counters
        self.rates = limits.rates()
        self.rates.note = counters.note
        self.configure()
        self._django = None
        self._second = (0, "")

    def configure(self) -> None:
        """Take the settings over into attributes, which the hot path reads."""
        options = settings.VECTORS
        self.jwt_key = options["jwt_secret_key"]
        self.max_body = options["max_body_bytes"]
        self.gate = limits.Gate(
            options["threads"], options["queue_requests"], options["queue_ms"] / 1000, self.counters.note
        )
        slow.recorder.configure(self.counters.note)
        self.slow_seconds = options["slow_request_ms"] / 1000
        self.access_log = options["access_log"] and logging.getLogger("vectors.access").isEnabledFor(
            logging.INFO
        )

    @property
    def django(self):
        """Django's handler, loaded when first needed."""
        if self._django is None:
            from django.core.handlers.wsgi import WSGIHandler

            self._django = WSGIHandler()
        return self._django

    def __call__(self, environ, start_response):
        path = environ["PATH_INFO"]
        name = "other"
        started = time.perf_counter()
        if path not in PROBES:
            try:
                self.gate.enter(path, environ["REQUEST_METHOD"])
            except ProblemError as error:
                return self.refuse(environ, start_response, error)
            if not path.startswith(base.PREFIX) or path.startswith(DIALECTS):
                return self.through_django(environ, start_response, path, started)
        self.counters.begin()
        request_id = environ.get("HTTP_X_REQUEST_ID")
        if not request_id or not base.REQUEST_ID.match(request_id):
            request_id = os.urandom(8).hex()
        status = 500
        try:
            if path in PROBES:
                name = PROBES[path]
                response = self.probe(name)
            else:
                handler, arguments = endpoints.route(environ["REQUEST_METHOD"], path[len(base.PREFIX) :])
                name = handler.name
                response = self.call(environ, handler, arguments, path)
        except ProblemError as error:
            response = endpoints.problem(error, request_id)
        except Exception:
            log.exception("request %s %s %s failed", request_id, environ["REQUEST_METHOD"], path)
            response = endpoints.problem(InternalError(), request_id)
        if type(response.body) is not bytes:
            start_response(STATUS_LINES[response.status], [("X-Request-Id", request_id), *response.headers])
            method = environ["REQUEST_METHOD"]
            return Streamed(
                response.body,
                lambda: self.finish(name, method, path, response.status, started, request_id),
            )
        try:
            status = response.status
            headers = [("X-Request-Id", request_id), ("Content-Length", str(len(response.body)))]
            given = response.headers
            if response.body and not any(key == "Content-Type" for key, _ in given):
                headers.append(base.JSON)
            headers += given
            start_response(STATUS_LINES[status], headers)
            return [response.body]
        finally:
            self.finish(name, environ["REQUEST_METHOD"], path, status, started, request_id)

    def refuse(self, environ, start_response, error: ProblemError):
        """The answer to a request that found no place; it costs as little as can be, and is not logged."""
        request_id = environ.get("HTTP_X_REQUEST_ID", "")
        if not base.REQUEST_ID.match(request_id):
            request_id = os.urandom(8).hex()
        response = endpoints.problem(error, request_id)
        length = ("Content-Length", str(len(response.body)))
        start_response(STATUS_LINES[error.status], [("X-Request-Id", request_id), length, *response.headers])
        return [response.body]

    def through_django(self, environ, start_response, path: str, started: float):
        """Django's answer, counted by the dialect it is in."""
        self.counters.begin()
        first = path.removeprefix(base.PREFIX).strip("/").partition("/")[0]
        name = first if first in ("pinecone", "qdrant") else "other"
        status, request_id = 500, ""

        def begin(line, headers, exc_info=None):
            nonlocal status, request_id
            status, request_id = int(line[:3]), dict(headers).get("X-Request-Id", "")
            return start_response(line, headers, exc_info) if exc_info else start_response(line, headers)

        try:
            return self.django(environ, begin)
        finally:
            self.finish(name, environ["REQUEST_METHOD"], path, status, started, request_id)

    def finish(self, name: str, method: str, path: str, status: int, started: float, request_id: str) -> None:
        """Count and log a request that is answered, and give its place to the next."""
        if name not in PROBE_NAMES:
            self.gate.leave()
        seconds = time.perf_counter() - started
        self.counters.end(name, status, seconds)
        # Probes come every few seconds from everywhere: only what is wrong with them is worth a line.
        if self.access_log and (status >= 400 or name not in PROBE_NAMES):
            self.access(f"{method} {path} {status} {seconds * 1000:.1f}ms {request_id}")
        if seconds > self.slow_seconds or status >= 500:
            log.warning(
                "%s request %s: %s %s answered %d in %.0f ms",
                *("failed" if status >= 500 else "slow", request_id, method, path),
                *(status, seconds * 1000),
            )

    def call(self, environ, handler, arguments, path) -> base.Response:
        asked = environ.get("HTTP_X_TIMEOUT_MS")
        if asked is None:
            return self.admitted(environ, handler, arguments, path)
        with limits.timeout(asked):
            return self.admitted(environ, handler, arguments, path)

    def admitted(self, environ, handler, arguments, path) -> base.Response:
        """The answer to who may ask, and not too often."""
        principal = auth.authenticate(
            environ.get("HTTP_AUTHORIZATION"), environ.get("HTTP_API_KEY"), self.jwt_key
        )
        auth.require(principal, handler.role)
        if principal.limit is None:
            return self.called(environ, handler, arguments, path, principal)
        headers = self.rates.admit(principal.limit)
        response = self.called(environ, handler, arguments, path, principal)
        return response._replace(headers=(*response.headers, *headers))

    def called(self, environ, handler, arguments, path, principal) -> base.Response:
        """The call's own answer."""
        if handler.takes and any(word in media_type(environ) for word in handler.takes):
            read = environ["wsgi.input"].read
            request = base.Request(
                environ["REQUEST_METHOD"], path, environ.get("QUERY_STRING", ""), b"", principal, read
            )
            return handler.call(request, *arguments)
        body = self.read(environ) if environ["REQUEST_METHOD"] in ("POST", "PATCH", "PUT") else b""
        request = base.Request(
            environ["REQUEST_METHOD"], path, environ.get("QUERY_STRING", ""), body, principal
        )
        return handler.call(request, *arguments)

    def read(self, environ) -> bytes:
        """The body, up to the limit; nothing of a larger one is kept."""
        length = environ.get("CONTENT_LENGTH")
        if length:
            if not length.isascii() or not length.isdigit():
                raise bodies.BadJsonError("The Content-Length is not a number.")
            if int(length) > self.max_body:
                raise bodies.too_large(self.max_body)
        kind = media_type(environ)
        body = environ["wsgi.input"].read(self.max_body + 1)
        if body and kind and "json" not in kind:
            raise bodies.MediaTypeError()
        if len(body) > self.max_body:
            raise bodies.too_large(self.max_body)
        return body

    def access(self, text: str) -> None:
        """A line in the form of controlplane.log, at a tenth of what a logging record costs."""
        now = time.time()
        second = int(now)
        known, stamp = self._second
        if second != known:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = (second, stamp)
        if not text.isprintable():
            text = ascii(text)[1:-1]
        with contextlib.suppress(OSError):
            line = f"{stamp}.{int((now - second) * 1000):03d}Z INFO vectors.access {text}\n"
            os.write(2, line.encode("utf-8", "replace"))

    def probe(self, name: str) -> base.Response:
        if name == "health":
            return base.Response(200, orjson.dumps(probes.health()))
        if name == "ready":
            return base.Response(200, orjson.dumps(probes.ready()))
        return base.Response(
            200,
            metrics.text(self.counters),
            (("Content-Type", "text/plain; version=0.0.4; charset=utf-8"),),
        )
