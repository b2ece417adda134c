"""What the web role's /metrics tells of targets and operations, counted anew at each scrape."""

from collections.abc import Iterator

from django.db.models import Count, Min
from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from deployments.models import Health, ProbeHeartbeat, Target, TargetStatus
from worker.engine import database_now
from worker.models import Operation, Status


class ControlPlaneCollector(Collector):
    """Four gauges from four small queries; a database that is down makes the scrape fail, as it should."""

    def describe(self) -> list:
        # Registering must not ask the database.
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        now = database_now()
        targets = GaugeMetricFamily(
            "aindusdb_targets", "Targets that are not destroyed, by health.", labels=["health"]
        )
        counted = dict(
            Target.objects.exclude(status=TargetStatus.DESTROYED)
            .values_list("health")
            .annotate(Count("pk"))
            .order_by()
        )
        for health in Health.values:
            targets.add_metric([health], counted.get(health, 0))
        yield targets
        operations = GaugeMetricFamily(
            "aindusdb_operations", "Operations that are not finished, by status.", labels=["status"]
        )
        unfinished = Operation.objects.unfinished()
        counted = dict(unfinished.values_list("status").annotate(Count("pk")).order_by())
        for status in (Status.QUEUED, Status.RUNNING, Status.WAITING, Status.CANCELLING):
            operations.add_metric([status], counted.get(status, 0))
        yield operations
        oldest = unfinished.filter(lease_token=None, run_after__lte=now).aggregate(at=Min("run_after"))["at"]
        yield GaugeMetricFamily(
            "aindusdb_operations_oldest_due_seconds",
            "How long the operation that is due longest has waited for a worker.",
            value=(now - oldest).total_seconds() if oldest else 0,
        )
        beat = ProbeHeartbeat.objects.values_list("at", flat=True).first()
        yield GaugeMetricFamily(
            "aindusdb_probe_round_age_seconds",
            "How long ago the replicas were probed last; absent before the first round.",
            value=(now - beat).total_seconds() if beat else None,
        )


def register(registry=REGISTRY) -> None:
    """Have the collector asked at every scrape."""
    registry.register(ControlPlaneCollector())
