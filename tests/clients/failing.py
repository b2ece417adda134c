"""A tiny HTTP server that answers as it is told, one request after the other."""

import json
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

INFO = {
    "id": "col_1",
    "name": "docs",
    "dimension": 2,
    "metric": "cosine",
    "points": 0,
    "points_are_exact": True,
    "table_bytes": 0,
    "index_bytes": 0,
    "index": {
        "state": "none",
        "options": {"type": "hnsw", "m": 16},
        "built": None,
        "auto": True,
        "segments": 0,
        "unindexed_points": 0,
    },
    "aliases": [],
    "fields": [],
    "text": None,
    "created_at": "2026-01-31T12:00:00Z",
    "updated_at": "2026-01-31T12:00:00Z",
}


def problem(status: int, code: str = "", headers: dict | None = None, **more):
    """An error answer."""
    body = {"status": status, "code": code or f"code_{status}", "detail": "No.", "errors": [], **more}
    return status, body, headers or {}


def ok(body=None, status: int = 200):
    return status, body, {}


class Failing:
    """`script` is a list of what comes next: an answer made by `ok` or `problem`, or the name of a way to
    fail; what was asked is in `asked` as (method, path, body). Behind the script's end all is 500.
    """

    def __init__(self):
        self.script: list = []
        self.asked: list[tuple[str, str, bytes]] = []
        self.connections: list[tuple] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments):
                pass

            def do_any(self):
                owner.serve(self)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_any

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, address):
                """What a test breaks is no news."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        self.release = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self):
        self.release.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def serve(self, handler):
        step = self.script.pop(0) if self.script else problem(500, "script_ended")
        self.connections.append(handler.client_address)
        if step == "early refusal":
            # Before the body is read, as a server that is too busy does.
            self.asked.append((handler.command, handler.path, b""))
            self.answer(handler, problem(429, retry_after=0), close=True)
            return
        self.asked.append((handler.command, handler.path, self.body(handler)))
        if step == "reset":
            # Zero seconds of lingering: the connection is reset rather than closed.
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.close_connection = True
            handler.connection.close()
        elif step == "close":
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
        elif step == "cut":
            handler.send_response(200)
            handler.send_header("Content-Length", "1000")
            handler.end_headers()
            handler.wfile.write(b'{"count": 1')
            handler.wfile.flush()
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
        elif step == "silent":
            self.release.wait(30)
            handler.close_connection = True
        else:
            self.answer(handler, step)

    def body(self, handler) -> bytes:
        if "chunked" not in handler.headers.get("Transfer-Encoding", ""):
            return handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        found = b""
        while size := int(handler.rfile.readline(), 16):
            found += handler.rfile.read(size)
            handler.rfile.readline()
        handler.rfile.readline()
        return found

    def answer(self, handler, step, close: bool = False):
        status, body, headers = step
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(content)))
        if close:
            handler.send_header("Connection", "close")
            handler.close_connection = True
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)
