"""Many short HTTP GETs at once, each with one deadline for all of it."""

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import aiohttp
from yarl import URL

from deployments.reaching import Way, refusal

AT_ONCE = 100


@dataclass(frozen=True)
class Answer:
    """What came back; `status` is 0 when nothing did, and `error` says why in words."""

    status: int = 0
    body: bytes = b""
    milliseconds: float | None = None
    error: str = ""


def fetch_all(
    ways: Mapping[str, Way], path: str | Mapping[str, str], *, timeout_seconds: float, most_bytes: int
) -> dict[str, Answer]:
    """GET a path, or each its own, by every way, at most AT_ONCE at a time.

    Every key has an Answer, and none raises.
    The deadline counts from the request's own turn to the last byte of its body, so that a server that
    drips cannot hold the others up.
    """
    # In a thread of its own: whoever calls may stand in a loop.
    with ThreadPoolExecutor(1) as thread:
        found = thread.submit(lambda: asyncio.run(_fetch_all(ways, path, timeout_seconds, most_bytes)))
        return found.result()


async def _fetch_all(ways: Mapping, path, timeout_seconds: float, most_bytes: int) -> dict:
    paths = dict.fromkeys(ways, path) if isinstance(path, str) else path
    turns = asyncio.Semaphore(AT_ONCE)
    # Kept until the session ends, which cuts them: one that is closed by itself takes leave of a TLS server
    # at length, and would outlive the loop.
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def one(key: str, way: Way) -> Answer:
            if way.problem:
                return Answer(error=f"cannot be reached ({way.problem})")
            async with turns:
                began = time.perf_counter()
                try:
                    async with asyncio.timeout(timeout_seconds):
                        return await _fetch(session, way, paths[key], most_bytes, began)
                except TimeoutError:
                    return Answer(error=f"does not answer within {timeout_seconds:g} s")
                except (aiohttp.ClientError, OSError, ValueError) as error:
                    return Answer(error=f"cannot be reached ({_cause(error)})")

        answers = await asyncio.gather(*(one(key, way) for key, way in ways.items()))
    return dict(zip(ways, answers, strict=True))


async def _fetch(
    session: aiohttp.ClientSession, way: Way, path: str, most_bytes: int, began: float
) -> Answer:
    # Encoded already: what a relay's path holds stays as it is.
    url = URL(f"{way.url}{path}", encoded=True)
    async with session.get(url, headers=way.headers, ssl=way.tls or True, allow_redirects=False) as response:
        body = b""
        async for chunk in response.content.iter_chunked(65536):
            body += chunk
            if len(body) > most_bytes:
                return Answer(error=f"answers more than {most_bytes} bytes")
        if way.relay and response.status >= 400:
            told = refusal(response.content_type, body)
            if told:
                return Answer(error=f"cannot be reached through the cluster ({response.status}: {told})")
        return Answer(response.status, body, (time.perf_counter() - began) * 1000)


def _cause(error: Exception) -> str:
    cause = getattr(error, "os_error", None) or error
    if isinstance(cause, ConnectionRefusedError):
        return "connection refused"
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
