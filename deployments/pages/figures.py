"""Figures from stored metric points: rates, percentiles, and series for charts."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.utils import timezone

from deployments.models import CollectionSize, HealthTransition, MetricPoint, Rollout

try:
    from deployments.metrics import BUCKET_BOUNDS_SECONDS
except ImportError:
    BUCKET_BOUNDS_SECONDS = (
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    )  # fmt: skip


@dataclass(frozen=True)
class Range:
    """A span of time to look at: which stored resolution to read and how to fold it."""

    name: str
    label: str
    span: timedelta
    resolution_seconds: int
    step_seconds: int


RANGES = {
    one.name: one
    for one in (
        Range("1h", "1 h", timedelta(hours=1), 15, 60),
        Range("6h", "6 h", timedelta(hours=6), 15, 300),
        Range("24h", "24 h", timedelta(hours=24), 300, 600),
        Range("7d", "7 d", timedelta(days=7), 3600, 3600),
        Range("30d", "30 d", timedelta(days=30), 3600, 4 * 3600),
    )
}


def percentile(buckets: list[int], share: float) -> float | None:
    """Milliseconds below which `share` of the counted requests stayed, by linear interpolation."""
    total = sum(buckets)
    if not total:
        return None
    wanted, seen, below = share * total, 0, 0.0
    for count, bound in zip(buckets, (*BUCKET_BOUNDS_SECONDS, BUCKET_BOUNDS_SECONDS[-1]), strict=False):
        if count and seen + count >= wanted:
            return (below + (bound - below) * (wanted - seen) / count) * 1000
        seen += count
        below = bound
    return BUCKET_BOUNDS_SECONDS[-1] * 1000


def slots(span: Range, now: datetime) -> list[datetime]:
    """The starts of the steps of a range, the oldest first; aligned, so that a reload moves nothing."""
    step = span.step_seconds
    last = int(now.timestamp()) // step * step
    count = int(span.span.total_seconds()) // step
    return [datetime.fromtimestamp(last - step * back, UTC) for back in range(count - 1, -1, -1)]


def charts(target, name: str) -> dict:
    """Everything the metrics page draws: {since, until, step, times, charts, annotations}."""
    span = RANGES[name]
    now = timezone.now()
    starts = slots(span, now)
    index = {int(start.timestamp()): place for place, start in enumerate(starts)}
    size = len(starts)
    requests, errors = [None] * size, [None] * size
    buckets: list[list[int]] = [[] for _ in range(size)]
    memory: dict[int, dict[str, int]] = defaultdict(dict)
    points = MetricPoint.objects.filter(
        target=target, resolution_seconds=span.resolution_seconds, at__gte=starts[0]
    )
    for at, replica, count, failed, parts, used in points.values_list(
        "at", "replica_id", "requests", "errors", "buckets", "memory_bytes"
    ):
        place = index.get(int(at.timestamp()) // span.step_seconds * span.step_seconds)
        if place is None:
            continue
        requests[place] = (requests[place] or 0) + count
        errors[place] = (errors[place] or 0) + failed
        held = buckets[place]
        if len(held) < len(parts):
            held.extend([0] * (len(parts) - len(held)))
        for position, part in enumerate(parts):
            held[position] += part
        if used is not None:
            memory[place][replica] = max(used, memory[place].get(replica, 0))
    step = span.step_seconds
    latency = {
        f"p{round(share * 100)}": [percentile(one, share) for one in buckets] for share in (0.5, 0.95, 0.99)
    }
    drawn = [
        chart("requests", "Requests", "rate", {"requests": [_over(one, step) for one in requests]}),
        chart("errors", "Errors (5xx)", "rate", {"errors": [_over(one, step) for one in errors]}),
        chart("latency", "Latency", "ms", latency),
        chart(
            "memory",
            "Memory of all replicas",
            "bytes",
            {"memory": [sum(memory[place].values()) if memory[place] else None for place in range(size)]},
        ),
    ]
    counts, sizes = _collections(target, span, starts, index)
    drawn += [
        chart("points", "Points by collection", "count", counts),
        chart("sizes", "Size by collection", "bytes", sizes),
    ]
    return {
        "since": starts[0].isoformat(),
        "until": (starts[-1] + timedelta(seconds=step)).isoformat(),
        "step": step,
        "times": [int(start.timestamp()) for start in starts],
        "charts": drawn,
        "annotations": annotations(target, starts[0]),
    }


def chart(key: str, title: str, unit: str, series: dict[str, list]) -> dict:
    return {
        "key": key,
        "title": title,
        "unit": unit,
        "series": [{"name": name, "values": values} for name, values in series.items()],
    }


def _over(value, seconds):
    return None if value is None else value / seconds


def _collections(target, span, starts, index):
    """({collection: points}, {collection: bytes}) of the five largest collections."""
    counts: dict[str, list] = {}
    sizes: dict[str, list] = {}
    rows = CollectionSize.objects.filter(
        target=target, resolution_seconds=span.resolution_seconds, at__gte=starts[0]
    ).order_by("at")
    for name, at, points, used in rows.values_list("collection", "at", "points", "bytes"):
        place = index.get(int(at.timestamp()) // span.step_seconds * span.step_seconds)
        if place is not None:
            counts.setdefault(name, [None] * len(starts))[place] = points
            sizes.setdefault(name, [None] * len(starts))[place] = used
    largest = sorted(sizes, key=lambda name: -max(value or 0 for value in sizes[name]))[:5]
    return {name: counts[name] for name in largest}, {name: sizes[name] for name in largest}


def annotations(target, since: datetime) -> list[dict]:
    """Rollouts and changes of health since then, for marks on the time axis."""
    found = [
        {"at": rollout.created_at.timestamp(), "text": f"Rollout of {rollout.release}", "kind": "rollout"}
        for rollout in Rollout.objects.filter(target=target, created_at__gte=since).select_related("release")
    ]
    changes = HealthTransition.objects.filter(target=target, replica=None, at__gte=since)
    found += [
        {"at": row.at.timestamp(), "text": f"Health: {row.previous} to {row.health}", "kind": row.health}
        for row in changes
    ]
    return sorted(found, key=lambda one: one["at"])
