"""One request to a target: tries on replicas until one answers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import aiohttp
from prometheus_client import Counter, Histogram
from yarl import URL

from controlplane.errors import UnavailableError
from deployments.gateway.calls import ATTEMPTS, Call
from deployments.gateway.replicas import Backend, Entry
from deployments.reaching import MOST_REFUSAL_BYTES, refusal, was_sent

REQUESTS = Counter("aindusdb_gateway_requests", "Requests through the gateway.", ["target", "kind", "status"])
TRIES = Counter("aindusdb_gateway_tries", "Tries on replicas by how they ended.", ["target", "outcome"])
SECONDS = Histogram(
    "aindusdb_gateway_seconds",
    "Time to the first byte of the answer, all tries together.",
    ["target", "kind"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 30),
)

CONNECT_SECONDS = 2.0
SILENT_SECONDS = 60.0
# An answer up to this size is read to its end before it is passed on: if it breaks off, another try is made.
WHOLE_ANSWER_BYTES = 4 * 2**20
CHUNK_BYTES = 64 * 1024
PAUSE_SECONDS = 0.05
HOP_BY_HOP = {
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}
# Credentials for the control plane, what the gateway sets itself, and what HTTP clients set.
NOT_FORWARDED = HOP_BY_HOP | {
    "authorization",
    "api-key",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "content-length",
    "x-aindus-token",
    "x-csrftoken",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-request-id",
}
NOT_RETURNED = HOP_BY_HOP | {"server", "x-request-id", "set-cookie"}
BUSY = (502, 503, 504)
# A replica's word on whether another may answer better: "yes" when it did nothing because it is full, "no"
# when what took too long was the database, which all replicas ask.
ELSEWHERE = "x-retry-elsewhere"
# The share of a try's time that the database is given, so that what nobody waits for any more ends there.
DATABASE_SHARE = 0.9


@dataclass
class Body:
    """A request's body: whole, so that it can be sent again, or a part of it and the rest to come."""

    whole: bytes | None
    rest: AsyncIterator[bytes] | None = None
    length: int | None = None
    started: bool = False
    # Called whenever a part of a streamed body has gone.
    moved: Callable[[], None] = lambda: None

    def data(self):
        """What aiohttp is given."""
        if self.rest is None:
            return self.whole or None
        return self._stream()

    async def _stream(self):
        self.started = True
        async for part in self.rest:
            yield part
            self.moved()


@dataclass
class Answer:
    """What a replica answered: the whole body, or a response to be streamed."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""
    response: aiohttp.ClientResponse | None = None
    backend: Backend | None = None

    async def parts(self) -> AsyncIterator[bytes]:
        """The body piece by piece."""
        if self.response is None:
            yield self.body
            return
        try:
            async for part in self.response.content.iter_chunked(CHUNK_BYTES):
                yield part
        finally:
            self.response.close()
            self.backend.in_flight -= 1


class NotSent(Exception):
    """The replica took no connection, so the request has not reached it."""


class Broken(Exception):
    """The replica took the request and did not answer."""


class Sessions:
    """Connections to replicas: kept ones, and fresh ones for calls that may not be sent twice.

    A kept connection may have been closed by the replica a moment ago, which looks like a lost request.
    """

    def __init__(self):
        options = {
            "auto_decompress": False,
            "cookie_jar": aiohttp.DummyCookieJar(),
            "skip_auto_headers": ("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        }
        self.kept = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=1024, limit_per_host=256, keepalive_timeout=30), **options
        )
        self.fresh = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=256, force_close=True), **options
        )

    async def close(self) -> None:
        """Close every connection."""
        await self.kept.close()
        await self.fresh.close()


async def forward(
    sessions: Sessions,
    entry: Entry,
    call: Call,
    method: str,
    query: str,
    headers: dict,
    body: Body,
    token: str,
) -> Answer:
    """The answer of the first replica that gives one; UnavailableError after ATTEMPTS tries."""
    tried: list[str] = []
    reasons: list[str] = []
    while True:
        backend = entry.choose(tried)
        if tried and backend.replica_id in tried:
            # The same one again: give it a moment.
            await asyncio.sleep(PAUSE_SECONDS * len(tried))
        tried.append(backend.replica_id)
        last = len(tried) >= ATTEMPTS
        try:
            answer = await _try(sessions, backend, call, method, query, headers, body, token)
        except NotSent as error:
            TRIES.labels(entry.name, "refused").inc()
            backend.failed_to_connect()
            reasons.append(f"{backend.replica_id}: {error}")
            again = not body.started
        except Broken as error:
            TRIES.labels(entry.name, "broken").inc()
            reasons.append(f"{backend.replica_id}: {error}")
            again = call.repeatable and not body.started
        else:
            TRIES.labels(entry.name, "answered").inc()
            backend.answered()
            busy = not body.started and _elsewhere(answer, call, len(tried))
            others = any(
                one.status == "ready" and one.replica_id not in tried for one in entry.backends.values()
            )
            if not (busy and others and not last):
                return answer
            async for _ in answer.parts():
                pass
            continue
        if last or not again:
            raise UnavailableError(
                f"No replica of {entry.name} answered: {'; '.join(reasons)}.",
                code="replica_did_not_answer",
                retry_after_seconds=1,
                target=entry.target_id,
            )


def _elsewhere(answer: Answer, call: Call, tries: int) -> bool:
    """Whether another replica should be asked, after so many tries."""
    told = next((value for name, value in answer.headers if name == ELSEWHERE), "")
    if told == "yes":
        # Once: when all are full, asking each of them only adds to it.
        return tries == 1
    return told != "no" and answer.status in BUSY and call.repeatable


def _time_limit(call: Call, headers: dict) -> dict:
    """The header that says how many ms each statement of a call may take; {} when the caller's is less."""
    own = int(call.try_seconds * 1000 * DATABASE_SHARE)
    given = headers.get("x-timeout-ms", "")
    if given and not (given.isascii() and given.isdigit() and int(given[:12]) > own):
        return {}
    return {"x-timeout-ms": str(own)}


