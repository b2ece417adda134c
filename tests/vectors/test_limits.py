"""The queue before the threads, and how often a key may ask."""

import http.client
import json
import socket
import threading

import psycopg
import pytest

from controlplane import ids
from controlplane.errors import TooManyRequestsError
from tests.vectors.conftest import Client, token
from tests.vectors.test_bad_input import check_problem
from tests.vectors.test_process import serve, until  # noqa: F401
from vectors import database, limits


class Counts(dict):
    def note(self, name, by):
        self[name] = self.get(name, 0) + by


@pytest.fixture
def counts():
    return Counts()


class Asking:
    """A request in a thread of its own: entered, refused, or None while it waits."""

    def __init__(self, gate, path="/c/query", method="POST"):
        self.outcome = None
        self.thread = threading.Thread(target=self.ask, args=[gate, path, method], daemon=True)
        self.thread.start()

    def ask(self, gate, path, method):
        try:
            gate.enter(path, method)
            self.outcome = "entered"
        except limits.OverloadedError as error:
            self.outcome = error


def waiting(gate, counts, number):
    until(lambda: counts.get("waiting") == number)


def test_a_place_for_each_thread_and_no_more(counts):
    gate = limits.Gate(2, 0, 60, counts.note)
    gate.enter("/c/query", "POST")
    gate.enter("/c/query", "POST")
    with pytest.raises(limits.OverloadedError) as refused:
        gate.enter("/c/query", "POST")
    assert refused.value.status == 429
    assert refused.value.retry_after_seconds >= 1
    gate.leave()
    gate.enter("/c/query", "POST")
    assert counts == {"shed": 1}


def test_places_go_in_the_order_of_asking(counts):
    gate = limits.Gate(1, 3, 60, counts.note)
    gate.enter("/", "GET")
    asked = []
    for number in range(3):
        asked.append(Asking(gate))
        waiting(gate, counts, number + 1)
    with pytest.raises(TooManyRequestsError):
        gate.enter("/", "GET")
    for number in range(3):
        gate.leave()
        until(lambda number=number: asked[number].outcome == "entered")
        assert [one.outcome for one in asked[number + 1 :]] == [None] * (2 - number)
    assert counts == {"waiting": 0, "shed": 1}
    gate.leave()
    gate.enter("/", "GET")


def test_nobody_waits_for_ever(counts):
    gate = limits.Gate(1, 3, 0.02, counts.note)
    gate.enter("/", "GET")
    first, second = Asking(gate), Asking(gate)
    until(lambda: first.outcome and second.outcome)
    assert {type(one.outcome) for one in (first, second)} == {limits.OverloadedError}
    assert counts == {"waiting": 0, "shed": 2}
    # Who gave up left no place taken.
    gate.leave()
    gate.enter("/", "GET")


def test_what_would_wait_too_long_is_refused_at_once(counts):
    """By the pace of the last departures; one for each thread may wait whatever the pace."""
    gate = limits.Gate(1, 30, 0.2, counts.note)
    gate.enter("/", "GET")
    started = [Asking(gate, "/c/points") for _ in range(4)]
    waiting(gate, counts, 4)
    for left in (3, 2, 1):
        threading.Event().wait(0.3)
        gate.leave()
        until(lambda left=left: counts["waiting"] == left)
    read = Asking(gate)
    until(lambda: read.outcome)
    assert isinstance(read.outcome, limits.OverloadedError)
    assert len([one for one in started if one.outcome is None]) == 1
    load = Asking(gate, "/c/points")
    waiting(gate, counts, 2)
    for _ in range(2):
        gate.leave()
    until(lambda: load.outcome == "entered")


def test_a_slow_time_is_not_held_against_the_next(counts):
    gate = limits.Gate(1, 30, 0.5, counts.note)
    gate.FORGET_SECONDS = 0
    gate.enter("/", "GET")
    slow = [Asking(gate, "/c/points") for _ in range(2)]
    waiting(gate, counts, 2)
    for left in (1, 0):
        threading.Event().wait(0.3)
        gate.leave()
        until(lambda left=left: counts["waiting"] == left)
    assert [one.outcome for one in slow] == ["entered"] * 2
    gate.leave()
    gate.enter("/", "GET")
    reads = [Asking(gate, "/c/points"), Asking(gate, "/c/points")]
    waiting(gate, counts, 2)
    read = Asking(gate)
    waiting(gate, counts, 3)
    for _ in range(3):
        gate.leave()
    until(lambda: read.outcome == "entered")
    assert [one.outcome for one in reads] == ["entered"] * 2
    assert "shed" not in counts


