"""The gateway against real HTTP servers that stand for replicas."""

import asyncio
import json
import time
from functools import partial

import jwt
import pytest
import pytest_asyncio
from aiohttp import web
from django.test import override_settings

from controlplane import actors
from controlplane.models import Membership, Project, Role, User
from controlplane.services import api_key_create, api_key_revoke
from controlplane.threads import in_database
from deployments.gateway.asgi import Gateway
from deployments.gateway.calls import call_of
from deployments.models import Replica
from tests.api.conftest import JWT_SECRET, make_release, make_replica, make_target

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.asyncio]


def in_thread(function):
    """The function as a coroutine; its database connection is closed, so that the test's database can go."""
    return partial(in_database, function)


class Upstream:
    """A replica: notes what it is asked, and answers as its `behaviour` says."""

    def __init__(self):
        self.asked = []
        self.behaviour = self.echo
        self.runner = None
        self.port = 0

    async def start(self, port: int = 0):
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{path:.*}", self.handle)
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", port)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]
        return self

    async def stop(self):
        if self.runner:
            await self.runner.cleanup()
            self.runner = None

    async def handle(self, request):
        body = await request.read()
        self.asked.append(
            (request.method, request.raw_path, {n.lower(): v for n, v in request.headers.items()}, body)
        )
        return await self.behaviour(request, body)

    async def echo(self, request, body):
        return web.json_response({"port": self.port, "bytes": len(body)}, headers={"X-Kept": "yes"})

    async def reset(self, request, body):
        request.transport.abort()
        await asyncio.sleep(1)

    async def silent(self, request, body):
        await asyncio.sleep(30)

    async def busy(self, request, body):
        return web.json_response({"code": "overloaded"}, status=503)

    async def full(self, request, body):
        return web.json_response({"code": "overloaded"}, status=429, headers={"X-Retry-Elsewhere": "yes"})

    async def limited(self, request, body):
        return web.json_response({"code": "rate_limited"}, status=429)

    async def gave_up(self, request, body):
        return web.json_response({"code": "timeout"}, status=503, headers={"X-Retry-Elsewhere": "no"})

    async def cut(self, request, body):
        answer = web.StreamResponse(headers={"Content-Length": "1000"})
        await answer.prepare(request)
        await answer.write(b"x" * 10)
        request.transport.abort()
        return answer


class Answer:
    def __init__(self, status, headers, body):
        self.status_code, self.headers, self.content = status, headers, body

    def json(self):
        return json.loads(self.content)


class Caller:
    """Sends requests into the ASGI callable."""

    def __init__(self, gateway, token=""):
        self.gateway, self.token = gateway, token

    async def __call__(
        self,
        method,
        path,
        body=b"",
        query=b"",
        part_bytes=0,
        part_seconds=0,
        headers=(),
        leave_after=None,
    ):
        raw = f"/api/v1/targets/{path}".encode()
        given = [(b"host", b"testserver"), *headers]
        if self.token:
            given.append((b"authorization", f"Bearer {self.token}".encode()))
        if body and part_bytes == 0:
            given.append((b"content-length", str(len(body)).encode()))
        size = part_bytes or max(len(body), 1)
        parts = [body[at : at + size] for at in range(0, len(body), size)] or [b""]
        messages = [
            {"type": "http.request", "body": part, "more_body": index < len(parts) - 1}
            for index, part in enumerate(parts)
        ]
        sent = []

        async def receive():
            if messages:
                await asyncio.sleep(part_seconds)
                return messages.pop(0)
            await asyncio.sleep(3600 if leave_after is None else leave_after)
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "path": raw.decode(),
            "raw_path": raw,
            "query_string": query,
            "headers": given,
            "client": ("203.0.113.9", 4711),
            "server": ("testserver", 80),
            "scheme": "http",
        }
        await self.gateway(scope, receive, send)
        if not sent:
            return None
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Answer(sent[0]["status"], headers, b"".join(m.get("body", b"") for m in sent[1:]))


@pytest_asyncio.fixture
async def gateway():
    gateway = Gateway()
    yield gateway
    await gateway.shutdown()


@pytest.fixture
def target(transactional_db):
    project = Project.objects.create(name="default")
    return make_target(project, release=make_release(project))


