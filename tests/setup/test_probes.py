import asyncio

import pytest

pytestmark = pytest.mark.django_db


def test_health_and_ready(client):
    assert client.get("/health").json() == {"status": "ok"}
    answer = client.get("/ready")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ready", "checks": {"database": "ok", "schema": "ok"}}


@pytest.mark.parametrize(
    ("given", "kept"),
    [("abc-1.2:3_X", True), ("", False), ("a" * 65, False), ("a b", False), ("a\tb", False)],
)
def test_a_request_id_is_taken_or_made(client, given, kept):
    answered = client.get("/health", headers={"X-Request-Id": given})["X-Request-Id"]
    assert (answered == given) is kept
    assert answered


def test_metrics_are_for_the_machine_itself(client):
    client.get("/health")
    answer = client.get("/metrics", REMOTE_ADDR="127.0.0.1")
    assert answer.status_code == 200
    assert 'aindusdb_http_requests_total{method="GET",route="health",status="200"}' in answer.text
    assert client.get("/metrics", REMOTE_ADDR="192.0.2.7").status_code == 403
    assert (
        client.get("/metrics", REMOTE_ADDR="127.0.0.1", headers={"X-Forwarded-For": "1.2.3.4"}).status_code
        == 403
    )


def test_metrics_networks_can_be_set(client, settings):
    settings.METRICS_NETWORKS = ["192.0.2.0/24"]
    assert client.get("/metrics", REMOTE_ADDR="192.0.2.7").status_code == 200
    assert client.get("/metrics", REMOTE_ADDR="127.0.0.1").status_code == 403


async def ask(path: str) -> list[dict]:
    """The messages with which the ASGI application answers a GET."""
    from controlplane.asgi import application

    sent = []
    messages = iter([{"type": "http.request", "body": b""}])

    async def receive():
        for message in messages:
            return message
        return await asyncio.get_running_loop().create_future()

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
        "scheme": "http",
    }
    await application(scope, receive, send)
    return sent


@pytest.mark.asyncio
async def test_the_asgi_application_answers():
    start, body = (await ask("/health"))[:2]
    assert start["status"] == 200
    assert body["body"] == b'{"status": "ok"}'


@pytest.mark.asyncio
async def test_the_server_may_start_and_stop_it():
    from controlplane.asgi import application

    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent = []

    async def receive():
        return next(messages)

    async def send(message):
        sent.append(message["type"])

    await application({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