def test_a_bucket_gives_its_burst_then_its_rate():
    rates, limit = limits.Rates(), limits.limit_of("someone", 0.001, 3)
    for left in (2, 1, 0):
        headers = dict(rates.admit(limit))
        assert (headers["RateLimit-Limit"], headers["RateLimit-Remaining"]) == ("3", str(left))
    with pytest.raises(limits.RateLimitedError) as refused:
        rates.admit(limit)
    assert 900 < refused.value.retry_after_seconds <= 1000
    assert dict(refused.value.headers)["RateLimit-Remaining"] == "0"
    rates.admit(limits.limit_of("someone else", 0.001, 1))
    fast = limits.limit_of("fast", 200, 1)
    rates.admit(fast)
    with pytest.raises(limits.RateLimitedError):
        for _ in range(100):
            rates.admit(fast)

    def again():
        try:
            return rates.admit(fast)
        except limits.RateLimitedError:
            return None

    until(again)


def test_limits_of_callers():
    assert limits.limit_of("a", 0, 5) is None
    assert limits.limit_of("a", None, 5) is None
    assert limits.limit_of("a", 2.5, None).burst == 3
    assert limits.limit_of("a", 0.1, 0).burst == 1
    assert limits.limit_of("a", 1, 1).key != limits.limit_of("b", 1, 1).key


def test_more_callers_than_there_are_buckets():
    """Each keeps to its own limit as long as its bucket is known; nothing fails beyond."""
    rates = limits.Rates()
    rates.GROUPS = 1
    callers = [limits.limit_of(str(at), 0.001, 1) for at in range(limits.Rates.ENTRIES)]
    for caller in callers:
        rates.admit(caller)
    for caller in callers:
        with pytest.raises(limits.RateLimitedError):
            rates.admit(caller)
    # The bucket that is nearest to full makes room: its caller is forgiven, the newest is not.
    rates.admit(limits.limit_of("one more", 0.001, 1))
    with pytest.raises(limits.RateLimitedError):
        rates.admit(callers[-1])
    rates.admit(callers[0])


def test_a_key_with_a_limit(client):
    made = client.post("api-keys", {"name": "slow", "requests_per_second": 0.001, "burst": 2})
    assert made.status == 201, made
    assert (made.json["requests_per_second"], made.json["burst"]) == (0.001, 2)
    key = Client(client.application, None)
    key.headers = {"Api-Key": made.json["key"]}
    first = key.get("collections")
    assert first.status == 200
    assert {name: first.headers[f"ratelimit-{name}"] for name in ("limit", "remaining")} == {
        "limit": "2",
        "remaining": "1",
    }
    # What vendors' clients ask counts as well.
    qdrant = key.get("/qdrant/collections")
    assert (qdrant.status, qdrant.headers["ratelimit-remaining"]) == (200, "0")
    refused = key.get("collections")
    check_problem(refused, 429)
    assert refused.json["code"] == "rate_limited"
    assert int(refused.headers["retry-after"]) > 900
    assert refused.headers["ratelimit-remaining"] == "0"
    refused = key.get("/qdrant/collections")
    assert (refused.status, refused.headers["ratelimit-remaining"]) == (429, "0")
    assert int(refused.headers["retry-after"]) > 900
    assert "aindusdb_api_requests_limited_total 2" in client.get("/metrics").body.decode()
    assert client.get("collections").status == 200

    address = f"api-keys/{made.json['id']}"
    changed = client.patch(address, {"requests_per_second": 0, "name": "free"})
    assert changed.status == 200, changed
    assert (changed.json["name"], changed.json["burst"]) == ("free", 2)
    answers = [key.get("collections") for _ in range(5)]
    assert {answer.status for answer in answers} == {200}
    assert "ratelimit-limit" not in answers[0].headers
    assert client.patch(address, {}).json["name"] == "free"
    client.delete(address)
    assert client.patch(address, {"name": "x"}).status == 404


def test_a_limit_of_all(client, settings):
    """JWT subjects, and keys that say nothing else."""
    settings.VECTORS = settings.VECTORS | {"rate_limit": 1, "rate_burst": 2}
    free = client.post("api-keys", {"name": "free", "requests_per_second": 0}).json
    plain = client.post("api-keys", {"name": "plain"}).json
    anyone = Client(client.application, None)
    for headers, most in (
        ({"Authorization": f"Bearer {token(sub='limited-1')}"}, "2"),
        ({"Authorization": f"Bearer {token(sub='limited-2')}"}, "2"),
        ({"Api-Key": plain["key"]}, "2"),
        ({"Api-Key": free["key"]}, None),
    ):
        answers = [anyone.get("collections", headers=headers) for _ in range(8)]
        assert answers[0].headers.get("ratelimit-limit") == most
        assert (429 in {answer.status for answer in answers}) is (most is not None)
    for key in (free, plain):
        client.delete(f"api-keys/{key['id']}")


@pytest.mark.parametrize(
    "body",
    [{"requests_per_second": -1}, {"burst": 0}, {"burst": 1.5}, {"requests_per_second": "x"}, {"name": " "}],
)
def test_wrong_limits(client, body):
    field = next(iter(body))
    made = client.post("api-keys", {"name": "x"}).json
    answers = [client.patch(f"api-keys/{made['id']}", body), client.post("api-keys", {"name": "x"} | body)]
    client.delete(f"api-keys/{made['id']}")
    for answer in answers:
        check_problem(answer, 422)
        assert answer.json["errors"][0]["field"] == field