@pytest_asyncio.fixture
async def upstreams(target):
    started = [await Upstream().start() for _ in range(2)]
    for one in started:
        await in_thread(make_replica)(target, one.port)
    yield started
    for one in started:
        await one.stop()


@pytest_asyncio.fixture
async def call(gateway, target):
    _, text = await in_thread(api_key_create)(
        project=target.project, name="ci", role="operator", created_by="test"
    )
    return Caller(gateway, text)


def problem(answer, status, code):
    assert answer.status_code == status, answer.content
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["code"] == code, body
    assert body["request_id"] == answer.headers["x-request-id"]
    if status == 503:
        assert body["retry_after"] == int(answer.headers["retry-after"]) > 0
    return body


QUERY = "alpha/vectors/collections/docs/query"


async def test_forwards_with_a_token_of_the_callers_role(call, upstreams, target):
    answer = await call(
        "POST",
        f"{target.pk}/vectors/collections/docs/query",
        b'{"top_k": 1}',
        query=b"a=b%20c",
        headers=[
            (b"content-type", b"application/json"),
            (b"x-request-id", b"trace-7"),
            (b"connection", b"close, x-secret"),
            (b"x-secret", b"1"),
            (b"cookie", b"sessionid=1"),
            (b"x-forwarded-for", b"198.51.100.1"),
        ],
    )
    assert answer.status_code == 200
    assert answer.headers["x-kept"] == "yes"
    assert answer.headers["x-request-id"] == "trace-7"
    assert answer.headers["x-replica"].startswith("rep_")
    assert "transfer-encoding" not in answer.headers
    [(method, path, headers, body)] = [asked for one in upstreams for asked in one.asked]
    assert (method, path, body) == ("POST", "/api/v1/vectors/collections/docs/query?a=b%20c", b'{"top_k": 1}')
    assert headers["x-request-id"] == "trace-7"
    assert headers["x-forwarded-for"] == "198.51.100.1, 203.0.113.9"
    assert headers["x-forwarded-proto"] == "http"
    assert not {"cookie", "x-secret"} & set(headers)
    claims = jwt.decode(headers["authorization"].removeprefix("Bearer "), JWT_SECRET, algorithms=["HS256"])
    assert (claims["sub"], claims["role"]) == ("key:ci", "operator")
    assert 60 < claims["exp"] - time.time() <= 300


async def test_addresses_in_answers_lead_through_the_gateway(call, upstreams):
    async def created(request, body):
        return web.json_response({}, status=201, headers={"Location": "/api/v1/vectors/collections/docs"})

    for one in upstreams:
        one.behaviour = created
    answer = await call("POST", "alpha/vectors/collections", b"{}")
    assert answer.headers["location"] == "/api/v1/targets/alpha/vectors/collections/docs"


async def test_spreads_over_the_replicas(call, upstreams):
    for _ in range(10):
        assert (await call("POST", QUERY)).status_code == 200
    assert [len(one.asked) for one in upstreams] == [5, 5]


async def test_a_replica_that_is_gone_costs_no_request(call, upstreams):
    await asyncio.gather(*[call("POST", QUERY) for _ in range(20)])
    await upstreams[0].stop()
    answers = await asyncio.gather(*[call("POST", QUERY) for _ in range(50)])
    assert {answer.status_code for answer in answers} == {200}
    # Refused connections reach nobody, so they are tried elsewhere whatever the call is.
    answers = await asyncio.gather(*[call("POST", "alpha/vectors/collections", b"{}") for _ in range(10)])
    assert {answer.status_code for answer in answers} == {200}


async def test_killed_and_replaced_under_load_without_a_failure(call, upstreams, target):
    statuses = []
    over = asyncio.Event()

    async def load():
        while not over.is_set():
            statuses.append((await call("POST", QUERY, b"{}")).status_code)

    loads = [asyncio.create_task(load()) for _ in range(8)]
    for _ in range(3):
        port = upstreams[0].port
        async with asyncio.timeout(30):
            # It is left out for a while after it could not be reached.
            while not upstreams[0].runner.server.connections:
                await asyncio.sleep(0.01)
        upstreams[0].runner.server.connections[0].transport.abort()
        await upstreams[0].stop()
        await asyncio.sleep(0.3)
        await upstreams[0].start(port)
        replica = await in_thread(Replica.objects.get)(port=upstreams[1].port, status="ready")
        await in_thread(Replica.objects.filter(pk=replica.pk).update)(status="draining")
        await asyncio.sleep(1.3)
        asked = len(upstreams[1].asked)
        await asyncio.sleep(0.2)
        assert len(upstreams[1].asked) == asked, "a draining replica is sent nothing"
        await in_thread(Replica.objects.filter(pk=replica.pk).update)(status="ready")
        await asyncio.sleep(1.2)
    over.set()
    await asyncio.gather(*loads)
    assert len(statuses) > 100
    assert set(statuses) == {200}


