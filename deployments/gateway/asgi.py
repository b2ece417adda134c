"""The ASGI application: reads the request, lets it be forwarded, sends the answer or the problem."""

import asyncio
import logging
import re
import time
import weakref
from collections.abc import AsyncIterator
from urllib.parse import quote

import orjson

from controlplane import dialects, ids
from controlplane.api.errors import CONTENT_TYPE, problem_headers, problem_of
from controlplane.errors import ProblemError, UnavailableError
from controlplane.middleware import ACCEPTED
from deployments.gateway import callers, forward
from deployments.gateway.calls import PREFIX, Call, call_of, dialect_of
from deployments.gateway.replicas import Table

log = logging.getLogger(__name__)

# A body up to this size is kept while it is sent, so that it can be sent again; all bodies together take
# at most BUFFERED_IN_ALL_BYTES, beyond which bodies are streamed and sent once.
BUFFERED_BYTES = 32 * 2**20
BUFFERED_IN_ALL_BYTES = 256 * 2**20

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_QUERY_SAFE = "".join(chr(code) for code in range(33, 127))


class ClientGone(Exception):
    """The caller closed the connection."""


class Resources:
    """What belongs to one event loop."""

    def __init__(self):
        self.table = Table()
        self.sessions = forward.Sessions()
        self.buffered_bytes = 0


class Gateway:
    """The callable that the server runs; see the package's docstring."""

    def __init__(self):
        self._resources: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()

    @property
    def resources(self) -> Resources:
        """Those of the running loop, made when first needed."""
        loop = asyncio.get_running_loop()
        if loop not in self._resources:
            self._resources[loop] = Resources()
        return self._resources[loop]

    async def shutdown(self) -> None:
        """Close connections; the server calls it when it stops."""
        resources = self._resources.pop(asyncio.get_running_loop(), None)
        if resources:
            await resources.table.close()
            await resources.sessions.close()

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"the gateway serves HTTP, not {scope['type']}")
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        given = headers.get("x-request-id", "")
        request_id = given if ACCEPTED.fullmatch(given) else ids.new("req")
        state = {"target": "", "kind": "", "status": 0}
        began = time.perf_counter()
        try:
            await self._serve(scope, receive, send, headers, request_id, state, began)
        except ClientGone:
            state["status"] = 499
        except Exception as error:
            if state["status"]:
                # The answer has begun: closing the connection is the only way to tell that it is cut.
                log.warning("%s: the answer of %s was cut: %s", request_id, state["target"], error)
                raise
            problem = problem_of(error, request_id)
            state["status"] = problem.status
            await _send_problem(send, problem, request_id, dialect_of(raw_path_of(scope)))
        finally:
            forward.REQUESTS.labels(state["target"], state["kind"], str(state["status"])).inc()

    async def _serve(self, scope, receive, send, headers, request_id, state, began) -> None:
        method = scope["method"]
        call = call_of(method, raw_path_of(scope))
        state["kind"] = call.kind
        actor = await callers.caller(scope, headers)
        resources = self.resources
        entry = await resources.table.entry(actor.project, call.target)
        state["target"] = entry.name
        # Before the body is read, which may be long.
        entry.ready()
        if not entry.jwt_secret:
            raise UnavailableError(
                f"{entry.name} is {entry.status}: it has no key to be called with yet.",
                code="no_ready_replica",
                retry_after_seconds=2,
            )
        token = callers.target_token(entry.target_id, entry.jwt_secret, actor)
        outgoing = _forwarded_headers(scope, headers, request_id)
        if call.root:
            outgoing["X-Forwarded-Prefix"] = headers.get("x-forwarded-prefix", "").rstrip("/") + call.root
        query = quote(scope.get("query_string", b""), safe=_QUERY_SAFE)
        body, held = await _read_body(receive, headers, resources)
        resources.buffered_bytes += held
        try:
            work = forward.forward(resources.sessions, entry, call, method, query, outgoing, body, token)
            answer = await _unless_gone(work, receive, watch=body.rest is None)
        finally:
            resources.buffered_bytes -= held
        if answer.status == 401:
            async for _ in answer.parts():
                pass
            raise UnavailableError(
                f"{entry.name} did not accept the control plane's token; its key may have been changed.",
                code="target_refused_token",
                retry_after_seconds=5,
            )
        forward.SECONDS.labels(entry.name, call.kind).observe(time.perf_counter() - began)
        answer.headers = [
            (name, _own_location(value, call) if name == "location" else value)
            for name, value in answer.headers
        ]
        await _send_answer(send, answer, request_id, state)


