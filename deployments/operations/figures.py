"""What the replicas of each release of a target answered, from their metric points."""

from datetime import datetime, timedelta

from django.db import connection

from controlplane import ids
from deployments.metrics import BUCKET_BOUNDS_SECONDS, RAW_SECONDS
from deployments.models import LIVE_REPLICA, Replica, Target
from deployments.operations.gates import Counted
from deployments.scraping import scrape_last


def scrape_target(target: Target) -> None:
    """Have what the target's replicas did until now in their metric points."""
    rows = Replica.objects.filter(target=target, status__in=LIVE_REPLICA, port__isnull=False)
    scrape_last(*rows.select_related("target"))


def counted_by_release(target: Target, since: datetime) -> dict[str, Counted]:
    """{release id: what its replicas answered} from the raw interval that `since` is in.

    Sums only grow while points are kept, so two of them subtract to what happened between.
    """
    buckets = ", ".join(
        f"coalesce(sum(p.buckets[{n}]), 0)::bigint" for n in range(1, len(BUCKET_BOUNDS_SECONDS) + 2)
    )
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT r.release_id, sum(p.requests)::bigint, sum(p.errors)::bigint, {buckets}"
            " FROM deployments_metricpoint p JOIN deployments_replica r ON r.id = p.replica_id"
            " WHERE p.target_id = %s AND p.resolution_seconds = %s AND p.at > %s GROUP BY 1",
            [ids.decode("tgt", target.pk), RAW_SECONDS, since - timedelta(seconds=RAW_SECONDS)],
        )
        return {
            ids.encode("rel", release): Counted(requests, errors, list(counts))
            for release, requests, errors, *counts in cursor.fetchall()
        }
