"""Health, metrics and logs of a target over REST."""

import json
from datetime import datetime, timedelta

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from django.db import connections
from django.test import AsyncClient
from django.utils import timezone

from controlplane.models import Project
from controlplane.services import api_key_create
from controlplane.threads import in_database
from deployments import logs
from deployments.runtimes.base import LogLine
from tests.api.conftest import assert_problem, make_release, make_replica, make_target


@pytest.mark.django_db
def test_health(viewer, world):
    body = viewer.get("targets/alpha/health").json()
    assert body["health"] == "unknown"
    assert set(body["uptime"]) == {"last_hour", "last_24_hours", "last_30_days"}
    assert [replica["id"] for replica in body["replicas"]] == [world.replica.pk]


@pytest.mark.django_db
def test_metrics(viewer, world):
    body = viewer.get("targets/alpha/metrics").json()
    assert body["step_seconds"] == 15
    assert len(body["points"]) in (240, 241)
    assert body["points"][0]["requests_per_second"] is None
    assert body["latest"]["p99_ms"] is None
    assert_problem(viewer.get("targets/alpha/metrics?step_seconds=7"), 422, field="step_seconds")
    assert_problem(viewer.get("targets/alpha/metrics?step_seconds=0"), 422, field="step_seconds")
    later = "since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z"
    assert_problem(viewer.get(f"targets/alpha/metrics?{later}"), 422, field="since")
    assert_problem(viewer.get("targets/alpha/metrics?since=yesterday"), 422, field="since")


class Runtime:
    """Replica logs from a list: without a cursor the newest lines, with one those after it."""

    lines = []

    def logs(self, replica_id, *, since, until, search, level, cursor, limit):
        start = int(cursor) if cursor else max(0, len(self.lines) - limit)
        for number, (at, found, text) in enumerate(self.lines[start:], start=start + 1):
            if search in text and (not since or at >= since):
                yield LogLine(replica_id, at, found, text, str(number))


@pytest.fixture
def written(monkeypatch):
    """What replicas wrote; more may be added."""
    Runtime.lines = [(timezone.now() + timedelta(milliseconds=n), "INFO", f"line {n}") for n in range(5)]
    monkeypatch.setattr(logs, "runtime_for", lambda name: Runtime())
    return Runtime.lines


@pytest.mark.django_db
def test_logs_by_pages(viewer, world, written):
    page = viewer.get("targets/alpha/logs?limit=3").json()
    assert [item["text"] for item in page["items"]] == ["line 2", "line 3", "line 4"]
    assert page["items"][0]["replica"] == world.replica.pk
    assert datetime.fromisoformat(page["items"][0]["at"]).tzinfo
    written.append((timezone.now(), "ERROR", "line 5"))
    page = viewer.get(f"targets/alpha/logs?cursor={page['next_cursor']}").json()
    assert [item["text"] for item in page["items"]] == ["line 5"]
    assert page["more"] is False and page["problems"] == {}
    assert viewer.get(f"targets/alpha/logs?cursor={page['next_cursor']}").json()["items"] == []
    assert len(viewer.get("targets/alpha/logs?search=line 3").json()["items"]) == 1
    for query, field in [("level=odd", "level"), ("limit=0", "limit"), ("cursor=x", "cursor"), ("a=b", "a")]:
        assert_problem(viewer.get(f"targets/alpha/logs?{query}"), 422, field=field)
    assert_problem(viewer.get("targets/alpha/logs?replica=rep_x"), 404)


@pytest_asyncio.fixture
async def no_connection_left():
    yield
    await sync_to_async(connections.close_all)()


@pytest.mark.asyncio
@pytest.mark.usefixtures("no_connection_left")
@pytest.mark.django_db(transaction=True)
async def test_logs_are_followed_and_go_on_where_they_were_left(written):
    def prepare():
        project = Project.objects.create(name="default")
        target = make_target(project, release=make_release(project))
        make_replica(target, 19001)
        return api_key_create(project=project, name="ci", role="viewer", created_by="t")[1]

    headers = {"Authorization": f"Bearer {await in_database(prepare)}", "Accept": "text/event-stream"}
    answer = await AsyncClient().get("/api/v1/targets/alpha/logs?limit=2", headers=headers)
    assert answer["Content-Type"] == "text/event-stream"
    texts, cursor = [], ""
    parts = answer.streaming_content
    async for part in parts:
        for line in part.decode().split("\n"):
            if line.startswith("data: "):
                texts.append(json.loads(line[6:])["text"])
            elif line.startswith("id: "):
                cursor = line[4:]
        if len(texts) == 2:
            written.append((timezone.now(), "INFO", "fresh"))
        if "fresh" in texts:
            break
    await parts.aclose()
    assert texts == ["line 3", "line 4", "fresh"]
    written.append((timezone.now(), "INFO", "missed"))
    answer = await AsyncClient().get(
        "/api/v1/targets/alpha/logs", headers=headers | {"Last-Event-ID": cursor}
    )
    parts = answer.streaming_content
    async for part in parts:
        if "data: " in part.decode():
            assert "missed" in part.decode()
            break
    await parts.aclose()
    answer = await AsyncClient().get("/api/v1/targets/alpha/logs?cursor=x", headers=headers)
    assert_problem(answer, 422, field="cursor")