def test_a_request_says_how_long_it_may_take(client, collection, pool):
    name = collection(2, "l2")
    table = f"vectors_data.p_{ids.decode('col', client.get(f'collections/{name}').json['id']).hex}"
    body, short = {"vector": [1, 2]}, {"X-Timeout-Ms": "50"}
    with psycopg.connect(pool.conninfo) as db:
        db.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        answer = client.post(f"collections/{name}/query", body, headers=short)
        assert (answer.status, answer.json["code"]) == (503, "timeout")
        assert answer.headers["x-retry-elsewhere"] == "no"
        query = {"query": [1, 2], "limit": 1}
        assert client.post(f"/qdrant/collections/{name}/points/query", query, headers=short).status == 503
    # It held for that request alone, on the same connection.
    with pool.connection() as connection:
        shown = connection.db.execute("SHOW statement_timeout").fetchone()
        assert (shown, connection.timeout_ms) == (("30s",), 30_000)
    assert client.post(f"collections/{name}/query", body, headers={"X-Timeout-Ms": "99999"}).status == 200
    with database.timeout(99_999), pool.connection() as connection:
        assert connection.db.execute("SHOW statement_timeout").fetchone() == ("30s",)
    with database.timeout(1500), pool.connection() as connection:
        assert connection.db.execute("SHOW statement_timeout").fetchone() == ("1500ms",)
    for wrong in ("0", "-1", "1.5", "x", "", "9" * 30):
        answer = client.post(f"collections/{name}/query", body, headers={"X-Timeout-Ms": wrong})
        check_problem(answer, 422)
        assert answer.json["errors"][0]["field"] == "X-Timeout-Ms"


class Asked:
    """A call to a server, answered in a thread of its own."""

    def __init__(self, server, *call):
        self.answer = None
        self.thread = threading.Thread(target=self.ask, args=[server, *call], daemon=True)
        self.thread.start()

    def ask(self, server, *call):
        self.answer = server.call(*call, timeout=60)


def test_a_full_replica_refuses_and_goes_on(serve, vectors_url):  # noqa: F811
    """Two at work, three waiting: the next is refused, probes are answered, what waited is done."""
    server = serve("--no-runner", "--threads", "2", AINDUS_QUEUE_REQUESTS="3", AINDUS_QUEUE_MS="60000")
    server.ready()
    found = server.call("POST", "collections", {"name": "full", "dimension": 2, "metric": "l2"})[1]
    table = f"vectors_data.p_{ids.decode('col', found['id']).hex}"
    upsert = ("POST", "collections/full/points", {"points": [{"id": "a", "vector": [1, 2]}]})
    try:

        def metrics():
            lines = server.call("GET", "/metrics")[1].decode().splitlines()
            return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))

        with psycopg.connect(vectors_url) as db:
            db.execute(f"LOCK TABLE {table} IN SHARE MODE")
            asked = [Asked(server, *upsert) for _ in range(5)]
            until(lambda: metrics()["aindusdb_api_requests_waiting"] == "3")
            for _ in range(20):
                status, problem, headers = server.call(*upsert)
                assert (status, problem["code"]) == (429, "overloaded")
                assert headers["Content-Type"] == "application/problem+json"
                assert int(headers["Retry-After"]) == problem["retry_after"] >= 1
                assert headers["X-Retry-Elsewhere"] == "yes"
                assert headers["X-Request-Id"] == problem["request_id"]
                assert server.call("GET", "/health")[0] == 200
                assert server.call("GET", "/ready")[0] == 200
            assert metrics()["aindusdb_api_requests_shed_total"] == "20"
            assert all(one.answer is None for one in asked)
        for one in asked:
            one.thread.join(timeout=30)
        assert [one.answer[0] for one in asked] == [200] * 5
        assert server.call(*upsert)[0] == 200
        until(lambda: metrics()["aindusdb_api_requests_waiting"] == "0")
        assert "overloaded: refused" in server.log.read_text()
    finally:
        server.call("DELETE", "collections/full")


def test_kept_connections_keep_nobody_out(serve):  # noqa: F811
    server = serve("--no-runner")
    server.ready()
    kept = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(300)]
    try:
        assert server.call("GET", "/health")[0] == 200
        assert server.call("GET", "collections")[0] == 200
    finally:
        for connection in kept:
            connection.close()


def test_a_limit_is_exact_across_processes(serve):  # noqa: F811
    server = serve("--no-runner", "--workers", "2")
    server.ready()
    body = {"name": "shared", "requests_per_second": 0.001, "burst": 25}
    made = server.call("POST", "api-keys", body)[1]
    statuses = []

    def ask():
        # A connection each, so that both processes are asked.
        for _ in range(5):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            connection.request("GET", "/api/v1/vectors/collections", headers={"Api-Key": made["key"]})
            response = connection.getresponse()
            json.loads(response.read())
            statuses.append(response.status)
            connection.close()

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.call("DELETE", f"api-keys/{made['id']}")
    assert sorted(statuses) == [200] * 25 + [429] * 35
