"""Vendors' clients through the gateway: their addresses, keys, and errors in their shape.

tests/sdk runs the clients themselves against it.
"""

import json

import pytest
from aiohttp import web

from deployments.gateway.calls import call_of, dialect_of
from tests.api.test_gateway import call, gateway, target, upstreams  # noqa: F401
from vectors.compat import pinecone_data, qdrant_points

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.asyncio]
ROOT = "/api/v1/targets/alpha/vectors"


def nature(method, path):
    found = call_of(method, f"{ROOT}{path}".encode())
    return found.kind, found.repeatable


async def test_a_dialect_is_called_at_the_target_s_root():
    found = call_of("POST", f"{ROOT}/pinecone/indexes/a%20b/query".encode())
    assert (found.target, found.path, found.root) == ("alpha", "/pinecone/indexes/a%20b/query", ROOT)
    assert (found.kind, found.repeatable, found.try_seconds) == ("read", True, 2.0)
    assert call_of("GET", f"{ROOT}/qdrant".encode()).path == "/qdrant"
    assert call_of("GET", f"{ROOT}/qdrant/".encode()).path == "/qdrant/"
    for own in ("", "/collections/qdrant", "/qdrantx", "/xpinecone/indexes"):
        assert call_of("GET", f"{ROOT}{own}".encode()).path == f"/api/v1/vectors{own}"
        assert dialect_of(f"{ROOT}{own}".encode()) == ""
    assert dialect_of(b"/api/v1/pinecone") == ""


@pytest.mark.parametrize("dialect", [pinecone_data.dialect, qdrant_points.dialect], ids=lambda one: one.name)
async def test_what_may_be_repeated_is_what_the_dialects_serve(dialect):
    """What needs only the viewer's role reads; what writes points may be done twice; the rest may not."""
    for pattern in dialect.patterns:
        address = "/".join(pattern.parts).replace("{rest}", "x").replace("{}", "x")
        kind, repeatable = nature(pattern.method, f"/{dialect.name}/{address}")
        where = f"{pattern.method} {address}"
        if "records" in pattern.parts:
            # Refused, whatever is asked.
            continue
        if pattern.route.role == "viewer":
            assert (kind, repeatable) == ("read", True), where
        elif {"vectors", "points"} & set(pattern.parts):
            assert (kind, repeatable) == ("write", True), where
        else:
            assert (kind, repeatable) == ("other", False), where


async def test_the_target_is_told_where_its_client_is(call, upstreams):  # noqa: F811
    headers = [(b"host", b"control.example.org"), (b"x-forwarded-prefix", b"/outer/")]
    for given, told in (([], ROOT), (headers[1:], f"/outer{ROOT}")):
        await call("GET", "alpha/vectors/pinecone/indexes", headers=[headers[0], *given])
        [(method, path, sent, _)] = [asked for one in upstreams for asked in one.asked]
        assert (method, path) == ("GET", "/pinecone/indexes")
        assert sent["x-forwarded-prefix"] == told
        assert sent["x-forwarded-host"] == "control.example.org"
        for one in upstreams:
            one.asked.clear()
    await call("GET", "alpha/vectors/collections", headers=headers)
    [(_, _, sent, _)] = [asked for one in upstreams for asked in one.asked]
    assert "x-forwarded-prefix" not in sent


@pytest.mark.parametrize("name", [b"api-key", b"Api-Key", b"authorization"])
async def test_the_control_plane_s_key_as_the_clients_send_it(call, upstreams, name):  # noqa: F811
    key, call.token = call.token, ""
    value = f"Bearer {key}" if name == b"authorization" else key
    answer = await call("GET", "alpha/vectors/qdrant/collections", headers=[(name.lower(), value.encode())])
    assert answer.status_code == 200
    [(_, _, sent, _)] = [asked for one in upstreams for asked in one.asked]
    assert "api-key" not in sent and key not in sent["authorization"]


async def test_reads_are_tried_on_another_replica(call, upstreams):  # noqa: F811
    upstreams[0].behaviour = upstreams[0].reset
    for path in (
        "pinecone/indexes/i/query",
        "qdrant/collections/c/points/query",
        "pinecone/indexes/i/vectors/upsert",
    ):
        for _ in range(3):
            assert (await call("POST", f"alpha/vectors/{path}", b"{}")).status_code == 200
    made = [(await call("POST", "alpha/vectors/pinecone/indexes", b"{}")).status_code for _ in range(2)]
    assert sorted(made) == [200, 503]


async def shape_of(call, path, status, **more):  # noqa: F811
    """The body of an error in both dialects' shapes."""
    found = []
    for dialect in ("pinecone", "qdrant"):
        answer = await call("GET", path.format(f"vectors/{dialect}/x"), **more)
        assert answer.status_code == status, answer.content
        assert answer.headers["content-type"] == "application/json"
        body = json.loads(answer.content)
        assert body["request_id"] == answer.headers["x-request-id"]
        if status == 503:
            assert body["retry_after"] == int(answer.headers["retry-after"]) > 0
        found.append(body)
    return found


async def test_errors_of_the_gateway_have_the_dialect_s_shape(call, target):  # noqa: F811
    pinecone, qdrant = await shape_of(call, "alpha/{}", 503)
    assert pinecone["error"]["code"] == "UNAVAILABLE" and pinecone["code"] == 14
    assert "No replica of alpha is ready" in pinecone["message"] == pinecone["error"]["message"]
    assert "No replica of alpha is ready" in qdrant["status"]["error"] and qdrant["time"] == 0.0
    pinecone, qdrant = await shape_of(call, "nobody/{}", 404)
    assert pinecone["error"]["code"] == "NOT_FOUND" and qdrant["status"]["error"].startswith("Not found: ")
    call.token = "wrong"
    pinecone, qdrant = await shape_of(call, "alpha/{}", 401)
    assert (pinecone["error"]["code"], pinecone["code"], pinecone["status"]) == ("UNAUTHENTICATED", 16, 401)


async def test_a_target_s_own_errors_come_as_they_are(call, upstreams):  # noqa: F811
    async def refused(request, body):
        return web.json_response({"error": {"code": "ABORTED"}}, status=409)

    for one in upstreams:
        one.behaviour = refused
    answer = await call("POST", "alpha/vectors/pinecone/indexes", b"{}")
    assert (answer.status_code, answer.json()) == (409, {"error": {"code": "ABORTED"}})
