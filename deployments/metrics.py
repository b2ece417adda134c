"""Reads of metrics: series for charts and the figures of the last minutes.

Points are deltas per replica and interval (see `scraping`), so a rate is a sum over the time it was measured
in, and a percentile comes from summed buckets. What was not measured is None, never zero.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import connection

from controlplane import ids
from controlplane.errors import InvalidError
from deployments.models import HealthTransition, Rollout, Target
from worker.engine import database_now

# A point's buckets are one more: the last counts what took longer than every bound.
BUCKET_BOUNDS_SECONDS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0),
)
RESOLUTIONS_SECONDS = (15, 300, 3600)
RAW_SECONDS = RESOLUTIONS_SECONDS[0]
STEPS_SECONDS = (
    *(15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200),
    *(86_400, 2 * 86_400, 7 * 86_400),
)
POINTS = 300
MOST_POINTS = 2000
COLLECTIONS_SHOWN = 20
ANNOTATIONS_SHOWN = 200
LATEST_SECONDS = 300
STALE_SECONDS = 90


def retention(resolution_seconds: int) -> timedelta:
    """How long points of a resolution are kept."""
    return timedelta(days=settings.METRICS_KEEP_DAYS[resolution_seconds])


def percentile_ms(buckets: Sequence[int], share: float) -> float | None:
    """Milliseconds that `share` (0 to 1) of the requests took at most; None without requests.

    Linear inside a bucket; what lies above every bound is told as the last bound.
    """
    total = sum(buckets)
    if not total:
        return None
    wanted, seen, low = share * total, 0, 0.0
    for count, high in zip(buckets, BUCKET_BOUNDS_SECONDS, strict=False):
        if count and seen + count >= wanted:
            return (low + (high - low) * max(0.0, wanted - seen) / count) * 1000
        seen, low = seen + count, high
    return BUCKET_BOUNDS_SECONDS[-1] * 1000


class _Bin:
    """What all replicas of a target did in one step."""

    def __init__(self, row: tuple):
        self.requests, self.errors, self.refused, self.slow = row[:4]
        self.covered_sum, self.covered_most, self.memory_bytes = row[4:7]
        self.buckets = row[7:]

    def counts(self) -> tuple[int, int, int, int]:
        return self.requests, self.errors, self.refused, self.slow

    def observed_seconds(self, step: int, is_edge: bool) -> float:
        """How much of the step was measured.

        Replicas that follow each other cover it together; at an edge of the data they began or ended
        together, so the longest one tells.
        """
        return min(float(step), self.covered_most if is_edge else self.covered_sum)


def _bins(targets: Sequence[Target], resolution: int, step: int, since: datetime, until: datetime) -> dict:
    """{target id: {bin start: _Bin}}, in one query."""
    places = range(1, len(BUCKET_BOUNDS_SECONDS) + 2)
    inner = ", ".join(f"coalesce(sum(buckets[{n}]), 0)::bigint AS b{n}" for n in places)
    outer = ", ".join(f"sum(b{n})::bigint" for n in places)
    result: dict = defaultdict(dict)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT target_id, bin, sum(r)::bigint, sum(e)::bigint, sum(f)::bigint, sum(s)::bigint, sum(c),"
            " max(c), sum(m)::bigint, "
            f"{outer} FROM (SELECT target_id, date_bin(%(width)s, at, 'epoch') AS bin, replica_id,"
            " sum(requests)::bigint AS r, sum(errors)::bigint AS e, sum(refused)::bigint AS f,"
            " sum(slow)::bigint AS s, sum(covered_seconds) AS c,"
            " max(memory_bytes) AS m,"
            f" {inner} FROM deployments_metricpoint WHERE target_id = ANY(%(targets)s)"
            " AND resolution_seconds = %(resolution)s AND at >= %(since)s AND at < %(until)s"
            " GROUP BY 1, 2, 3) AS of_replicas GROUP BY 1, 2 ORDER BY 1, 2",
            {
                "width": timedelta(seconds=step),
                "targets": [ids.decode("tgt", target.pk) for target in targets],
                "resolution": resolution,
                "since": since,
                "until": until,
            },
        )
        for target_id, at, *row in cursor.fetchall():
            result[ids.encode("tgt", target_id)][at.astimezone(UTC)] = _Bin(tuple(row))
    return result


def _figures(
    counts: tuple[int, int, int, int], observed: float, buckets: Sequence[int], memory: int | None
) -> dict:
    """The figures of what was counted in so many seconds: requests, errors, refused, slow queries."""
    requests, errors, refused, slow = counts
    return {
        "requests_per_second": requests / observed if observed else None,
        "errors_per_second": errors / observed if observed else None,
        "refused_per_second": refused / observed if observed else None,
        "slow_per_second": slow / observed if observed else None,
        "error_rate": errors / requests if requests else None,
        "p50_ms": percentile_ms(buckets, 0.5),
        "p95_ms": percentile_ms(buckets, 0.95),
        "p99_ms": percentile_ms(buckets, 0.99),
        "memory_bytes": memory,
    }


NOTHING = _figures((0, 0, 0, 0), 0.0, (), None)


def resolution_and_step(since: datetime, until: datetime, step_seconds: int | None, now: datetime):
    """(resolution, step) in seconds to read a range with; InvalidError for a step that cannot be served."""
    if since >= until:
        raise InvalidError("The range is empty: `since` must be before `until`.", field="since")
    kept = [r for r in RESOLUTIONS_SECONDS if since >= now - retention(r)] or [RESOLUTIONS_SECONDS[-1]]
    finest = kept[0]
    span = (until - since).total_seconds()
    if step_seconds is None:
        place = bisect_left(STEPS_SECONDS, span / POINTS)
        fitting = [s for s in STEPS_SECONDS[place:] if s % finest == 0] or [STEPS_SECONDS[-1]]
        step = fitting[0]
    else:
        step = step_seconds
        if step <= 0 or step % finest:
            raise InvalidError(
                f"The step must be a multiple of {finest} s for a range this old.", field="step_seconds"
            )
        if span / step > MOST_POINTS:
            raise InvalidError(
                f"That would be more than {MOST_POINTS} points; use a longer step or a shorter range.",
                field="step_seconds",
            )
    return max(r for r in kept if step % r == 0), step


def series(target: Target, since: datetime, until: datetime, step_seconds: int | None = None) -> dict:
    """What a target did over time: {step_seconds, points, collections, annotations}.

    `points` has every step of the range, oldest first, at most about 300 unless a step is asked for: {at,
    requests_per_second, errors_per_second, refused_per_second, slow_per_second, error_rate (0 to 1), p50_ms,
    p95_ms, p99_ms, memory_bytes}; None where nothing was measured, and for shares of nothing. `collections`
    is {name: [{at, points, bytes}]} of the largest ones, `annotations` [{at, kind: rollout | health, id,
    text, status}].
    """
    resolution, step = resolution_and_step(since, until, step_seconds, database_now())
    start = datetime.fromtimestamp(int(since.timestamp()) // step * step, UTC)
    bins = _bins([target], resolution, step, start, until)[target.pk]
    width = timedelta(seconds=step)
    points, at = [], start
    while at < until:
        found = bins.get(at)
        if found is None:
            figures = NOTHING
        else:
            observed = found.observed_seconds(step, at - width not in bins or at + width not in bins)
            figures = _figures(found.counts(), observed, found.buckets, found.memory_bytes)
        points.append({"at": at, **figures})
        at += width
    return {
        "step_seconds": step,
        "points": points,
        "collections": _collections(target, resolution, step, start, until),
        "annotations": annotations(target, since, until),
    }


def _collections(target: Target, resolution: int, step: int, since: datetime, until: datetime) -> dict:
    result: dict = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH rows AS (SELECT collection, at, points, bytes FROM deployments_collectionsize"
            " WHERE target_id = %(target)s AND resolution_seconds = %(resolution)s AND at >= %(since)s"
            " AND at < %(until)s), largest AS (SELECT collection, max(bytes) AS most FROM rows"
            " GROUP BY collection ORDER BY most DESC, collection LIMIT %(limit)s)"
            " SELECT DISTINCT ON (most, collection, date_bin(%(width)s, at, 'epoch')) collection,"
            " date_bin(%(width)s, at, 'epoch'), points, bytes FROM rows JOIN largest USING (collection)"
            " ORDER BY most DESC, collection, date_bin(%(width)s, at, 'epoch'), at DESC",
            {
                "target": ids.decode("tgt", target.pk),
                "resolution": resolution,
                "since": since,
                "until": until,
                "limit": COLLECTIONS_SHOWN,
                "width": timedelta(seconds=step),
            },
        )
        for name, at, points, size in cursor.fetchall():
            result[name].append({"at": at.astimezone(UTC), "points": points, "bytes": size})
    return dict(result)


def annotations(target: Target, since: datetime, until: datetime) -> list[dict]:
    """Rollouts and changes of the target's health in a range, oldest first: {at, kind, id, text, status}."""
    rollouts = Rollout.objects.filter(target=target, created_at__gte=since, created_at__lt=until)
    found = [
        {
            "at": rollout.created_at,
            "kind": "rollout",
            "id": rollout.pk,
            "text": f"Rollout of {rollout.release}",
            "status": rollout.status,
        }
        for rollout in rollouts.select_related("release").order_by("-created_at")[:ANNOTATIONS_SHOWN]
    ]
    changes = HealthTransition.objects.filter(target=target, replica=None, at__gte=since, at__lt=until)
    found += [
        {
            "at": change.at,
            "kind": "health",
            "id": str(change.pk),
            "text": f"{change.get_previous_display()} to {change.get_health_display().lower()}",
            "status": change.health,
        }
        for change in changes.order_by("-at", "-pk")[:ANNOTATIONS_SHOWN]
    ]
    return sorted(found, key=lambda one: one["at"])[-ANNOTATIONS_SHOWN:]


