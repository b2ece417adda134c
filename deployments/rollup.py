"""Roll-ups of metric points, and the end of what is older than its retention.

A roll-up computes whole coarse intervals anew from the finer ones and overwrites them, so it may run at any
time and any number of times. It begins so far before the newest coarse interval that late points are met.
"""

import itertools
from datetime import datetime, timedelta

from django.db import connection
from django.db.models import Exists, Max, Min, OuterRef, Q

from deployments.advisory import only_one
from deployments.metrics import BUCKET_BOUNDS_SECONDS, RESOLUTIONS_SECONDS, retention
from deployments.models import CollectionSize, HealthTransition, MetricPoint
from deployments.scraping import LONGEST_SPREAD, floor
from worker.engine import database_now

# Points are written at most this long after their interval.
LATENESS = LONGEST_SPREAD + timedelta(minutes=5)
DELETED_AT_ONCE = 5000
# One run deletes no more than this of a table; the next goes on.
DELETED_A_RUN = 200_000


def roll_up_and_expire() -> bool:
    """Bring the coarse points up to date, then delete what is too old; False while another run does."""
    with only_one("deployments.rollup") as mine:
        if not mine:
            return False
        roll_up()
        expire()
        return True


def roll_up() -> None:
    """Compute the coarse intervals that may have changed since the last run."""
    for fine, coarse in itertools.pairwise(RESOLUTIONS_SECONDS):
        for model, fold in ((MetricPoint, _fold_points), (CollectionSize, _fold_sizes)):
            since = _since(model, fine, coarse)
            if since is not None:
                fold(fine, coarse, since)


def _since(model, fine: int, coarse: int) -> datetime | None:
    """Where to begin: the start of a coarse interval, all of whose fine points are still kept."""
    rows = model.objects.all()
    newest = rows.filter(resolution_seconds=coarse).aggregate(at=Max("at"))["at"]
    oldest = rows.filter(resolution_seconds=fine).aggregate(at=Min("at"))["at"]
    if oldest is None:
        return None
    if newest is None:
        return floor(oldest, coarse)
    # Of an interval that retention has bitten into, the finished roll-up is the better record.
    whole = floor(database_now() - retention(fine), coarse) + timedelta(seconds=coarse)
    return max(floor(newest - LATENESS, coarse), whole)


def _fold_points(fine: int, coarse: int, since: datetime) -> None:
    buckets = ", ".join(
        f"coalesce(sum(buckets[{n}]), 0)::bigint" for n in range(1, len(BUCKET_BOUNDS_SECONDS) + 2)
    )
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO deployments_metricpoint (target_id, replica_id, resolution_seconds, at,"
            " covered_seconds, requests, errors, duration_seconds, buckets, refused, slow, memory_bytes)"
            " SELECT target_id, replica_id, %(coarse)s, date_bin(%(width)s, at, 'epoch'),"
            " sum(covered_seconds), sum(requests), sum(errors), sum(duration_seconds),"
            f" ARRAY[{buckets}], sum(refused), sum(slow), max(memory_bytes)"
            " FROM deployments_metricpoint WHERE resolution_seconds = %(fine)s AND at >= %(since)s"
            " GROUP BY 1, 2, 4"
            " ON CONFLICT (target_id, resolution_seconds, at, replica_id) DO UPDATE SET"
            " covered_seconds = excluded.covered_seconds, requests = excluded.requests,"
            " errors = excluded.errors, duration_seconds = excluded.duration_seconds,"
            " buckets = excluded.buckets, refused = excluded.refused, slow = excluded.slow,"
            " memory_bytes = excluded.memory_bytes",
            {"coarse": coarse, "fine": fine, "since": since, "width": timedelta(seconds=coarse)},
        )


def _fold_sizes(fine: int, coarse: int, since: datetime) -> None:
    """Of a size, the last one in the interval stands for it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO deployments_collectionsize"
            " (target_id, collection, resolution_seconds, at, points, bytes)"
            " SELECT DISTINCT ON (target_id, collection, date_bin(%(width)s, at, 'epoch'))"
            " target_id, collection, %(coarse)s, date_bin(%(width)s, at, 'epoch'), points, bytes"
            " FROM deployments_collectionsize WHERE resolution_seconds = %(fine)s AND at >= %(since)s"
            " ORDER BY target_id, collection, date_bin(%(width)s, at, 'epoch'), at DESC"
            " ON CONFLICT (target_id, resolution_seconds, at, collection) DO UPDATE SET"
            " points = excluded.points, bytes = excluded.bytes",
            {"coarse": coarse, "fine": fine, "since": since, "width": timedelta(seconds=coarse)},
        )


def expire() -> int:
    """Delete what is older than its retention, in batches; how many rows went."""
    now = database_now()
    gone = 0
    for resolution in RESOLUTIONS_SECONDS:
        before = now - retention(resolution)
        for model in (MetricPoint, CollectionSize):
            gone += _delete(model.objects.filter(resolution_seconds=resolution, at__lt=before))
    return gone + _delete(_expired_transitions(now - retention(RESOLUTIONS_SECONDS[-1])))


def _expired_transitions(before: datetime):
    """Old transitions; of a target the last one before that time stays, for it says what was then."""
    later = HealthTransition.objects.filter(
        target=OuterRef("target"), replica=None, at__lt=before, at__gt=OuterRef("at")
    )
    return HealthTransition.objects.filter(Q(replica__isnull=False) | Exists(later), at__lt=before)


def _delete(rows) -> int:
    gone = 0
    while gone < DELETED_A_RUN:
        batch = list(rows.order_by("at").values_list("pk", flat=True)[:DELETED_AT_ONCE])
        if not batch:
            break
        gone += rows.model.objects.filter(pk__in=batch)._raw_delete(rows.db)
        if len(batch) < DELETED_AT_ONCE:
            break
    return gone