def raw_path_of(scope) -> bytes:
    """The path as it was sent."""
    return scope.get("raw_path") or quote(scope["path"]).encode()


def _own_location(value: str, call: Call) -> str:
    """A target's own address as the address through the gateway."""
    if value == PREFIX or value.startswith(f"{PREFIX}/"):
        return f"/api/v1/targets/{quote(call.target)}/vectors{value.removeprefix(PREFIX)}"
    return value


def _forwarded_headers(scope, headers: dict[str, str], request_id: str) -> dict[str, str]:
    named = {name.strip().lower() for name in headers.get("connection", "").split(",")}
    outgoing = {
        name: value
        for name, value in headers.items()
        if name not in forward.NOT_FORWARDED and name not in named and _HEADER_NAME.match(name)
    }
    client = scope.get("client") or ("", 0)
    before = headers.get("x-forwarded-for", "")
    outgoing["X-Forwarded-For"] = f"{before}, {client[0]}".strip(", ")
    outgoing["X-Forwarded-Proto"] = headers.get("x-forwarded-proto", scope.get("scheme", "http"))
    outgoing["X-Forwarded-Host"] = headers.get("x-forwarded-host", headers.get("host", ""))
    outgoing["X-Request-Id"] = request_id
    return outgoing


async def _read_body(receive, headers: dict[str, str], resources: Resources) -> tuple[forward.Body, int]:
    """The body, and how many bytes of it are held to be sent again."""
    length = headers.get("content-length", "")
    length = int(length) if length.isascii() and length.isdigit() else None
    room = min(BUFFERED_BYTES, BUFFERED_IN_ALL_BYTES - resources.buffered_bytes)
    parts, size = [], 0
    # What is known to be too large is streamed from its first byte on.
    while length is None or length <= room:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part = message.get("body", b"")
        parts.append(part)
        size += len(part)
        if not message.get("more_body", False):
            return forward.Body(b"".join(parts)), size
        if size > room:
            break
    return forward.Body(None, _rest(parts, receive), length), 0


async def _rest(parts: list[bytes], receive) -> AsyncIterator[bytes]:
    for part in parts:
        if part:
            yield part
    parts.clear()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        if message.get("body"):
            yield message["body"]
        if not message.get("more_body", False):
            return


async def _unless_gone(work, receive, *, watch: bool):
    """The result of the work; ended early when the caller goes away, if that can be watched for."""
    if not watch:
        return await work
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGone
    finally:
        for task in (working, gone):
            if not task.done():
                task.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        if working.cancelled() or not working.done():
            await asyncio.gather(working, return_exceptions=True)


async def _gone(receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_answer(send, answer: forward.Answer, request_id: str, state: dict) -> None:
    headers = [(name.encode(), value.encode("latin-1", "replace")) for name, value in answer.headers]
    headers.append((b"x-request-id", request_id.encode()))
    state["status"] = answer.status
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    async for part in answer.parts():
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send_problem(send, problem: ProblemError, request_id: str, dialect: str) -> None:
    status, told, kind = problem.status, problem.as_dict(request_id), CONTENT_TYPE
    if dialect:
        status, told = dialects.status_of(problem), dialects.BODIES[dialect](problem, request_id)
        kind = "application/json"
    body = orjson.dumps(told)
    headers = {
        "Content-Type": kind,
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        "X-Request-Id": request_id,
        **problem_headers(problem),
    }
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})