async def test_a_lost_answer_is_asked_for_again_only_when_that_is_safe(call, upstreams):
    upstreams[0].behaviour = upstreams[0].reset
    for _ in range(4):
        assert (await call("POST", QUERY)).status_code == 200
    assert (await call("POST", "alpha/vectors/collections/docs/points", b"{}")).status_code == 200
    statuses = {(await call("POST", "alpha/vectors/collections", b"{}")).status_code for _ in range(2)}
    assert statuses == {200, 503}
    created = [asked for one in upstreams for asked in one.asked if asked[1].endswith("/collections")]
    assert len(created) == 2


async def test_three_tries_in_all(call, upstreams):
    for one in upstreams:
        one.behaviour = one.reset
    body = problem(await call("POST", QUERY), 503, "replica_did_not_answer")
    assert sum(len(one.asked) for one in upstreams) == 3
    assert "the connection was lost" in body["detail"]


async def test_an_answer_that_breaks_off_is_asked_for_elsewhere(call, upstreams):
    upstreams[0].behaviour = upstreams[0].cut
    for _ in range(4):
        answer = await call("POST", QUERY)
        assert answer.json()["port"] == upstreams[1].port


async def test_a_busy_replica_is_left_for_another(call, upstreams):
    upstreams[0].behaviour = upstreams[0].busy
    for _ in range(4):
        assert (await call("POST", QUERY)).status_code == 200
    upstreams[1].behaviour = upstreams[1].busy
    answer = await call("POST", QUERY)
    assert answer.status_code == 503 and answer.json() == {"code": "overloaded"}


async def test_a_full_replica_is_left_for_one_other(call, upstreams):
    """Whatever the call: it did nothing. When the other is full as well, that is the answer."""
    upstreams[0].behaviour = upstreams[0].full
    for path in (QUERY, "alpha/vectors", "alpha/vectors/collections"):
        for _ in range(3):
            assert (await call("POST", path)).status_code == 200
    upstreams[1].behaviour = upstreams[1].full
    for one in upstreams:
        one.asked.clear()
    answer = await call("POST", QUERY)
    assert (answer.status_code, answer.json()) == (429, {"code": "overloaded"})
    assert sum(len(one.asked) for one in upstreams) == 2


async def test_what_no_replica_would_answer_better_is_asked_once(call, upstreams):
    """A key's limit, and a statement that takes the database too long."""
    for behaviour, status in (("limited", 429), ("gave_up", 503)):
        for one in upstreams:
            one.behaviour = getattr(one, behaviour)
            one.asked.clear()
        assert (await call("POST", QUERY)).status_code == status
        assert sum(len(one.asked) for one in upstreams) == 1


@pytest.mark.parametrize(
    ("path", "given", "sent"),
    [
        (QUERY, None, "1800"),
        (QUERY, "50", "50"),
        (QUERY, "1799", "1799"),
        (QUERY, "60000", "1800"),
        (QUERY, "9" * 100, "1800"),
        (QUERY, "soon", "soon"),
        ("alpha/vectors/collections/docs/points", None, "54000"),
        ("alpha/vectors/collections/docs/index", None, None),
        ("alpha/vectors/collections/docs/index", "70", "70"),
    ],
)
async def test_the_database_is_told_how_long_a_try_takes(call, upstreams, path, given, sent):
    headers = [(b"x-timeout-ms", given.encode())] if given else []
    assert (await call("POST", path, b"{}", headers=headers)).status_code == 200
    [(_, _, headers, _)] = [asked for one in upstreams for asked in one.asked]
    assert headers.get("x-timeout-ms") == sent


