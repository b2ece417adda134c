"""The same calls as ordinary Django views, as the control plane's web role serves them."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.test import AsyncClient, Client, RequestFactory

from controlplane.errors import UnauthenticatedError
from tests.vectors.conftest import JWT_KEY, token
from vectors import auth, urls, views


def authenticate(request):
    """Stands for the control plane's sessions and API keys."""
    role = request.META.get("HTTP_X_ROLE")
    if role is None:
        raise UnauthenticatedError()
    return auth.Principal("someone", role)


@pytest.fixture
def call(pool, settings):
    settings.VECTORS = settings.VECTORS | {"jwt_secret_key": JWT_KEY}
    settings.VECTORS_AUTHENTICATE = ""

    def call(method, path, body=None, **headers):
        request = RequestFactory(enforce_csrf_checks=True).generic(
            method,
            f"/api/v1/vectors/{path}",
            b"" if body is None else json.dumps(body),
            content_type=headers.pop("Content-Type", "application/json"),
            headers=headers,
        )
        match = urls.urlpatterns[-1].resolve(path)
        return match.func(request, **match.kwargs)

    return call


def test_the_targets_own_authentication_by_default(call):
    bearer = {"Authorization": f"Bearer {token('operator')}"}
    made = call("POST", "collections", {"name": "viewed", "dimension": 2}, **bearer)
    assert made.status_code == 201, made.content
    try:
        points = {"points": [{"id": "a", "vector": [1, 2]}]}
        assert call("POST", "collections/viewed/points", points, **bearer).status_code == 200
        answer = call("POST", "collections/viewed/query", {"vector": [1, 2]}, **bearer)
        assert json.loads(answer.content)["matches"][0]["id"] == "a"
        assert answer["Content-Type"] == "application/json"
        assert answer["X-Request-Id"]
        refused = call("GET", "collections/viewed")
        assert refused.status_code == 401
        assert refused["Content-Type"] == "application/problem+json"
        assert call("GET", "api-keys", **bearer).status_code == 403
        bad = call("POST", "collections/viewed/query", {"vector": [1]}, **bearer)
        assert bad.status_code == 422
        assert json.loads(bad.content)["errors"][0]["field"] == "vector"
    finally:
        assert call("DELETE", "collections/viewed", **bearer).status_code == 204


def test_points_line_by_line(call):
    bearer = {"Authorization": f"Bearer {token()}"}
    assert call("POST", "collections", {"name": "lined", "dimension": 2}, **bearer).status_code == 201
    try:
        lines = {"Content-Type": "application/x-ndjson"}
        answer = call("POST", "collections/lined/points", {"id": "a", "vector": [1, 2]}, **bearer, **lines)
        assert answer["Content-Type"] == "application/x-ndjson"
        result, summary = [json.loads(line) for line in b"".join(answer.streaming_content).splitlines()]
        assert result == {"line": 1, "id": "a", "status": "upserted"}
        assert summary["summary"]["upserted"] == 1
        answer.close()
    finally:
        call("DELETE", "collections/lined", **bearer)


def test_streams_on_an_event_loop(call, settings):
    """Part by part, as they are made: the web role runs under ASGI."""
    settings.MIDDLEWARE = []
    bearer = {"Authorization": f"Bearer {token()}"}
    call("POST", "collections", {"name": "looped", "dimension": 2, "auto_index": False}, **bearer)
    try:
        points = [{"id": f"{at:05}", "vector": [at, 1]} for at in range(3000)]
        call("POST", "collections/looped/points", {"points": points}, **bearer)

        async def export():
            answer = await AsyncClient().get("/api/v1/vectors/collections/looped/export", headers=bearer)
            assert answer["Content-Type"] == "application/x-ndjson"
            parts = [part async for part in answer.streaming_content]
            answer.close()
            return parts

        # In a thread of its own: the browser tests leave their driver's loop running in this one.
        with ThreadPoolExecutor(1) as thread:
            parts = thread.submit(asyncio.run, export()).result()
        assert len(parts) > 3
        lines = b"".join(parts).splitlines()
        assert [json.loads(line)["id"] for line in lines[:-1]] == [point["id"] for point in points]
        assert json.loads(lines[-1])["export"]["points"] == 3000
    finally:
        call("DELETE", "collections/looped", **bearer)


def test_a_body_over_the_limit(call, settings):
    settings.VECTORS = settings.VECTORS | {"max_body_bytes": 2000}
    bearer = {"Authorization": f"Bearer {token()}"}
    big = call("POST", "collections", {"name": "x" * 3000, "dimension": 2}, **bearer)
    assert big.status_code == 413


def test_an_authentication_of_the_projects_own(call, settings):
    settings.VECTORS_AUTHENTICATE = "tests.vectors.test_views.authenticate"
    views.authenticator.cache_clear()
    assert call("GET", "collections", **{"X-Role": "viewer"}).status_code == 200
    assert call("GET", "collections").status_code == 401
    # What a browser sends by itself is not enough to write.
    refused = call("POST", "collections", {"name": "x", "dimension": 2}, **{"X-Role": "admin"})
    assert refused.status_code == 403
    assert json.loads(refused.content)["code"] == "csrf"


def test_the_dialects_are_mounted_beside(pool, settings):
    """Below /api/v1/vectors of the web role, by that role's own authentication."""
    settings.MIDDLEWARE = []
    settings.VECTORS_AUTHENTICATE = "tests.vectors.test_views.authenticate"
    views.authenticator.cache_clear()
    client = Client(enforce_csrf_checks=True)
    listed = client.get("/api/v1/vectors/pinecone/indexes", headers={"X-Role": "viewer"})
    assert listed.status_code == 200
    assert listed.json().keys() == {"indexes"}
    refused = client.get("/api/v1/vectors/qdrant/collections")
    assert refused.status_code == 401
    assert refused.json()["status"]["error"]
    # A browser's session alone may not write.
    body = {"vectors": {"size": 2, "distance": "Dot"}}
    path = "/api/v1/vectors/qdrant/collections/forged"
    forged = client.put(path, body, content_type="application/json", headers={"X-Role": "admin"})
    assert forged.status_code == 403
