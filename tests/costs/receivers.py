"""Real servers on this machine that alerts are sent to: HTTP and SMTP, each with a switch for failures."""

import json
import socketserver
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Inbox:
    """What a receiver got, and what it answers next (statuses are used up one by one, then 200)."""

    url: str = ""
    port: int = 0
    posts: list[dict] = field(default_factory=list)
    mails: list[dict] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    pages: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@contextmanager
def _serving(server):
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@contextmanager
def http_receiver():
    """An Inbox that keeps what is posted, and serves `pages` (path with query, or path alone)."""
    inbox = Inbox()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            inbox.posts.append(
                {"path": self.path, "headers": dict(self.headers), "raw": body, "json": json.loads(body)}
            )
            self._answer(inbox.answers.pop(0) if inbox.answers else 200, b"")

        def do_GET(self):
            inbox.asked.append(self.path)
            page = inbox.pages.get(self.path, inbox.pages.get(self.path.partition("?")[0]))
            if inbox.answers:
                self._answer(inbox.answers.pop(0), b"{}")
            else:
                self._answer(404 if page is None else 200, page or b"")

        def _answer(self, status, body):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    inbox.port = server.server_address[1]
    inbox.url = f"http://127.0.0.1:{inbox.port}"
    with _serving(server):
        yield inbox


@contextmanager
def smtp_receiver():
    """An Inbox that takes e-mail; `answers` are its replies to MAIL FROM (250 is yes)."""
    inbox = Inbox()

    class Handler(socketserver.StreamRequestHandler):
        def say(self, text):
            self.wfile.write(f"{text}\r\n".encode())

        def handle(self):
            self.say("220 test")
            sender, recipients = "", []
            while line := self.rfile.readline().decode().strip():
                verb = line[:4].upper()
                if verb in ("EHLO", "HELO"):
                    self.say("250 test")
                elif verb == "MAIL":
                    sender = line
                    status = inbox.answers.pop(0) if inbox.answers else 250
                    self.say(f"{status} ok")
                elif verb == "RCPT":
                    recipients.append(line.partition("<")[2].partition(">")[0])
                    self.say("250 ok")
                elif verb == "DATA":
                    self.say("354 go on")
                    lines = []
                    while (text := self.rfile.readline()) not in (b".\r\n", b""):
                        lines.append(text)
                    inbox.mails.append({"from": sender, "to": recipients, "raw": b"".join(lines)})
                    self.say("250 taken")
                elif verb == "QUIT":
                    self.say("221 bye")
                    return
                else:
                    self.say("250 ok")

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    inbox.port = server.server_address[1]
    with _serving(server):
        yield inbox
