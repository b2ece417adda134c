"""The HTTPS end: connections, requests and answers, each connection in a thread of its own."""

import contextlib
import http.server
import json
import socket
import socketserver
import ssl
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tests.simulators.kubernetes import protobuf
from tests.simulators.kubernetes.certificates import Authority


@dataclass
class Request:
    """An HTTP request as it came. Header names are in lower case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    raw_query: str = ""
    certificate: dict | None = None
    at: float = field(default_factory=time.monotonic)

    def flag(self, name: str) -> bool:
        return self.query.get(name, "").lower() in ("true", "1")


@dataclass
class Answer:
    """What is sent back: JSON, bytes, or a stream of chunks that ends when the iterator does."""

    status: int = 200
    json: Any = None
    body: bytes = b""
    content_type: str = "application/json"
    headers: list[tuple[str, str]] = field(default_factory=list)
    stream: Iterator[bytes] | None = None
    hang_up: bool = False


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"
    disable_nagle_algorithm = True
    timeout = 300

    def setup(self) -> None:
        self.request.do_handshake()
        super().setup()

    def _serve(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else b""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = self._chunks()
        request = Request(
            self.command,
            urllib.parse.unquote(url.path),
            dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True)),
            {name.lower(): value for name, value in self.headers.items()},
            body,
            url.query,
            self.request.getpeercert(),
        )
        answer = self.server.answer(request)
        if answer.hang_up:
            self.close_connection = True
            return
        self._send(answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = _serve

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _send(self, answer: Answer) -> None:
        body = answer.body if answer.json is None else orjson.dumps(answer.json) + b"\n"
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        for name, value in answer.headers:
            self.send_header(name, value)
        if answer.stream is None:
            self.send_header("Content-Length", str(len(body)))
        else:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        # A watcher waits for the headers, and may wait long for the first event.
        self.wfile.flush()
        if answer.stream is None:
            if self.command != "HEAD":
                self.wfile.write(body)
            return
        try:
            for chunk in answer.stream:
                if chunk:
                    self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
                    self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
        finally:
            answer.stream.close()

    wbufsize = 64 * 1024

    def log_message(self, *_: Any) -> None:
        pass


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, context: ssl.SSLContext, answer: Callable[[Request], Answer]):
        super().__init__(("127.0.0.1", 0), _Handler)
        self._context = context
        self.answer = answer
        self._open: set[socket.socket] = set()
        self._serving: set[threading.Thread] = set()
        self._lock = threading.Lock()

    def get_request(self):
        connection, address = super().get_request()
        connection.settimeout(_Handler.timeout)
        wrapped = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            self._open.add(wrapped)
        return wrapped, address

    def process_request_thread(self, request, client_address):
        with self._lock:
            self._serving.add(threading.current_thread())
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._serving.discard(threading.current_thread())

    def shutdown_request(self, request):
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request, client_address):
        # A client that goes away in the middle is everyday; anything else is told by the answer itself.
        pass

    def hang_up(self) -> None:
        with self._lock:
            held, threads = list(self._open), list(self._serving)
        for connection in held:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(5)


class Endpoint:
    """A listening HTTPS server on a free port of 127.0.0.1."""

    def __init__(self, authority: Authority, answer: Callable[[Request], Answer]):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=authority.certificate)
        with tempfile.TemporaryDirectory() as folder:
            certificate, key = authority.server()
            path = Path(folder) / "server.pem"
            path.touch(0o600)
            path.write_text(key + certificate)
            context.load_cert_chain(path)
        self._server = _Server(context, answer)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="kubernetes-simulator", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(5)
        self._server.hang_up()
        self._server.server_close()


def parsed(request: Request) -> Any:
    """The body, JSON or YAML. Raises ValueError."""
    if not request.body:
        return None
    if request.body.startswith(protobuf.MAGIC):
        return protobuf.decoded(request.body)
    try:
        return orjson.loads(request.body)
    except orjson.JSONDecodeError:
        import yaml

        try:
            return yaml.safe_load(request.body)
        except yaml.YAMLError as error:
            raise ValueError(str(error)) from None


def line(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"
