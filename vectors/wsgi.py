"""The vector API of role `api`: a raw WSGI callable, with Django beside it for every other address."""

import itertools
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
from vectors import auth, bodies, drill, endpoints, gradual, limits, metrics, probes, slow  # noqa: E402
from vectors.calls import base  # noqa: E402

log = logging.getLogger("vectors.api")
STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}
# Dialects mounted below the prefix; below the root they are no prefix of this API's anyway.
DIALECTS = (f"{base.PREFIX}/pinecone", f"{base.PREFIX}/qdrant")
PROBES = {f"/{name}": base.Route(name, base.VIEWER, None) for name in ("health", "ready", "metrics")}
PROBE_NAMES = frozenset(route.name for route in PROBES.values())
ROUTES_MOST = 5000
KEPT_PATH_MOST = 250


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
        # Probes are not drilled: a drill is about what callers see.
        drill.warn(settings.VECTORS)
        self.admitted = drill.faulty(self.admitted, settings.VECTORS)
        self._django = None
        self._second = (0, "")
        # (method, path): (route, its arguments, whether it has a body), of those that were asked for before.
        self.routes: dict[tuple[str, str], tuple] = {}
        self.origin = os.urandom(5).hex()
        self.serial = itertools.count()

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
        started = time.perf_counter()
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        known = self.routes.get((method, path))
        if known is not None or path not in PROBES:
            try:
                self.gate.enter(path, method)
            except ProblemError as error:
                return self.refuse(environ, start_response, error)
            if known is None and (not path.startswith(base.PREFIX) or path.startswith(DIALECTS)):
                return self.through_django(environ, start_response, path, started)
        self.counters.begin()
        request_id = environ.get("HTTP_X_REQUEST_ID")
        if not request_id or not base.REQUEST_ID.match(request_id):
            request_id = f"{self.origin}{next(self.serial):06x}"
        name = "other"
        try:
            if known is None:
                known = self.route(method, path)
            handler = known[0]
            name = handler.name
            response = self.call(environ, known, path)
        except ProblemError as error:
            response = endpoints.problem(error, request_id)
        except Exception:
            log.exception("request %s %s %s failed", request_id, method, path)
            response = endpoints.problem(InternalError(), request_id)
        status, body, given = response
        if type(body) is not bytes:
            start_response(STATUS_LINES[status], [("X-Request-Id", request_id), *given])
            return Streamed(body, lambda: self.finish(name, method, path, status, started, request_id))
        try:
            headers = [("X-Request-Id", request_id), ("Content-Length", str(len(body)))]
            if body and not (given and any(key == "Content-Type" for key, _ in given)):
                headers.append(base.JSON)
            headers += given
            start_response(STATUS_LINES[status], headers)
            return [body]
        finally:
            self.finish(name, method, path, status, started, request_id)

    def route(self, method: str, path: str) -> tuple:
        """The entry of `routes` for an address, found and kept."""
        if path in PROBES:
            return PROBES[path], (), False
        route, arguments = endpoints.route(method, path[len(base.PREFIX) :])
        found = route, arguments, method in ("POST", "PATCH", "PUT")
        if len(path) <= KEPT_PATH_MOST:
            if len(self.routes) >= ROUTES_MOST:
                self.routes.clear()
            self.routes[method, path] = found
        return found

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
            self.access(method, path, status, seconds, request_id)
        if seconds > self.slow_seconds or status >= 500:
            log.warning(
                "%s request %s: %s %s answered %d in %.0f ms",
                *("failed" if status >= 500 else "slow", request_id, method, path),
                *(status, seconds * 1000),
            )

    def call(self, environ, known: tuple, path: str) -> base.Response:
        """The answer of a route as `routes` has it; ProblemError."""
        if known[0].name in PROBE_NAMES:
            return self.probe(known[0].name)
        asked = environ.get("HTTP_X_TIMEOUT_MS")
        if asked is None:
            return self.admitted(environ, known, path)
        with limits.timeout(asked):
            return self.admitted(environ, known, path)

    def admitted(self, environ, known: tuple, path: str) -> base.Response:
        """The answer to who may ask, and not too often."""
        route, arguments, has_body = known
        principal = auth.authenticate(
            environ.get("HTTP_AUTHORIZATION"),
            environ.get("HTTP_API_KEY"),
            self.jwt_key,
            environ.get("HTTP_X_AINDUS_TOKEN"),
        )
        auth.require(principal, route.role)
        read, incoming, headers = None, None, ()
        if principal.limit is not None:
            headers = self.rates.admit(principal.limit)
        if route.takes and any(word in media_type(environ) for word in route.takes):
            body, read = b"", environ["wsgi.input"].read
        else:
            if route.gradual and self.length(environ) > gradual.LEAST_BYTES:
                body, incoming = b"", self.incoming(environ)
            else:
                body = self.read(environ) if has_body else b""
        found = route.quick(*arguments, body) if route.quick is not None else None
        if found is not None:
            return base.Response(200, found, headers)
        response = route.call(
            base.Request(
                environ["REQUEST_METHOD"],
                path,
                environ.get("QUERY_STRING", ""),
                body,
                principal,
                read,
                incoming,
            ),
            *arguments,
        )
        return response._replace(headers=(*response.headers, *headers)) if headers else response

    def length(self, environ) -> int:
        """The length of a body as it is told, 0 when it is not; within the limit."""
        length = environ.get("CONTENT_LENGTH")
        if not length:
            return 0
        if not length.isascii() or not length.isdigit():
            raise bodies.BadJsonError("The Content-Length is not a number.")
        if int(length) > self.max_body:
            raise bodies.too_large(self.max_body)
        return int(length)

    def incoming(self, environ):
        """read(size) of a body of JSON whose length is told, and within the limit."""
        kind = media_type(environ)
        if kind and "json" not in kind:
            raise bodies.MediaTypeError()
        return environ["wsgi.input"].read

    def read(self, environ) -> bytes:
        """The body, up to the limit; nothing of a larger one is kept."""
        self.length(environ)
        kind = media_type(environ)
        body = environ["wsgi.input"].read(self.max_body + 1)
        if body and kind and "json" not in kind:
            raise bodies.MediaTypeError()
        if len(body) > self.max_body:
            raise bodies.too_large(self.max_body)
        return body

    def access(self, method: str, path: str, status: int, seconds: float, request_id: str) -> None:
        """A line in the form of controlplane.log, at a tenth of what a logging record costs."""
        now = time.time()
        second = int(now)
        known, stamp = self._second
        if second != known:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = (second, stamp)
        text = f"{method} {path} {status} {seconds * 1000:.1f}ms {request_id}"
        if not text.isprintable():
            text = ascii(text)[1:-1]
        line = f"{stamp}.{int((now - second) * 1000):03d}Z INFO vectors.access {text}\n"
        # A full disk is no reason not to answer.
        try:  # noqa: SIM105
            os.write(2, line.encode("utf-8", "replace"))
        except OSError:
            pass

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
