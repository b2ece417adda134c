"""Figures from a Prometheus in the cluster, asked through the API server; and what is done without."""

import time
from urllib.parse import parse_qs

import pytest

from deployments import reaching
from deployments.models import ClusterState, MetricPoint, Target
from deployments.scraping import scrape_round
from deployments.watching import watch
from tests.deployments import in_cluster
from tests.deployments.conftest import wait_until
from tests.simulators.kubernetes import Cluster, PodRequest, Served, ready

pytestmark = pytest.mark.django_db(transaction=True)
URL = "http://prometheus-operated.monitoring.svc:9090"
OWN = 'aindusdb_api_requests_total{route="query",status="200"} 3\n'


class Prometheus:
    """A pod that answers queries with counts that a test sets, or however `behaviour` says."""

    def __init__(self):
        self.queries: list[str] = []
        self.pods: dict[str, int] = {}
        self.behaviour = None

    def __call__(self, request: PodRequest) -> Served:
        if request.path != "/api/v1/query":
            return Served(404, "404 page not found")
        self.queries.append(parse_qs(request.query)["query"][0])
        if self.behaviour:
            return self.behaviour
        result = []
        for pod, count in self.pods.items():
            for name, labels, value in (
                ("aindusdb_api_requests_total", {"route": "query", "status": "200"}, count),
                ("aindusdb_api_requests_total", {"route": "ready", "status": "200"}, 1000),
                ("aindusdb_api_request_duration_seconds_bucket", {"route": "query", "le": "0.01"}, count),
                ("aindusdb_api_request_duration_seconds_bucket", {"route": "query", "le": "+Inf"}, count),
                ("aindusdb_api_request_duration_seconds_sum", {"route": "query"}, count / 200),
            ):
                metric = {"__name__": name, "pod": pod, "namespace": "aindus-prom", **labels}
                result.append({"metric": metric, "value": [time.time(), str(value)]})
        return Served(200, {"status": "success", "data": {"resultType": "vector", "result": result}})


def install(cluster, prometheus: Prometheus) -> None:
    labels = {"app": "prometheus"}
    cluster.pods.behave("app=prometheus", ready(serve=prometheus))
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "monitoring"}})
    container = {"name": "prometheus", "image": "prometheus:3", "ports": [{"containerPort": 9090}]}
    cluster.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "prometheus-0", "labels": labels},
            "spec": {"containers": [container]},
        },
        "monitoring",
    )
    cluster.create(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "prometheus-operated"},
            "spec": {"selector": labels, "ports": [{"port": 9090, "targetPort": 9090}]},
        },
        "monitoring",
    )


def counted(target: Target) -> int:
    return sum(MetricPoint.objects.filter(target=target).values_list("requests", flat=True))


def test_figures_come_from_prometheus_and_from_the_pods_when_it_fails(project):
    reaching.forget()
    prometheus = Prometheus()
    with Cluster(speed=50) as cluster:
        install(cluster, prometheus)
        well = {"/ready": Served(200, {"status": "ready"}), "/metrics": Served(200, OWN)}
        cluster.pods.behave("app.kubernetes.io/name=aindusdb-api", ready(serve=well))
        account = in_cluster.make_account(project, cluster)
        spec = {"monitoring": {"enabled": False, "prometheus_url": URL}}
        target = in_cluster.make_target(account, in_cluster.make_release(project), "aindus-prom", spec=spec)
        in_cluster.apply(target)

        def one_ready():
            watch(Target.objects.get(pk=target.pk))
            return list(target.replicas.filter(status="ready"))

        wait_until(one_ready)
        [row] = one_ready()
        prometheus.pods = {row.handle["pod"]: 40, "somebody-else": 7}
        assert scrape_round()
        state = ClusterState.objects.get(target=target)
        assert state.metrics_source == {"source": "prometheus", "problem": ""}
        # Probes are no requests of anybody's.
        assert counted(target) == 40
        assert 'namespace="aindus-prom"' in prometheus.queries[-1]
        prometheus.pods = {row.handle["pod"]: 45}
        assert scrape_round()
        assert counted(target) == 45
        point = MetricPoint.objects.filter(target=target).order_by("at").first()
        assert sum(point.buckets) == point.requests

        # Whatever it answers instead, the pods are asked, and it is told why.
        for behaviour, told in (
            (
                Served(400, {"status": "error", "error": "parse error"}),
                "the query (400): parse error",
            ),
            (Served(200, "<html>Sign in</html>"), "is not its query API"),
            (
                Served(200, {"status": "success", "data": {"result": []}}),
                "no figures of pods",
            ),
        ):
            prometheus.behaviour = behaviour
            assert scrape_round()
            state.refresh_from_db()
            assert state.metrics_source["source"] == "pods"
            assert told in state.metrics_source["problem"]
        assert any(one.path.endswith("/proxy/metrics") for one in cluster.requests)
        # The pod's own counters are lower: it began anew, as far as can be known.
        assert counted(target) == 48
        cluster.delete("Service", "prometheus-operated", "monitoring")
        assert scrape_round()
        state.refresh_from_db()
        assert "cannot be reached through the cluster (404" in state.metrics_source["problem"]
    reaching.forget()
