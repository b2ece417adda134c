"""Files behind http and https: read with ranges where the server has them, written with one PUT.

A name is looked up once and the connection made to the very address that was judged, so that a name which
means another address a moment later leads nowhere.
"""

import contextlib
import http.client
import re
import socket
import ssl
import tempfile
from urllib.parse import urljoin

from django.conf import settings

from vectors.jobs.work import FailedError
from vectors.transfer import places
from vectors.transfer.sinks import Sink
from vectors.transfer.sources import Source, Unreachable, patiently

TIMEOUT_SECONDS = 60.0
REDIRECTS_MOST = 5
REDIRECTS = (301, 302, 303, 307, 308)
AGAIN = (408, 429, 500, 502, 503, 504)
COPY_BYTES = 2**20
RANGE = re.compile(r"bytes (?:\d+-\d+|\*)/(\d+)\Z")


class Plain(http.client.HTTPConnection):
    """A connection to one address, whatever the host's name means by now."""

    def __init__(self, host: str, port: int | None, address: str):
        super().__init__(host, port, timeout=TIMEOUT_SECONDS)
        self.address = address

    def connect(self) -> None:
        self.sock = socket.create_connection((self.address, self.port), self.timeout)


class Secure(Plain):
    default_port = http.client.HTTPS_PORT

    def connect(self) -> None:
        super().connect()
        self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)


def connection_to(parts) -> Plain:
    """A connection to the host of a URL; FailedError when none of its addresses may be used."""
    try:
        found = socket.getaddrinfo(parts.hostname, places.port_of(parts), type=socket.SOCK_STREAM)
    except OSError as error:
        raise Unreachable(f"the name {parts.hostname} is not known ({error.strerror})") from None
    addresses = [entry[4][0] for entry in found]
    good = [address for address in addresses if places.address_allowed(address)]
    if not good:
        raise FailedError(
            f"{parts.hostname} leads to {addresses[0]}, which is no public address; the server's operator"
            " allows others in AINDUS_TRANSFER_NETWORKS."
        )
    kind = Secure if parts.scheme == "https" else Plain
    return kind(parts.hostname, parts.port, good[0])


class Answer:
    """An answer that is being read."""

    def __init__(self, connection: Plain, response: http.client.HTTPResponse):
        self.connection = connection
        self.response = response
        self.status = response.status

    def header(self, name: str) -> str:
        return self.response.getheader(name) or ""

    def read(self, size: int) -> bytes:
        try:
            return self.response.read(size)
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"{self.connection.host} broke off: {error or type(error).__name__}") from None

    def close(self) -> None:
        self.response.close()
        self.connection.close()


@contextlib.contextmanager
def asked(method: str, url: str, headers: dict | None = None, body=None):
    """The Answer to a request, redirects followed to where they may lead; Unreachable, FailedError."""
    with contextlib.ExitStack() as stack:
        for _ in range(REDIRECTS_MOST + 1):
            answer = once(method, url, headers or {}, body)
            stack.callback(answer.close)
            if answer.status not in REDIRECTS or method != "GET":
                break
            url = places.url_allowed(urljoin(url, answer.header("Location")))
        else:
            raise FailedError(f"The URL is redirected more than {REDIRECTS_MOST} times.")
        if answer.status in AGAIN:
            raise Unreachable(f"{answer.connection.host} answers {answer.status}")
        yield answer


def once(method: str, url: str, headers: dict, body) -> Answer:
    parts = places.parsed(url)
    connection = connection_to(parts)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request(method, target, body, {"User-Agent": "aindusdb", **headers})
        return Answer(connection, connection.getresponse())
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        raise Unreachable(f"{parts.hostname}: {error or type(error).__name__}") from None


def refused(answer: Answer) -> FailedError:
    return FailedError(f"{answer.connection.host} answers {answer.status} {answer.response.reason}.")


def copied(file, part: bytes) -> None:
    """Write to a temporary file; FailedError when there is no room."""
    try:
        file.write(part)
    except OSError as error:
        raise FailedError(f"The temporary copy cannot be written: {error.strerror}.") from None


