"""HTTP: connections that are kept and shared by threads, tries, deadlines."""

import json
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, urlencode

import urllib3

from aindusdb_client.connecting import pool_classes
from aindusdb_client.endpoints import Endpoint
from aindusdb_client.errors import (
    ApiError,
    DeadlineExceededError,
    NoAnswerError,
    UnexpectedAnswerError,
    api_error,
)
from aindusdb_client.retrying import RetryPolicy, may_repeat

READ_BYTES = 256 * 1024
# Exceptions that tell of a connection that was never there.
_NOT_SENT = (
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.NameResolutionError,
    urllib3.exceptions.EmptyPoolError,
)


class Deadline:
    """A point in time; `left` seconds until it, None when there is none."""

    def __init__(self, seconds: float | None) -> None:
        self.at = None if seconds is None else time.monotonic() + seconds
        self.seconds = seconds

    def left(self) -> float | None:
        """The seconds left; DeadlineExceededError when there are none."""
        if self.at is None:
            return None
        left = self.at - time.monotonic()
        if left <= 0:
            raise DeadlineExceededError(f"The call was not done within {self.seconds:g} s.")
        return left

    def outlasts(self, seconds: float) -> bool:
        """Whether there is time for a wait and something after it."""
        return self.at is None or time.monotonic() + seconds < self.at


@dataclass(frozen=True)
class Options:
    """What a client is told once: see Client."""

    timeout: float | None = 30.0
    idle_timeout: float = 120.0
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    headers: Mapping[str, str] = field(default_factory=dict)


class Connections:
    """A pool of kept connections to one server; each serves one thread at a time.

    Calls that must not be carried out twice go over connections of their own: a kept one that the server
    has just closed looks like a lost request.
    """

    def __init__(
        self,
        *,
        pool_size: int,
        connect_timeout: float,
        ssl_context: ssl.SSLContext | None,
        proxy: str | None,
    ) -> None:
        self.proxy = proxy
        self.pool_classes = pool_classes(connect_timeout)
        self.common: dict[str, Any] = {"block": True, "retries": False}
        if ssl_context is not None:
            self.common["ssl_context"] = ssl_context
        self.kept = self._made(maxsize=pool_size)

    def fresh(self) -> urllib3.PoolManager:
        """A pool for one call, to be cleared after it."""
        return self._made(maxsize=1, headers={"Connection": "close"})

    def _made(self, **options: Any) -> urllib3.PoolManager:
        options |= self.common
        made = urllib3.ProxyManager(self.proxy, **options) if self.proxy else urllib3.PoolManager(**options)
        made.pool_classes_by_scheme = self.pool_classes
        return made

    def close(self) -> None:
        """Close what is not in use."""
        self.kept.clear()


class Answer:
    """An answer of which the body is still to come."""

    def __init__(self, response: urllib3.BaseHTTPResponse, once: urllib3.PoolManager | None = None) -> None:
        self.response = response
        self.once = once
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    def parts(self, deadline: Deadline | None = None) -> Iterator[bytes]:
        """The body as it comes; the connection goes back to the pool at its end, or is closed before."""
        complete = False
        try:
            while part := self.response.read(READ_BYTES, decode_content=True):
                if deadline is not None:
                    deadline.left()
                yield part
            complete = True
        except urllib3.exceptions.HTTPError as error:
            raise NoAnswerError(f"The answer broke off: {error}") from error
        finally:
            if complete:
                self.response.release_conn()
            else:
                self.response.close()
            if self.once is not None:
                self.once.clear()

    def lines(self) -> Iterator[bytes]:
        """The body's lines as they come, without the empty ones."""
        rest = b""
        for part in self.parts():
            found = (rest + part).split(b"\n")
            rest = found.pop()
            yield from (line for line in found if line.strip())
        if rest.strip():
            yield rest


