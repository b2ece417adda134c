"""The vector API itself under observation, and the control plane's own figures."""

from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from controlplane.models import Project
from deployments import health, logs, metrics, metrics_export
from deployments.models import MetricPoint, Replica, ReplicaStatus
from deployments.probing import probe_round
from deployments.scraping import scrape_round
from deployments.services import target_create
from tests.deployments.fleet import Fleet
from tests.deployments.test_vector_api import Client
from worker.engine import database_now
from worker.models import Status
from worker.services import operation_submit


@pytest.mark.django_db(transaction=True)
def test_a_real_replica_is_probed_scraped_and_read(project, machine, run):
    target, _, operation = target_create(
        project=project, name="seen", provider="local", spec={"replicas": 1}, created_by="test"
    )
    assert run(operation).status == Status.SUCCEEDED
    target.refresh_from_db()
    client = Client(target)
    assert client.call("POST", "collections", {"name": "a", "dimension": 2, "metric": "l2"})[0] in (200, 201)
    points = [{"id": str(number), "vector": [number, 1]} for number in range(50)]
    assert client.call("POST", "collections/a/points", {"points": points})[0] == 200
    for _ in range(20):
        assert client.call("POST", "collections/a/query", {"vector": [1, 2], "top_k": 1})[0] == 200
    assert probe_round()
    assert scrape_round()

    told = health.target_health(target)
    assert told["health"] == "healthy"
    assert told["replicas"][0]["last_probe_ms"] > 0
    rows = MetricPoint.objects.filter(target=target)
    assert sum(row.requests for row in rows) == 22
    assert sum(row.errors for row in rows) == 0
    assert sum(sum(row.buckets) for row in rows) == 22
    figures = metrics.latest(target)
    assert figures["requests_per_second"] > 0
    assert 0 < figures["p50_ms"] <= figures["p95_ms"] < 10_000
    assert figures["memory_bytes"] > 10 << 20
    now = database_now()
    sizes = metrics.series(target, now - timedelta(hours=1), now)["collections"]
    assert sizes["a"][-1]["bytes"] > 0
    page = logs.target_logs(target, search="query")
    assert len(page.lines) >= 20
    assert Replica.objects.get(target=target).status == ReplicaStatus.READY


@pytest.mark.django_db
def test_the_control_planes_own_figures(django_assert_max_num_queries):
    fleet = Fleet(Project.objects.create(name="default"))
    fleet.target(health="healthy")
    target = fleet.target("two", health="degraded")
    operation_submit(
        project=fleet.project,
        kind="target.restart",
        subject=target.subject,
        input={"target": target.pk},
        created_by="test",
    )
    registry = CollectorRegistry()
    metrics_export.register(registry)
    with django_assert_max_num_queries(5):
        text = generate_latest(registry).decode()
    assert 'aindusdb_targets{health="healthy"} 1.0' in text
    assert 'aindusdb_targets{health="unhealthy"} 0.0' in text
    assert 'aindusdb_operations{status="queued"} 1.0' in text
    assert "aindusdb_operations_oldest_due_seconds" in text
