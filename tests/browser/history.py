"""A believable past for a target: traffic by day and night, deploys, and short incidents."""

import math
import random
from datetime import timedelta

from django.utils import timezone

from deployments.metrics import BUCKET_BOUNDS_SECONDS
from deployments.models import CollectionSize, HealthTransition, MetricPoint

SAMPLES = 120
# (resolution, span): what the roll-ups would have kept.
KEPT = ((15, timedelta(hours=6)), (300, timedelta(hours=24)), (3600, timedelta(days=30)))
INCIDENTS = [
    (5.2, 260, "degraded"),
    (26.5, 95, "unhealthy"),
    (11.4, 600, "degraded"),
    (160.0, 240, "unhealthy"),
]


def _load(at, chance) -> float:
    """Requests a second: a daily wave with noise."""
    hour = at.hour + at.minute / 60
    return max(0.5, 22 + 16 * math.sin((hour - 8) / 24 * 2 * math.pi) + chance.gauss(0, 1.6))


def _buckets(requests: int, chance) -> list[int]:
    """Counts of a log-normal latency around 4 ms."""
    counts = [0] * (len(BUCKET_BOUNDS_SECONDS) + 1)
    for _ in range(SAMPLES):
        took = math.exp(chance.gauss(math.log(0.0042), 0.55))
        place = next((i for i, bound in enumerate(BUCKET_BOUNDS_SECONDS) if took <= bound), len(counts) - 1)
        counts[place] += 1
    return [count * requests // SAMPLES for count in counts]


def write_history(target, incidents: int) -> None:
    """Metric points, collection sizes and health of the last 30 days, before what was really measured."""
    chance = random.Random(target.name)
    replica = target.replicas.order_by("pk").first()
    if replica is None:
        return
    end = timezone.now() - timedelta(seconds=30)
    # Health is told from when the target was ready first.
    began = end - timedelta(days=29)
    type(target).objects.filter(pk=target.pk).update(created_at=began, ready_at=began)
    points, sizes = [], []
    for resolution, span in KEPT:
        at = end - span
        at -= timedelta(seconds=at.timestamp() % resolution)
        while at < end:
            requests = int(_load(at, chance) * resolution)
            age = (end - at).total_seconds() / 86400
            failing = chance.random() < 0.01
            points.append(
                MetricPoint(
                    target=target,
                    replica=replica,
                    resolution_seconds=resolution,
                    at=at,
                    covered_seconds=resolution,
                    requests=requests,
                    errors=requests // 60 if failing else 0,
                    duration_seconds=requests * 0.0047,
                    buckets=_buckets(requests, chance),
                    memory_bytes=int(168e6 + 14e6 * math.sin(at.timestamp() / 9000) + chance.gauss(0, 1e6)),
                )
            )
            if resolution > 15 or at.minute % 5 == 0:
                for name, most in (("articles", 520), ("tickets", 120), ("thumbnails", 60)):
                    count = int(most * (1 - age / 45))
                    sizes.append(
                        CollectionSize(
                            target=target,
                            collection=name,
                            resolution_seconds=resolution,
                            at=at,
                            points=count,
                            bytes=count * 1100,
                        )
                    )
            at += timedelta(seconds=resolution)
    MetricPoint.objects.bulk_create(points, batch_size=2000, ignore_conflicts=True)
    if target.name == "docs-search":
        CollectionSize.objects.bulk_create(sizes, batch_size=2000, ignore_conflicts=True)
    _health(target, end, incidents)


def write_recall(target, collection: str) -> None:
    """A measurement a day of the last 20 days, in the target's own database."""
    import psycopg

    chance = random.Random(collection)
    end = timezone.now() - timedelta(hours=3)
    with psycopg.connect(target.secrets["database_url"]) as db:
        for day in range(20, 0, -1):
            points = int(480 * (1 - day / 45))
            recall = round(min(1.0, 0.984 - day / 2500 + chance.gauss(0, 0.004)), 4)
            db.execute(
                "INSERT INTO vectors_recall (collection_id, at, k, queries, asked, recall, ef, plan, points,"
                " p50_ms, exact_p50_ms) SELECT id, %s, 10, 100, 0.95, %s, 80, 'hnsw', %s, %s, %s"
                " FROM vectors_collection WHERE name = %s",
                [end - timedelta(days=day), recall, points, 0.4 + day / 90, 1.9 + day / 40, collection],
            )


def _health(target, end, incidents: int) -> None:
    rows = [
        HealthTransition(
            target=target, at=end - timedelta(days=29), previous="unknown", health="healthy", reason=""
        )
    ]
    for hours, seconds, health in INCIDENTS[:incidents]:
        at = end - timedelta(hours=hours)
        reason = (
            "1 of 2 replicas is ready." if health == "degraded" else "No replica answers its readiness probe."
        )
        rows.append(HealthTransition(target=target, at=at, previous="healthy", health=health, reason=reason))
        rows.append(
            HealthTransition(
                target=target,
                at=at + timedelta(seconds=seconds),
                previous=health,
                health="healthy",
                reason="All replicas are ready.",
            )
        )
    HealthTransition.objects.bulk_create(sorted(rows, key=lambda row: row.at))
    target.refresh_from_db()
    if target.health == "unknown":
        type(target).objects.filter(pk=target.pk).update(
            health="healthy", health_since=end - timedelta(hours=4)
        )
