"""Imports from and exports to http: only where allowed, by ranges or whole, over broken connections."""

import http.server
import sys
import threading
from urllib.parse import urlsplit

import pytest

from controlplane.errors import ProblemError
from tests.vectors.test_transfer import POINTS, checksum, imported, lines, upload
from tests.vectors.test_transfer_parquet import exported_to
from vectors.jobs.work import FailedError
from vectors.transfer import places, sources, web


class Files:
    """A server of files by path; with `ranges` as most have them, `etags` of their content."""

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.ranges = True
        # How many bytes an answer has at most before its connection breaks; 0: all.
        self.breaks_after = 0
        self.statuses: list[int] = []
        self.asked: list[tuple[str, str, str]] = []
        self.redirects: dict[str, str] = {}
        files = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                files.get(self)

            def do_PUT(self):
                path = urlsplit(self.path).path
                files.files[path] = self.rfile.read(int(self.headers["Content-Length"]))
                files.answer(self, 201, b"")

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=[0.01], daemon=True)
        self.thread.start()

    def get(self, request) -> None:
        path = urlsplit(request.path).path
        given = request.headers.get("Range", "")
        self.asked.append((request.path, given, request.headers["Host"]))
        if self.statuses:
            return self.answer(request, self.statuses.pop(0), b"")
        if path in self.redirects:
            return self.answer(request, 302, b"", Location=self.redirects[path])
        if path not in self.files:
            return self.answer(request, 404, b"")
        raw = self.files[path]
        etag = f'"{hash(raw)}"'
        if not self.ranges or not given:
            return self.answer(request, 200, raw, ETag=etag)
        first, _, last = given.removeprefix("bytes=").partition("-")
        part = raw[int(first) : int(last) + 1 if last else None]
        if not part:
            return self.answer(request, 416, b"", **{"Content-Range": f"bytes */{len(raw)}"})
        where = f"bytes {first}-{int(first) + len(part) - 1}/{len(raw)}"
        return self.answer(request, 206, part, ETag=etag, **{"Content-Range": where})

    def answer(self, request, status: int, raw: bytes, **headers) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(raw)))
        request.end_headers()
        if self.breaks_after and len(raw) > self.breaks_after:
            raw = raw[: self.breaks_after]
        request.wfile.write(raw)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def files(settings, monkeypatch):
    """A server whose files imports may read, and exports write, below /open/."""
    monkeypatch.setattr(sources, "PAUSE_SECONDS", 0.001)
    made = Files()
    settings.VECTORS = settings.VECTORS | {
        "transfer_urls": [f"{made.url}/open/", "s3://bucket/a", "https://*"],
        "transfer_networks": ["127.0.0.0/8"],
    }
    yield made
    made.close()


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("format", ["ndjson", "parquet"])
def test_there_and_back(client, runner, collection, files, ranges, format):
    name, other = collection(3), collection(3)
    more = [{"id": f"{at:05}", "vector": [at, 1, 2], "content": "x" * 500} for at in range(2000)]
    imported(client, runner, name, upload=upload(client, name, lines(POINTS + more)))
    job = exported_to(client, runner, name, url=f"{files.url}/open/x?sig=secret", format=format)
    assert job["state"] == "succeeded", job
    assert job["result"]["bytes"] == len(files.files["/open/x"])
    # A signature is shown to nobody.
    assert job["params"]["url"] == f"{files.url}/open/x?..."
    files.ranges = ranges
    job = imported(client, runner, other, url=f"{files.url}/open/x?sig=secret", format=format)
    assert (job["state"], job["result"]["verified"]) == ("succeeded", 1), job
    assert checksum(client, other) == checksum(client, name)
    assert {path for path, _, _ in files.asked} == {"/open/x?sig=secret"}


def test_broken_connections_and_busy_servers_are_tried_again(client, runner, collection, files):
    name = collection(3)
    points = [{"id": f"{at:05}", "vector": [at, 1, 2], "content": "x" * 500} for at in range(3000)]
    files.files["/open/x"] = lines(points)
    files.statuses = [503, 429]
    files.breaks_after = 300_000
    job = imported(client, runner, name, url=f"{files.url}/open/x")
    assert (job["state"], job["result"]["rows"]) == ("succeeded", 3000), job
    begun = [int(given.removeprefix("bytes=").partition("-")[0]) for _, given, _ in files.asked]
    assert begun[:3] == [0, 0, 0]
    assert begun[3:] == sorted(set(begun[3:])) and len(begun) > 6
    files.statuses = [500] * 20
    job = imported(client, runner, name, url=f"{files.url}/open/x")
    assert job["state"] == "failed" and "answers 500" in job["error"]


