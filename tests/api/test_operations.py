"""Operations and their events, as JSON and as a stream."""

import asyncio
import json

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from django.db import connections
from django.test import AsyncClient

from controlplane.api import streams
from controlplane.models import Project
from controlplane.services import api_key_create
from controlplane.threads import in_database
from tests.api.conftest import assert_problem
from worker import engine
from worker.models import Operation
from worker.services import operation_submit


@pytest.mark.django_db
def test_an_operation_and_its_events(viewer, world):
    shown = viewer.get(f"operations/{world.operation.pk}").json()
    assert (shown["status"], shown["label"], shown["subject"]) == ("queued", "Sample", "thing:1")
    assert shown["error"] is None and shown["url"] == f"/api/v1/operations/{world.operation.pk}"
    engine.drain()
    shown = viewer.get(f"operations/{world.operation.pk}").json()
    assert (shown["status"], shown["result"], shown["percent"]) == ("succeeded", {"answer": 42}, 100)
    page = viewer.get(f"operations/{world.operation.pk}/events").json()
    assert [event["sequence"] for event in page["items"]] == [1, 2, 3, 4]
    assert [e["outcome"] for e in page["items"]] == ["created", "started", "info", "succeeded"]
    assert page["finished"] and page["next_after"] == 4
    page = viewer.get(f"operations/{world.operation.pk}/events?after=1&limit=2").json()
    assert [event["sequence"] for event in page["items"]] == [2, 3]
    assert not page["finished"] and page["next_after"] == 3
    assert_problem(viewer.get(f"operations/{world.operation.pk}/events?after=-1"), 422, field="after")


@pytest.mark.django_db
def test_lists_filter(viewer, world):
    def count(query):
        return len(viewer.get(f"operations?{query}").json()["items"])

    assert (
        count("status=queued,running&kind=sample.api")
        == count("kind=sample.api")
        == count("subject=thing:1")
        == 1
    )
    assert count("status=failed") == count("kind=x") == 0


@pytest.mark.django_db
def test_cancel_and_retry(operator, world):
    path = f"operations/{world.operation.pk}"
    assert_problem(operator.post(f"{path}/retry"), 409, "operation_not_failed")
    answer = operator.post(f"{path}/cancel")
    assert answer.status_code == 202
    assert answer["Location"] == f"/api/v1/{path}"
    assert answer.json()["status"] == "cancelling"
    engine.drain()
    assert_problem(operator.post(f"{path}/cancel"), 409, "operation_finished")
    again = operator.post(f"{path}/retry")
    assert again.status_code == 202 and again.json()["retry_of"] == world.operation.pk
    assert again["Location"] == f"/api/v1/operations/{again.json()['id']}"


def make_operation() -> tuple[str, str]:
    project = Project.objects.create(name="default")
    _, text = api_key_create(project=project, name="ci", role="viewer", created_by="t")
    operation = operation_submit(project=project, kind="sample.api", subject="thing:1")
    return text, operation.pk


@pytest_asyncio.fixture
async def no_connection_left():
    """Views run in a thread of their own, whose connection would keep the test's database."""
    yield
    await sync_to_async(connections.close_all)()


def parsed(text: str) -> list[dict]:
    """The events of a stream; comments and retry lines are left out."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line[1:])
        if "data" in fields:
            found.append(fields | {"data": json.loads(fields["data"])})
    return found


async def stream_of(text, operation, **headers):
    return await AsyncClient().get(
        f"/api/v1/operations/{operation}/events",
        headers={"Authorization": f"Bearer {text}", "Accept": "text/event-stream"} | headers,
    )


async def read(answer) -> str:
    return "".join([part.decode() async for part in answer.streaming_content])


@pytest.mark.asyncio
@pytest.mark.usefixtures("no_connection_left")
@pytest.mark.django_db(transaction=True)
async def test_the_stream_ends_after_the_last_event_and_goes_on_where_it_was_left():
    text, operation = await in_database(make_operation)
    answer = await stream_of(text, operation)
    assert answer.status_code == 200
    assert answer["Content-Type"] == "text/event-stream"
    assert answer["X-Accel-Buffering"] == "no"
    reading = asyncio.create_task(read(answer))
    await asyncio.sleep(0.1)
    await in_database(engine.drain)
    whole = await asyncio.wait_for(reading, 10)
    assert whole.startswith("retry: 2000\n\n")
    events = parsed(whole)
    assert [event.get("id") for event in events] == ["1", "2", "3", "4", None]
    assert [event["data"]["outcome"] for event in events[:4]] == ["created", "started", "info", "succeeded"]
    assert events[-1]["event"] == "end" and events[-1]["data"]["status"] == "succeeded"

    again = await stream_of(text, operation, **{"Last-Event-ID": "2"})
    assert [event.get("id") for event in parsed(await read(again))] == ["3", "4", None]
    assert (await stream_of(text, operation, **{"Last-Event-ID": "4"})).status_code == 204
    assert_problem(await stream_of(text, operation, **{"Last-Event-ID": "x"}), 422, field="Last-Event-ID")


@pytest.mark.asyncio
@pytest.mark.usefixtures("no_connection_left")
@pytest.mark.django_db(transaction=True)
async def test_news_come_at_once_and_silence_has_heartbeats(monkeypatch):
    monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr("worker.api.views.LONGEST_WAIT_SECONDS", 0.1)
    text, operation = await in_database(make_operation)
    answer = await stream_of(text, operation)
    parts = answer.streaming_content
    seen = ""
    async with asyncio.timeout(10):
        async for part in parts:
            seen += part.decode()
            if ": still here" in seen:
                break
        assert [event["id"] for event in parsed(seen)] == ["1"]
        await in_database(engine.append_event, await Operation.objects.aget(pk=operation), "info", "news")
        async for part in parts:
            if "news" in part.decode():
                break
    await parts.aclose()


@pytest.mark.asyncio
@pytest.mark.usefixtures("no_connection_left")
@pytest.mark.django_db(transaction=True)
async def test_a_stream_needs_credentials_and_an_operation():
    text, _ = await in_database(make_operation)
    assert_problem(await stream_of("ak_no", "op_x"), 401)
    assert_problem(await stream_of(text, "op_x"), 404)
