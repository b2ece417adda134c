"""HTTP as a load generator needs it: requests made beforehand, one kept connection, whole answers."""

import json
import socket

from bench.speed import machine

PREFIX = "/api/v1/vectors"


class Http:
    """One kept connection to a server on this machine."""

    def __init__(self, port: int):
        self.port = port
        self.connect()

    def connect(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, request: bytes) -> bytes:
        """The body of a 2xx answer; RuntimeError of another."""
        status, body = self.answer(request)
        if status // 100 != 2:
            raise RuntimeError(f"{status} {body[:500]!r}")
        return body

    def answer(self, request: bytes) -> tuple[int, bytes]:
        """(status, body)."""
        data = self._begun(request)
        if not data:
            # Servers close connections over which nothing came for some seconds.
            self.close()
            self.connect()
            data = self._begun(request)
        receive = self.socket.recv
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._more(receive)
        head = data[:end].lower()
        at = head.find(b"content-length:")
        if at < 0:
            data = self._chunked(data[end + 4 :], receive) if b"chunked" in head else b""
            return int(head[9:12]), data
        length = int(head[at + 15 :].split(b"\r\n", 1)[0])
        missing = end + 4 + length - len(data)
        if missing > 0:
            parts = [data]
            while missing > 0:
                parts.append(self._more(receive))
                missing -= len(parts[-1])
            data = b"".join(parts)
        return int(head[9:12]), data[end + 4 :]

    def _begun(self, request: bytes) -> bytes:
        """The beginning of the answer; nothing when the server had closed the connection."""
        try:
            self.socket.sendall(request)
            return self.socket.recv(1 << 20)
        except (ConnectionResetError, BrokenPipeError):
            return b""

    @staticmethod
    def _more(receive) -> bytes:
        data = receive(1 << 20)
        if not data:
            raise ConnectionError("the server closed the connection")
        return data

    def _chunked(self, data: bytes, receive) -> bytes:
        body = b""
        while True:
            while (end := data.find(b"\r\n")) < 0:
                data += self._more(receive)
            size = int(data[:end], 16)
            while len(data) < end + 4 + size:
                data += self._more(receive)
            if not size:
                return body
            body += data[end + 2 : end + 2 + size]
            data = data[end + 4 + size :]

    def close(self) -> None:
        self.socket.close()


def request(method: str, path: str, body=None, *, authorization: str = "") -> bytes:
    """A whole request; `body` is JSON's value or ready bytes."""
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    credentials = f"Authorization: {authorization}\r\n" if authorization else ""
    return (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{credentials}"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    ).encode() + data


class Vectors(Http):
    """The vector API, with an administrator's token."""

    authorization = f"Bearer {machine.token()}"

    @classmethod
    def request(cls, method: str, path: str, body=None) -> bytes:
        return request(method, f"{PREFIX}/{path}", body, authorization=cls.authorization)

    def call(self, method: str, path: str, body=None):
        """JSON of the answer; RuntimeError unless it is 2xx."""
        answer = self.send(self.request(method, path, body))
        return json.loads(answer) if answer else None

    def build(self, collection: str, options: dict | None = None, seconds: float = 3600) -> dict:
        """Build the collection's index and wait for it; its description."""
        self.call("POST", f"collections/{collection}/index", options or {})

        def built():
            found = self.call("GET", f"collections/{collection}/index")
            return found if found["state"] == "ready" else None

        return machine.until(built, seconds, f"the index of {collection}", every=0.1)