class Transport:
    """Sends calls to one root address with one key."""

    def __init__(self, root: str, api_key: str | None, connections: Connections, options: Options) -> None:
        self.root = root
        self.api_key = api_key
        self.connections = connections
        self.options = options

    def with_options(self, **changes: Any) -> "Transport":
        """The same connections with other options."""
        return Transport(self.root, self.api_key, self.connections, replace(self.options, **changes))

    def address(self, endpoint: Endpoint, names: Mapping[str, str], query: Mapping[str, Any]) -> str:
        """The URL of a call."""
        path = endpoint.path.format_map({name: quote(value, safe="") for name, value in names.items()})
        return f"{self.root}/{path}".rstrip("/") + (f"?{urlencode(query)}" if query else "")

    def call(
        self,
        endpoint: Endpoint,
        names: Mapping[str, str] | None = None,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        lost: Callable[[ApiError], bool] = lambda error: False,
    ) -> Any:
        """The answer's JSON, None when it has no body; ApiError, NoAnswerError.

        `body` are JSON's values, or bytes as they are. `lost` is asked of an error that comes after a try
        whose answer was lost: True when it only says that that one was carried out; None is returned then.
        """
        data = body if body is None or isinstance(body, bytes) else encoded(body)
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        headers = {} if data is None else {"Content-Type": kind}
        deadline = Deadline(self.options.timeout)

        def once() -> Any:
            answer = self.send(endpoint, names or {}, query or {}, data, headers, deadline)
            content = b"".join(answer.parts(deadline))
            if answer.status >= 400:
                raise api_error(answer.status, answer.headers, content)
            return decoded(content) if content else None

        return self.tried(once, endpoint.repeatable, deadline, lost)

    def tried(
        self,
        once: Callable[[], Any],
        repeatable: bool,
        deadline: Deadline,
        lost: Callable[[ApiError], bool] = lambda error: False,
        resend: Callable[[], bool] = lambda: True,
    ) -> Any:
        """The result of the first try that succeeds; `resend` is asked whether another can be made."""
        uncertain = False
        policy, tries = self.options.retry, 0
        while True:
            tries += 1
            try:
                return once()
            except (ApiError, NoAnswerError) as error:
                if uncertain and isinstance(error, ApiError) and lost(error):
                    return None
                sent = not isinstance(error.__cause__, _NOT_SENT)
                again = tries < policy.tries and not isinstance(error, DeadlineExceededError)
                # A certificate that is not trusted will not be at the next try.
                again = again and not isinstance(error.__cause__, urllib3.exceptions.SSLError)
                if not again or not may_repeat(error, sent=sent, repeatable=repeatable) or not resend():
                    raise
                wait = policy.wait_seconds(tries, error)
                if not deadline.outlasts(wait):
                    raise
                uncertain = uncertain or (sent and not (isinstance(error, ApiError) and error.status == 429))
                time.sleep(wait)

    def send(
        self,
        endpoint: Endpoint,
        names: Mapping[str, str],
        query: Mapping[str, Any],
        body: bytes | Iterable[bytes] | None,
        headers: Mapping[str, str],
        deadline: Deadline,
    ) -> Answer:
        """One try: the answer without its body; NoAnswerError."""
        sent = {"Accept": "application/json, application/x-ndjson", **self.options.headers, **headers}
        if self.api_key is not None:
            sent["Authorization"] = f"Bearer {self.api_key}"
        left = deadline.left()
        reading = self.options.idle_timeout if left is None else left
        once = None if endpoint.repeatable else self.connections.fresh()
        pool = once or self.connections.kept
        url = self.address(endpoint, names, query)
        try:
            response = pool.request(
                endpoint.method,
                url,
                body=body,
                headers={**pool.headers, **sent},
                timeout=urllib3.Timeout(connect=reading, read=reading),
                pool_timeout=reading,
                preload_content=False,
                redirect=False,
                chunked=body is not None and not isinstance(body, bytes),
            )
        except urllib3.exceptions.HTTPError as error:
            deadline.left()
            raise NoAnswerError(f"{endpoint.method} {url}: {error}") from error
        return Answer(response, once)


def given(**values: Any) -> dict[str, Any]:
    """What is not None."""
    return {name: value for name, value in values.items() if value is not None}


def encoded(value: Any) -> bytes:
    """JSON in UTF-8; ValueError for numbers that JSON has not."""
    options: dict[str, Any] = {"allow_nan": False, "separators": (",", ":")}
    try:
        return json.dumps(value, ensure_ascii=False, **options).encode()
    except UnicodeEncodeError:
        # Half a surrogate pair, which the server shall refuse in its own words.
        return json.dumps(value, **options).encode()


def decoded(content: bytes) -> Any:
    """The JSON of an answer."""
    try:
        return json.loads(content)
    except ValueError as error:
        raise UnexpectedAnswerError(f"This is not the vector API: {content[:100]!r}") from error