async def _try(
    sessions, backend: Backend, call: Call, method, query, headers, body: Body, token: str
) -> Answer:
    way = backend.way
    # API servers and load balancers keep an idle connection for longer than we do: theirs is never stale.
    session = sessions.kept if call.repeatable or way.tls else sessions.fresh
    if way.problem:
        raise NotSent(way.problem)
    url = URL(f"{way.url}{call.path}{'?' + query if query else ''}", encoded=True)
    headers = headers | way.headers_with(token)
    if body.rest is not None and body.length is not None:
        headers["Content-Length"] = str(body.length)
    if call.repeatable:
        headers.update(_time_limit(call, headers))
    backend.in_flight += 1
    streaming = False
    response = None
    try:
        async with asyncio.timeout(call.try_seconds) as limit:
            # A streamed body may take as long as it moves.
            loop = asyncio.get_running_loop()
            body.moved = lambda: limit.reschedule(loop.time() + call.try_seconds)
            response = await session.request(
                method,
                url,
                headers=headers,
                data=body.data(),
                allow_redirects=False,
                timeout=_times(call),
                ssl=way.tls or True,
            )
            length = response.content_length
            is_doubtful = way.relay and response.status >= 400
            most = WHOLE_ANSWER_BYTES if call.repeatable else MOST_REFUSAL_BYTES if is_doubtful else -1
            if length is not None and length <= most:
                content = await response.read()
                if is_doubtful:
                    _raise_refusal(response, content)
                return Answer(response.status, _returned(response, backend), content)
        streaming = True
        return Answer(response.status, _returned(response, backend), response=response, backend=backend)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise NotSent(f"no connection ({_told(error)})") from error
    except TimeoutError as error:
        raise Broken(f"no answer within {call.try_seconds:g} s") from error
    except (aiohttp.ClientError, OSError) as error:
        raise Broken(f"the connection was lost ({_told(error)})") from error
    finally:
        if not streaming:
            backend.in_flight -= 1
            if response is not None:
                response.release()


def _times(call: Call) -> aiohttp.ClientTimeout:
    """How long a replica may be silent, besides the limit of a try."""
    return aiohttp.ClientTimeout(
        total=None, sock_connect=CONNECT_SECONDS, sock_read=max(SILENT_SECONDS, call.try_seconds)
    )


def _raise_refusal(response: aiohttp.ClientResponse, content: bytes) -> None:
    """NotSent or Broken when the cluster answered in the replica's stead."""
    told = refusal(response.content_type, content)
    if told:
        kind = Broken if was_sent(response.status, told) else NotSent
        raise kind(f"the cluster passes nothing on ({response.status}: {told})")


def _told(error: Exception) -> str:
    cause = getattr(error, "os_error", None) or error
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__


def _returned(response: aiohttp.ClientResponse, backend: Backend) -> list[tuple[str, str]]:
    named = {name.strip().lower() for name in response.headers.get("Connection", "").split(",")}
    kept = [
        (name.lower(), backend.way.own_path(value) if name.lower() == "location" else value)
        for name, value in response.headers.items()
        if name.lower() not in NOT_RETURNED and name.lower() not in named
    ]
    return [*kept, ("x-replica", backend.replica_id)]