def latest_for(targets: Sequence[Target]) -> dict:
    """{target id: figures} of the last 5 minutes, in one query; see `latest`."""
    now = database_now()
    newest = datetime.fromtimestamp(int(now.timestamp()) // RAW_SECONDS * RAW_SECONDS, UTC)
    since = newest - timedelta(seconds=LATEST_SECONDS)
    found = _bins(targets, RAW_SECONDS, RAW_SECONDS, since, now + timedelta(seconds=RAW_SECONDS))
    width = timedelta(seconds=RAW_SECONDS)
    result = {}
    for target in targets:
        bins = found.get(target.pk, {})
        if not bins or now - max(bins) > timedelta(seconds=STALE_SECONDS):
            result[target.pk] = dict(NOTHING, at=max(bins, default=None))
            continue
        observed = sum(
            one.observed_seconds(RAW_SECONDS, at - width not in bins or at + width not in bins)
            for at, one in bins.items()
        )
        memory = [one.memory_bytes for _, one in sorted(bins.items()) if one.memory_bytes is not None]
        figures = _figures(
            tuple(sum(column) for column in zip(*(one.counts() for one in bins.values()), strict=True)),
            observed,
            [sum(column) for column in zip(*(one.buckets for one in bins.values()), strict=True)],
            memory[-1] if memory else None,
        )
        result[target.pk] = dict(figures, at=max(bins))
    return result


def latest(target: Target) -> dict:
    """The last 5 minutes: the figures of a point of `series`, and `at`, the newest interval measured.

    None throughout when nothing was scraped for 90 s.
    """
    return latest_for([target])[target.pk]
