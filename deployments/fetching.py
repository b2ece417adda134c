"""Many short HTTP GETs at once, each with one deadline for all of it."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass

import aiohttp

AT_ONCE = 100


@dataclass(frozen=True)
class Answer:
    """What came back; `status` is 0 when nothing did, and `error` says why in words."""

    status: int = 0
    body: bytes = b""
    milliseconds: float | None = None
    error: str = ""


def fetch_all(urls: Iterable[str], *, timeout_seconds: float, most_bytes: int) -> dict[str, Answer]:
    """GET every URL, at most AT_ONCE at a time; every URL has an Answer, and none raises.

    The deadline counts from the URL's own turn to the last byte of its body, so that a server that drips
    cannot hold the others up.
    """
    return asyncio.run(_fetch_all(list(dict.fromkeys(urls)), timeout_seconds, most_bytes))


async def _fetch_all(urls: list[str], timeout_seconds: float, most_bytes: int) -> dict[str, Answer]:
    turns = asyncio.Semaphore(AT_ONCE)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def one(url: str) -> Answer:
            async with turns:
                began = time.perf_counter()
                try:
                    async with asyncio.timeout(timeout_seconds):
                        return await _fetch(session, url, most_bytes, began)
                except TimeoutError:
                    return Answer(error=f"does not answer within {timeout_seconds:g} s")
                except (aiohttp.ClientError, OSError, ValueError) as error:
                    return Answer(error=f"cannot be reached ({_cause(error)})")

        answers = await asyncio.gather(*(one(url) for url in urls))
    return dict(zip(urls, answers, strict=True))


async def _fetch(session: aiohttp.ClientSession, url: str, most_bytes: int, began: float) -> Answer:
    async with session.get(url, allow_redirects=False) as response:
        body = b""
        async for chunk in response.content.iter_chunked(65536):
            body += chunk
            if len(body) > most_bytes:
                return Answer(error=f"answers more than {most_bytes} bytes")
        return Answer(response.status, body, (time.perf_counter() - began) * 1000)


def _cause(error: Exception) -> str:
    cause = getattr(error, "os_error", None) or error
    if isinstance(cause, ConnectionRefusedError):
        return "connection refused"
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