def test_a_file_that_changes_is_not_mixed(files, pool):
    files.files["/open/x"] = b"a" * 3_000_000
    source = web.Fetched(f"{files.url}/open/x")
    read = source.reader(0)
    assert read(1000) == b"a" * 1000
    files.files["/open/x"] = b"b" * 3_000_000
    with pytest.raises(FailedError, match="changed"):
        source.read_at(5, 10)
    source.close()
    files.files["/open/empty"] = b""
    empty = web.Fetched(f"{files.url}/open/empty")
    assert (empty.size, empty.reader(0)(10)) == (0, b"")
    empty.close()


def test_redirects_lead_only_where_it_is_allowed(client, runner, collection, files):
    name = collection(3)
    files.files["/open/x"] = files.files["/closed/x"] = lines(POINTS)
    files.redirects = {
        "/open/good": "/open/x",
        "/open/bad": "/closed/x",
        "/open/dots": "/open/../closed/x",
        "/open/loop": "/open/loop",
        "/open/file": "file:///etc/passwd",
    }
    assert imported(client, runner, name, url=f"{files.url}/open/good")["state"] == "succeeded"
    for wrong in ("bad", "dots", "loop", "file"):
        job = imported(client, runner, name, url=f"{files.url}/open/{wrong}")
        assert job["state"] == "failed", wrong
    assert not any(path.startswith("/closed") for path, _, _ in files.asked)


def test_private_addresses_are_refused(client, runner, collection, files, settings):
    """However they are written, and whatever the URL may start with."""
    name = collection(3)
    settings.VECTORS = settings.VECTORS | {
        "transfer_networks": [],
        "transfer_urls": ["http://*", "https://*"],
    }
    port = urlsplit(files.url).port
    for host in ("127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1", "0.0.0.0", "[::ffff:127.0.0.1]"):
        job = imported(client, runner, name, url=f"http://{host}:{port}/open/x")
        assert job["state"] == "failed"
        assert "no public address" in job["error"] or "not known" in job["error"], host
    assert files.asked == []
    for address in ("169.254.169.254", "10.0.0.1", "fd00::1", "fe80::1%eth0", "64:ff9b::a00:1", "224.0.0.1"):
        assert not places.address_allowed(address), address
    for address in ("93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"):
        assert places.address_allowed(address), address
    settings.VECTORS = settings.VECTORS | {"transfer_networks": ["10.0.0.0/8"]}
    assert places.address_allowed("10.1.2.3") and not places.address_allowed("192.168.0.1")


def test_urls_are_only_those_allowed(files):
    for good in (
        f"{files.url}/open/x",
        "https://example.org/x?a=b",
        "HTTPS://example.org/x",
        "s3://bucket/a",
        "s3://bucket/a/b",
    ):
        assert places.url_allowed(good) == good
    for wrong in (
        f"{files.url}/openx",
        f"{files.url}/closed",
        f"{files.url}/open/../closed",
        f"{files.url}/open/%2e%2e/closed",
        f"{files.url}/open/%252e%252e/closed",
        f"{files.url}/open/..\\closed",
        "http://127.0.0.1:1/open/x",
        "http://example.org/x",
        "https://user@example.org/",
        "https://example.org:x/",
        "https://",
        "https://example.org/\r\nX: y",
        "s3://bucket/ab",
        "s3://bucket2/a",
        "gs://bucket/a",
        "file:///etc/passwd",
        "ftp://example.org",
        "x",
    ):
        with pytest.raises(ProblemError):
            places.url_allowed(wrong)


def test_an_sdk_that_is_missing_is_told(client, runner, collection, files, monkeypatch):
    # As where it is not installed: what has been imported of it is forgotten as well.
    monkeypatch.setitem(sys.modules, "boto3", None)
    monkeypatch.delitem(sys.modules, "vectors.transfer.aws.client", raising=False)
    name = collection(3)
    job = imported(client, runner, name, url="s3://bucket/a/x")
    assert job["state"] == "failed"
    assert "script/bootstrap --clouds" in job["error"]
