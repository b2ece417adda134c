"""The ways to replicas, and what a relay's own answers are told from."""

import http.server
import json
import threading

import pytest

from deployments.fetching import fetch_all
from deployments.providers.base import ClusterAccess, Secret
from deployments.reaching import (
    TOKEN_HEADER,
    Way,
    connection_to,
    path_on,
    refusal,
    through_api_server,
    was_sent,
)

STATUS = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 503}


@pytest.fixture
def relay():
    """A server that answers as its `answers` say, and notes what it was asked."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            server.asked.append((self.path, dict(self.headers)))
            status, kind, body = server.answers.get(self.path, (200, "text/plain", b"fine"))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.answers = [], {}
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def access(server: str, **credentials) -> ClusterAccess:
    return ClusterAccess(server, "", Secret(credentials))


def test_headers_by_who_stands_between():
    direct = Way("http://10.0.0.1:8000")
    assert direct.headers_with("t") == {"Authorization": "Bearer t"}
    relayed = through_api_server(access("http://c:1/", token="cluster"), "vectors", "api-1")
    assert relayed.url == "http://c:1/api/v1/namespaces/vectors/pods/api-1:8000/proxy"
    assert relayed.headers_with("t") == {"Authorization": "Bearer cluster", TOKEN_HEADER: "t"}
    # With a client certificate nothing else is told to the cluster, above all not the replica's token.
    by_certificate = through_api_server(access("http://c:1"), "vectors", "api-1")
    assert by_certificate.headers_with("t") == {TOKEN_HEADER: "t"}
    assert "cluster" not in repr(relayed)
    assert path_on(relayed, "/ready") == "/api/v1/namespaces/vectors/pods/api-1:8000/proxy/ready"
    assert connection_to(Way("https://c"), 1).port == 443


def test_addresses_that_a_relay_changed_are_the_replicas_again():
    relayed = through_api_server(access("https://c:1/base", token="x"), "n", "p")
    told = f"{relayed.relay}/api/v1/vectors/collections/a"
    assert relayed.own_path(told) == "/api/v1/vectors/collections/a"
    assert relayed.own_path(f"https://c:1{told}") == "/api/v1/vectors/collections/a"
    assert relayed.own_path("/api/v1/vectors/jobs/1") == "/api/v1/vectors/jobs/1"
    assert Way("http://a").own_path("/x") == "/x"


@pytest.mark.parametrize(
    ("kind", "body", "told"),
    [
        ("application/json", {**STATUS, "message": 'pods "a" not found'}, 'pods "a" not found'),
        ("application/json", {**STATUS, "reason": "Forbidden"}, "Forbidden"),
        ("application/json", STATUS, "it refused the request"),
        ("application/problem+json", {"kind": "Status", "detail": "ours"}, ""),
        ("application/json", {"metadata": {"kind": "Status"}}, ""),
        ("application/json", ["Status"], ""),
        ("text/plain", {**STATUS, "message": "x"}, ""),
    ],
)
def test_what_the_cluster_itself_says(kind, body, told):
    assert refusal(kind, json.dumps(body).encode()) == told


def test_what_is_no_json_is_the_replicas():
    assert refusal("application/json", b'{"kind": "Status", broken') == ""


def test_only_what_reached_nobody_may_be_sent_again():
    assert not was_sent(503, "error trying to reach service: dial tcp 10.0.0.1:8000: connection refused")
    assert not was_sent(404, 'pods "a" not found')
    assert not was_sent(429, "too many requests")
    assert was_sent(503, "error trying to reach service: EOF")
    assert was_sent(502, "error trying to reach service: read tcp: connection reset by peer")


def test_fetching_tells_the_clusters_answer_from_the_replicas(relay):
    server = f"http://127.0.0.1:{relay.server_address[1]}"
    there = through_api_server(access(server, token="cluster"), "n", "there")
    gone = through_api_server(access(server, token="cluster"), "n", "gone")
    ill = through_api_server(access(server, token="cluster"), "n", "ill")
    message = json.dumps({**STATUS, "message": 'pods "gone" not found'}).encode()
    relay.answers[path_on(gone, "/ready")] = (404, "application/json", message)
    relay.answers[path_on(ill, "/ready")] = (503, "application/json", b'{"database": "down"}')
    answers = fetch_all(
        {"there": there, "gone": gone, "ill": ill, "direct": Way(server)},
        "/ready",
        timeout_seconds=5,
        most_bytes=1000,
    )
    assert (answers["there"].status, answers["there"].body) == (200, b"fine")
    assert (answers["direct"].status, answers["direct"].body) == (200, b"fine")
    assert answers["gone"].error == 'cannot be reached through the cluster (404: pods "gone" not found)'
    assert (answers["ill"].status, answers["ill"].body) == (503, b'{"database": "down"}')
    sent = {path: headers.get("Authorization") for path, headers in relay.asked}
    assert sent["/ready"] is None
    assert sent[path_on(there, "/ready")] == "Bearer cluster"