class Fetched(Source):
    """A file that a server sends. Without ranges it is fetched once, whole, into a temporary file."""

    def __init__(self, url: str):
        self.url = url
        self.copy = None
        self.stream = contextlib.ExitStack()
        patiently(self.look, "The server")

    def look(self) -> None:
        with asked("GET", self.url, {"Range": "bytes=0-0"}) as answer:
            kept = RANGE.match(answer.header("Content-Range"))
            if answer.status in (206, 416) and kept:
                self.size = int(kept[1])
            elif answer.status == 200:
                self.fetch(answer)
            else:
                raise refused(answer)
            self.identity = f"{self.size} bytes {self.version(answer)}".strip()

    def version(self, answer: Answer) -> str:
        return answer.header("ETag") or answer.header("Last-Modified")

    def fetch(self, answer: Answer) -> None:
        """Keep the whole answer, within what an upload may have."""
        most = settings.VECTORS["upload_bytes"]
        self.close()
        self.copy = tempfile.TemporaryFile()  # noqa: SIM115
        self.size = 0
        while part := answer.read(COPY_BYTES):
            copied(self.copy, part)
            self.size += len(part)
            if self.size > most:
                raise FailedError(
                    f"The server sends no ranges, and more than {most} bytes (AINDUS_UPLOAD_BYTES)."
                )
        length = answer.header("Content-Length")
        if length.isdigit() and int(length) != self.size:
            raise Unreachable(f"{answer.connection.host} broke off")

    def read_at(self, offset: int, size: int) -> bytes:
        if self.copy is not None:
            self.copy.seek(offset)
            return self.copy.read(size)
        if offset >= self.size or not size:
            return b""
        return patiently(lambda: self.range(offset, min(size, self.size - offset)), "The server")

    def range(self, offset: int, size: int) -> bytes:
        with self.asked_from(offset, f"{offset + size - 1}") as answer:
            part = answer.read(size)
            if len(part) != size:
                raise Unreachable(f"{answer.connection.host} broke off")
            return part

    @contextlib.contextmanager
    def asked_from(self, offset: int, last: str = ""):
        """The answer with the bytes from one on; FailedError when it is not of the same file."""
        with asked("GET", self.url, {"Range": f"bytes={offset}-{last}"}) as answer:
            if answer.status != 206:
                raise refused(answer)
            if f"{self.size} bytes {self.version(answer)}".strip() != self.identity:
                raise FailedError("The file changed while it was read.")
            yield answer

    def reader(self, offset: int):
        """One answer for all, and another from there on when it breaks off."""
        if self.copy is not None:
            return super().reader(offset)
        place, answer = offset, None

        def part(size: int) -> bytes:
            nonlocal answer
            if answer is None:
                answer = self.stream.enter_context(self.asked_from(place))
            try:
                found = answer.read(size)
                if not found:
                    raise Unreachable(f"{answer.connection.host} broke off")
            except Unreachable:
                self.stream.close()
                answer = None
                raise
            return found

        def read(size: int) -> bytes:
            nonlocal place
            if place >= self.size:
                return b""
            found = patiently(lambda: part(size), "The server")
            place += len(found)
            return found

        return read

    def close(self) -> None:
        self.stream.close()
        if self.copy is not None:
            self.copy.close()
            self.copy = None


class Put(Sink):
    """One PUT of a whole file, as presigned URLs take it; until then it lies in a temporary file."""

    durable = False

    def __init__(self, url: str):
        self.url = url
        self.copy = None

    def begin(self) -> dict:
        self.abandon({})
        self.copy = tempfile.TemporaryFile()  # noqa: SIM115
        return {"parts": []}

    def resume(self, state: dict) -> bool:
        return False

    def put(self, state: dict, part: bytes) -> None:
        copied(self.copy, part)
        state["parts"].append(len(part))

    def finish(self, state: dict) -> None:
        patiently(self.send, "The server")
        self.abandon(state)

    def send(self) -> None:
        size = self.copy.seek(0, 2)
        self.copy.seek(0)
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        if (places.parsed(self.url).hostname or "").endswith(".blob.core.windows.net"):
            headers["x-ms-blob-type"] = "BlockBlob"
        with asked("PUT", self.url, headers, self.copy) as answer:
            if not 200 <= answer.status < 300:
                raise refused(answer)

    def abandon(self, state: dict) -> None:
        if self.copy is not None:
            self.copy.close()
            self.copy = None
