"""A real vector API that runs as a pod: everything that reaches it goes through the cluster's API server."""

import asyncio
import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from controlplane.services import api_key_create
from deployments import logs, metrics, reaching
from deployments.gateway.asgi import Gateway
from deployments.health import target_health
from deployments.models import MetricPoint, Replica, ReplicaStatus
from deployments.probing import probe_round
from deployments.scraping import scrape_round
from deployments.target_api import TargetApi
from deployments.watching import watch
from tests.api.test_gateway import Caller
from tests.deployments import in_cluster
from tests.deployments.conftest import wait_until
from tests.simulators.kubernetes import Cluster, process

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def no_ways_known():
    reaching.forget()
    yield
    reaching.forget()


@pytest.fixture
def cluster():
    with Cluster(crds=("metrics",), speed=10) as cluster:
        yield cluster


def ready_rows(target) -> list[Replica]:
    watch(target)
    return list(Replica.objects.filter(target=target, status=ReplicaStatus.READY))


def through_gateway(token: str, calls: list[tuple]) -> list:
    """The answers of (method, path, body) sent into the gateway one after the other."""

    async def send():
        gateway = Gateway()
        caller = Caller(gateway, token)
        try:
            return [
                await caller(method, path, json.dumps(body).encode() if body is not None else b"")
                for method, path, body in calls
            ]
        finally:
            await gateway.shutdown()

    # The browser's driver may have left this thread in a loop.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(send())).result()


@pytest.mark.parametrize("certificate", [False, True], ids=["token", "certificate"])
def test_a_query_goes_from_the_gateway_to_a_pod(project, machine, cluster, certificate):
    account = in_cluster.make_account(project, cluster, certificate=certificate)
    release = in_cluster.make_release(project)
    url = in_cluster.vector_database()
    target = in_cluster.make_target(account, release, secrets={"database_url": url})
    environment = {name: os.environ[name] for name in ("AINDUS_DATA_DIR",) if name in os.environ}
    cluster.pods.behave("app.kubernetes.io/name=aindusdb-api", process(env=environment, cpu="250m"))
    in_cluster.apply(target)
    wait_until(lambda: ready_rows(target))
    [row] = ready_rows(target)
    assert row.handle["pod"].startswith("aindusdb-api-")

    _, token = api_key_create(project=project, name="ci", role="operator", created_by="test")
    root = "remote/vectors/collections"
    answers = through_gateway(
        token,
        [
            ("POST", root, {"name": "a.b", "dimension": 2, "metric": "l2"}),
            ("POST", f"{root}/a.b/points", {"points": [{"id": "x", "vector": [1, 2]}]}),
            ("POST", f"{root}/a.b/query", {"vector": [1, 2], "top_k": 1}),
            ("GET", f"{root}/nothing", None),
            ("POST", root, {"name": "no name", "dimension": 2}),
        ],
    )
    made, stored, found, missing, wrong = answers
    assert made.status_code == 201, made.content
    assert made.headers["location"] == "/api/v1/targets/remote/vectors/collections/a.b"
    assert stored.json()["upserted"] == 1
    assert [match["id"] for match in found.json()["matches"]] == ["x"]
    assert found.headers["x-replica"] == row.pk
    # The replica's own 404, which is none of the cluster's.
    assert (missing.status_code, missing.json()["code"]) == (404, "unknown_collection")
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "name")
    proxied = [one for one in cluster.requests if "/proxy/api/v1/vectors" in one.path]
    assert {one.user for one in proxied} == {"kubernetes-admin"}
    assert all(one.path.startswith("/api/v1/namespaces/remote/pods/aindusdb-api-") for one in proxied)

    # The pages' own calls take the same way.
    api = TargetApi(target, subject="test")
    assert [one["name"] for one in api.collections()] == ["a.b"]

    # Probes, metrics and logs as of any replica.
    assert probe_round() and probe_round()
    assert scrape_round()
    told = target_health(target)
    assert (told["health"], told["cluster"]["ready"]) == ("healthy", 1)
    assert told["replicas"][0]["last_probe_ms"] > 0
    assert sum(one.requests for one in MetricPoint.objects.filter(target=target)) == 6
    assert metrics.latest(target)["memory_bytes"] > 10 << 20
    page = logs.target_logs(target, search="query")
    assert [line.replica_id for line in page.lines] == [row.pk]
    assert page.lines[0].level == "INFO" and page.lines[0].at is not None
    assert page.problems == {}
    through_gateway(token, [("POST", f"{root}/a.b/query", {"vector": [1, 2]})])
    wait_until(lambda: logs.target_logs(target, search="query", cursor=page.cursor).lines)
    fresh = logs.target_logs(target, search="query", cursor=page.cursor)
    assert len(fresh.lines) == 1
    assert not logs.target_logs(target, search="query", cursor=fresh.cursor).lines