async def test_a_silent_replica_is_given_two_seconds(call, upstreams):
    upstreams[0].behaviour = upstreams[0].silent
    began = time.monotonic()
    answers = await asyncio.gather(*[call("POST", QUERY) for _ in range(4)])
    assert {answer.status_code for answer in answers} == {200}
    assert 1.9 < time.monotonic() - began < 4.5


async def test_no_ready_replica_tells_why(call, target):
    replica = await in_thread(make_replica)(target, 19009, "unready", reason="the database does not answer")
    body = problem(await call("GET", "alpha/vectors/collections"), 503, "no_ready_replica")
    assert "the database does not answer" in body["detail"]
    assert body["replicas"] == [
        {"id": replica.pk, "status": "unready", "reason": "the database does not answer"}
    ]


async def test_no_connection_to_any(call, target):
    await in_thread(make_replica)(target, 1)
    problem(await call("POST", QUERY), 503, "replica_did_not_answer")


async def test_large_bodies_are_streamed(call, upstreams, monkeypatch):
    monkeypatch.setattr("deployments.gateway.asgi.BUFFERED_BYTES", 100_000)
    for part_bytes in (0, 64_000):
        answer = await call(
            "POST", "alpha/vectors/collections/docs/points", b"x" * 1_000_000, part_bytes=part_bytes
        )
        assert answer.json()["bytes"] == 1_000_000
    # What was streamed cannot be sent again.
    for one in upstreams:
        one.behaviour = one.reset
    answer = await call("POST", "alpha/vectors/collections/docs/points", b"x" * 1_000_000)
    problem(answer, 503, "replica_did_not_answer")


async def test_a_streamed_body_may_take_as_long_as_it_moves(call, upstreams, monkeypatch):
    monkeypatch.setattr("deployments.gateway.asgi.BUFFERED_BYTES", 100)
    monkeypatch.setattr("deployments.gateway.calls.OTHER_SECONDS", 0.5)
    answer = await call("PUT", "alpha/vectors/uploads/u", b"x" * 1000, part_bytes=100, part_seconds=0.1)
    assert answer.json()["bytes"] == 1000
    stuck = await call("PUT", "alpha/vectors/uploads/u", b"x" * 1000, part_bytes=300, part_seconds=1.0)
    problem(stuck, 503, "replica_did_not_answer")


async def test_a_streamed_body_goes_elsewhere_when_no_connection_was_made(call, upstreams, monkeypatch):
    monkeypatch.setattr("deployments.gateway.asgi.BUFFERED_BYTES", 1000)
    await upstreams[0].stop()
    for _ in range(4):
        answer = await call("POST", "alpha/vectors/collections/docs/points", b"x" * 50_000)
        assert answer.json()["bytes"] == 50_000


async def test_large_answers_are_streamed(call, upstreams):
    async def large(request, body):
        answer = web.StreamResponse()
        await answer.prepare(request)
        for _ in range(100):
            await answer.write(b"y" * 65536)
        return answer

    for one in upstreams:
        one.behaviour = large
    answer = await call("GET", "alpha/vectors/collections")
    assert len(answer.content) == 100 * 65536


async def test_a_caller_who_leaves_ends_the_work(call, upstreams):
    for one in upstreams:
        one.behaviour = one.silent
    began = time.monotonic()
    assert await call("POST", QUERY, leave_after=0.1) is None
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    "path",
    [
        "alpha/vectors/../../../metrics",
        "alpha/vectors/%2e%2e/%2e%2e/metrics",
        "alpha/vectors/..%2f..%2fmetrics",
        "alpha/vectors/a/.%2e/b",
        "alpha/vectors/%5c..%5c..",
        "alpha/vectors/a%00b",
        "alpha/vectorsx",
        "alpha%2fvectors",
    ],
)
async def test_only_paths_of_the_vector_api(call, upstreams, path):
    problem(await call("GET", path), 404, "unknown_address")
    assert not any(one.asked for one in upstreams)


async def test_odd_point_ids_stay_as_they_were_sent(call, upstreams):
    await call("GET", "alpha/vectors/a%20b%2Fc%3F")
    assert [asked[1] for one in upstreams for asked in one.asked] == ["/api/v1/vectors/a%20b%2Fc%3F"]


async def test_who_may(gateway, target, upstreams):
    problem(await Caller(gateway)("POST", QUERY), 401, "unauthenticated")
    problem(await Caller(gateway, "ak_wrong")("POST", QUERY), 401, "invalid_token")
    other = await in_thread(Project.objects.create)(name="other")
    _, text = await in_thread(api_key_create)(project=other, name="ci", role="admin", created_by="t")
    problem(await Caller(gateway, text)("POST", QUERY), 404, "not_found")
    problem(await Caller(gateway, text)("POST", f"{target.pk}/vectors/search"), 404, "not_found")
    key, text = await in_thread(api_key_create)(
        project=target.project, name="v", role="viewer", created_by="t"
    )
    call = Caller(gateway)
    assert (await call("POST", QUERY, headers=[(b"api-key", text.encode())])).status_code == 200
    await in_thread(api_key_revoke)(key=key, revoked_by="t")
    problem(await call("POST", QUERY, headers=[(b"api-key", text.encode())]), 401, "invalid_token")


async def test_the_dashboards_session_needs_the_csrf_token(gateway, target, upstreams):
    def sign_in():
        from django.test import Client

        user = User.objects.create_user("ada", password="x")
        Membership.objects.create(user=user, project=target.project, role=Role.VIEWER)
        client = Client()
        client.force_login(user)
        return client.cookies["sessionid"].value

    cookie = f"sessionid={await in_thread(sign_in)()}"
    call = Caller(gateway)
    answer = await call("GET", "alpha/vectors/collections", headers=[(b"cookie", cookie.encode())])
    assert answer.status_code == 200
    problem(await call("POST", QUERY, headers=[(b"cookie", cookie.encode())]), 403, "csrf_failed")
    token = "a" * 32
    headers = [(b"cookie", f"{cookie}; csrftoken={token}".encode()), (b"x-csrftoken", token.encode())]
    assert (await call("POST", QUERY, headers=headers)).status_code == 200
    problem(
        await call("GET", "alpha/vectors/collections", headers=[(b"cookie", b"sessionid=nobody")]),
        401,
        "unauthenticated",
    )


async def test_a_target_that_refuses_our_token(call, upstreams):
    async def refuses(request, body):
        return web.json_response({}, status=401)

    for one in upstreams:
        one.behaviour = refuses
    problem(await call("POST", QUERY), 503, "target_refused_token")


@override_settings(GATEWAY_REFRESH_SECONDS=0.1)
async def test_the_last_known_replicas_serve_while_the_database_is_away(
    call, gateway, upstreams, monkeypatch
):
    assert (await call("POST", QUERY)).status_code == 200
    monkeypatch.setattr(actors, "REMEMBERED_SECONDS", 60.0)

    def fails(ids):
        raise OSError("no database")

    monkeypatch.setattr(gateway.resources.table, "_read", fails)
    for _ in range(5):
        await asyncio.sleep(0.1)
        assert (await call("POST", QUERY)).status_code == 200


@override_settings(GATEWAY_REFRESH_SECONDS=0.1)
async def test_a_renamed_or_destroyed_target_is_noticed(call, upstreams, target):
    assert (await call("POST", QUERY)).status_code == 200
    target.name = "beta"
    await in_thread(target.save)()
    await asyncio.sleep(0.5)
    problem(await call("POST", QUERY), 404, "not_found")
    assert (await call("POST", "beta/vectors/search")).status_code == 200


async def test_calls_and_their_nature():
    def nature(method, path):
        call = call_of(method, f"/api/v1/targets/t/vectors{path}".encode())
        return call.kind, call.repeatable, call.try_seconds

    assert nature("GET", "/collections") == ("read", True, 2.0)
    for verb in ("export", "checksum", "projection"):
        assert nature("GET", f"/collections/c/{verb}") == ("read", True, 300.0)
    assert nature("PUT", "/uploads/u") == ("other", False, 300.0)
    for verb in ("query", "fetch", "count", "scroll"):
        assert nature("POST", f"/collections/c/{verb}") == ("read", True, 2.0)
    assert nature("POST", "/search") == ("read", True, 2.0)
    assert nature("POST", "/collections/c/points") == ("write", True, 60.0)
    for method, path in [
        ("POST", ""),
        ("POST", "/collections"),
        ("DELETE", "/collections/c"),
        ("DELETE", "/x"),
    ]:
        assert nature(method, path) == ("other", False, 300.0)
    assert nature("POST", "/collections/c/index") == ("other", False, 300.0)
