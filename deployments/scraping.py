"""Scrapes of the replicas' /metrics: counters become deltas, deltas become metric points.

The counters that the last scrape saw are stored in the same transaction as the points made of them, so no
crash counts a request twice or not at all.
"""

import itertools
import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import inf

from django.db import connection, transaction
from prometheus_client.parser import text_string_to_metric_families

from controlplane import ids
from deployments import prometheus
from deployments.advisory import only_one
from deployments.fetching import Answer, fetch_all
from deployments.metrics import BUCKET_BOUNDS_SECONDS, RAW_SECONDS
from deployments.models import LIVE_REPLICA, ClusterState, CollectionSize, Replica, ScrapeState, TargetStatus
from deployments.reaching import Road, road_to, ways_of
from worker.engine import database_now

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 5.0
# A stopping replica is asked within an operation's step, which must stay short.
LAST_TIMEOUT_SECONDS = 1.0
MOST_BYTES = 8 << 20
# Deltas over a longer time say too little about when things happened: that time stays a gap.
LONGEST_SPREAD = timedelta(minutes=15)
COLLECTIONS_KEPT = 200
# Requests refused for load or for the rate of their key, and slow queries.
NOTED = {
    "aindusdb_api_requests_shed_total": "refused",
    "aindusdb_api_requests_limited_total": "refused",
    "aindusdb_api_queries_slow_total": "slow",
}
PROBE_ROUTES = {"health", "ready", "metrics", "/health", "/ready", "/metrics"}
MEMORY = (
    "aindusdb_api_resident_memory_bytes",
    "aindusdb_api_process_resident_memory_bytes",
    "process_resident_memory_bytes",
)


@dataclass
class Scrape:
    """What one /metrics says, probes left out; `buckets` are cumulative counts by upper bound."""

    requests: dict[str, float] = field(default_factory=dict)  # "route status"
    buckets: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    noted: dict[str, float] = field(default_factory=dict)  # "refused", "slow"
    memory_bytes: int | None = None
    collections: dict[str, dict[str, int]] = field(default_factory=dict)

    def counters(self) -> dict:
        return {
            "requests": self.requests,
            "buckets": self.buckets,
            "seconds": self.seconds,
            "noted": self.noted,
        }


@dataclass
class Delta:
    """What happened between two scrapes; `buckets` are those of a MetricPoint, not cumulative."""

    good: int = 0
    errors: int = 0
    seconds: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKET_BOUNDS_SECONDS) + 1))
    refused: int = 0
    slow: int = 0


def parse(text: str) -> Scrape:
    """The figures of a Prometheus text; ValueError when it is not one."""
    return collected(
        (sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    )


def collected(samples: Iterable[prometheus.Sample]) -> Scrape:
    """The figures of (name, labels, value)."""
    scrape = Scrape()
    memory: dict[str, float] = {}
    buckets: dict[float, float] = defaultdict(float)
    for name, labels, value in samples:
        if labels.get("route") in PROBE_ROUTES:
            continue
        if name == "aindusdb_api_requests_total":
            key = f"{labels.get('route', '')} {labels.get('status', '')}"
            scrape.requests[key] = scrape.requests.get(key, 0) + value
        elif name == "aindusdb_api_request_duration_seconds_bucket":
            buckets[float(labels["le"])] += value
        elif name == "aindusdb_api_request_duration_seconds_sum":
            scrape.seconds += value
        elif name in NOTED:
            scrape.noted[NOTED[name]] = scrape.noted.get(NOTED[name], 0) + value
        elif name in ("aindusdb_api_collection_points", "aindusdb_api_collection_bytes"):
            sizes = scrape.collections.setdefault(labels["collection"], {})
            sizes[name.rpartition("_")[2]] = int(value)
        elif name in MEMORY:
            memory[name] = memory.get(name, 0) + value
    scrape.buckets = {repr(bound): buckets[bound] for bound in sorted(buckets)}
    scrape.memory_bytes = next((int(memory[name]) for name in MEMORY if name in memory), None)
    return scrape


def delta(last: dict | None, now: dict) -> Delta:
    """What was counted since the counters `last` (None: since they were zero).

    A counter that is lower than before, or gone, tells that the process began anew: then all its counters
    count from zero.
    """
    zero = {"requests": {}, "buckets": {}, "seconds": 0.0, "noted": {}}
    # What a former version stored lacks what that version did not count.
    last = zero | (last or {})
    is_reset = now["seconds"] < last["seconds"] - 1e-6 or any(
        now[kind].get(key, -1) < value
        for kind in ("requests", "buckets", "noted")
        for key, value in last[kind].items()
    )
    if is_reset:
        last = zero
    result = Delta(seconds=max(0.0, now["seconds"] - last["seconds"]))
    for name, value in now.get("noted", {}).items():
        setattr(result, name, round(value - last["noted"].get(name, 0)))
    for key, value in now["requests"].items():
        count = round(value - last["requests"].get(key, 0))
        if key.rpartition(" ")[2].startswith("5"):
            result.errors += count
        else:
            result.good += count
    result.buckets = normalised(
        [(float(key), value - last["buckets"].get(key, 0)) for key, value in now["buckets"].items()]
    )
    return result


def normalised(cumulative: list[tuple[float, float]]) -> list[int]:
    """Counts per bucket of `BUCKET_BOUNDS_SECONDS` from cumulative counts by any ascending bounds.

    Within a scraped bucket requests are taken as spread evenly; those above its last finite bound stay in
    the bucket that begins there. The sum is the scraped one.
    """
    sums = [0.0] * len(BUCKET_BOUNDS_SECONDS)
    total = cumulative[-1][1] if cumulative else 0.0
    low, before = 0.0, 0.0
    for high, count in cumulative:
        inside = max(0.0, count - before)
        for place, bound in enumerate(BUCKET_BOUNDS_SECONDS):
            if high == inf:
                share = 1.0 if bound > low else 0.0
            elif bound >= high:
                share = 1.0
            else:
                share = max(0.0, (bound - low) / (high - low)) if high > low else 0.0
            sums[place] += inside * share
        low, before = (high if high != inf else low), max(count, before)
    whole = [0, *(round(value) for value in sums), round(total)]
    return [max(0, after - before) for before, after in itertools.pairwise(whole)]


def floor(at: datetime, seconds: int) -> datetime:
    """The start of the interval of this length that `at` is in."""
    return datetime.fromtimestamp(int(at.timestamp()) // seconds * seconds, UTC)


def spread(since: datetime, until: datetime, counted: Delta) -> list[tuple[datetime, float, Delta]]:
    """(interval start, seconds covered, share) of each raw interval between two scrapes; sums exactly."""
    whole = (until - since).total_seconds()
    pieces = []
    at = floor(since, RAW_SECONDS)
    done = Delta()
    while at < until:
        end = min(at + timedelta(seconds=RAW_SECONDS), until)
        part = (end - since).total_seconds() / whole
        so_far = Delta(
            int(counted.good * part + 1e-9),
            int(counted.errors * part + 1e-9),
            counted.seconds * part,
            [int(count * part + 1e-9) for count in counted.buckets],
            int(counted.refused * part + 1e-9),
            int(counted.slow * part + 1e-9),
        )
        if end == until:
            so_far = counted
        pieces.append(
            (
                at,
                (end - max(at, since)).total_seconds(),
                Delta(
                    so_far.good - done.good,
                    so_far.errors - done.errors,
                    so_far.seconds - done.seconds,
                    [a - b for a, b in zip(so_far.buckets, done.buckets, strict=True)],
                    so_far.refused - done.refused,
                    so_far.slow - done.slow,
                ),
            )
        )
        done, at = so_far, at + timedelta(seconds=RAW_SECONDS)
    return pieces


def scrape_round() -> bool:
    """Scrape every live replica once; False when another round is under way anywhere."""
    with only_one("deployments.scrape") as mine:
        if not mine:
            return False
        replicas = list(
            Replica.objects.filter(status__in=LIVE_REPLICA, port__isnull=False)
            .exclude(target__status=TargetStatus.DESTROYED)
            .order_by("pk")
        )
        known = from_prometheus(replicas)
        answers = fetch_all(
            ways_of([replica for replica in replicas if replica.pk not in known]),
            "/metrics",
            timeout_seconds=TIMEOUT_SECONDS,
            most_bytes=MOST_BYTES,
        )
        at = database_now()
        sizes: dict[str, dict[str, dict[str, int]]] = defaultdict(dict)
        for replica in replicas:
            scraped = known.get(replica.pk) or _read(replica, answers.get(replica.pk, Answer()))
            if scraped is None:
                continue
            record(replica, scraped, at)
            for name, found in scraped.collections.items():
                known = sizes[replica.target_id].setdefault(name[:200], {"points": 0, "bytes": 0})
                for key, value in found.items():
                    known[key] = max(known[key], value)
        record_sizes(sizes, at)
        return True


def from_prometheus(replicas: list[Replica]) -> dict[str, Scrape]:
    """{replica id: figures} of pods that a Prometheus is asked for; those it does not know are left out.

    Why it gives nothing is written to the target's cluster state, and the pods are asked instead.
    """
    roads = {}
    for target_id in {replica.target_id for replica in replicas if replica.pod_uid}:
        road = road_to(target_id)
        if isinstance(road, Road) and road.prometheus:
            roads[target_id] = road
    answers = fetch_all(
        {
            key: prometheus.way_to(road.prometheus, road.access, by_address=road.by_address)
            for key, road in roads.items()
        },
        {key: prometheus.query_path(road.namespace) for key, road in roads.items()},
        timeout_seconds=TIMEOUT_SECONDS,
        most_bytes=MOST_BYTES,
    )
    found: dict[str, Scrape] = {}
    for target_id, answer in answers.items():
        told = {"source": "prometheus", "problem": ""}
        try:
            samples = prometheus.samples_of(answer, roads[target_id].namespace)
        except prometheus.PrometheusError as error:
            samples, told = {}, {"source": "pods", "problem": str(error)}
        for replica in replicas:
            pod = replica.handle.get("pod", "")
            if replica.target_id == target_id and pod in samples:
                found[replica.pk] = collected(samples[pod])
        ClusterState.objects.filter(pk=target_id).exclude(metrics_source=told).update(metrics_source=told)
    return found


def scrape_last(*replicas: Replica) -> None:
    """Count what replicas did since the last round, before they are stopped; their silence is accepted."""
    answers = fetch_all(
        ways_of(replicas),
        "/metrics",
        timeout_seconds=LAST_TIMEOUT_SECONDS,
        most_bytes=MOST_BYTES,
    )
    at = database_now()
    for replica in replicas:
        scraped = _read(replica, answers[replica.pk])
        if scraped is not None:
            record(replica, scraped, at)


def _read(replica: Replica, answer: Answer) -> Scrape | None:
    if answer.status != 200:
        log.debug("no metrics of %s: %s", replica.pk, answer.error or answer.status)
        return None
    try:
        return parse(answer.body.decode())
    except (ValueError, KeyError) as error:
        log.warning("metrics of %s cannot be read: %s", replica.pk, error)
        return None


def record(replica: Replica, scraped: Scrape, at: datetime) -> None:
    """Store what happened since this replica's last scrape, and its counters for the next."""
    with transaction.atomic():
        state = ScrapeState.objects.select_for_update(no_key=True).filter(replica=replica).first()
        since = state.at if state else replica.created_at
        if at <= since:
            return
        if at - since <= LONGEST_SPREAD:
            counted = delta(state.counters if state else None, scraped.counters())
            pieces = spread(since, at, counted)
            _add(replica, pieces, scraped.memory_bytes)
        ScrapeState.objects.update_or_create(
            replica=replica, defaults={"at": at, "counters": scraped.counters()}
        )


def _add(replica: Replica, pieces: list[tuple[datetime, float, Delta]], memory_bytes: int | None) -> None:
    """Add to the points of these intervals; an interval is met by the scrapes on both sides of a round."""
    sums = ", ".join(
        f"coalesce(p.buckets[{n}], 0) + excluded.buckets[{n}]"
        for n in range(1, len(BUCKET_BOUNDS_SECONDS) + 2)
    )
    last = len(pieces) - 1
    rows = [
        (
            ids.decode("tgt", replica.target_id),
            ids.decode("rep", replica.pk),
            RAW_SECONDS,
            at,
            covered,
            part.good + part.errors,
            part.errors,
            part.seconds,
            part.buckets,
            part.refused,
            part.slow,
            memory_bytes if number == last else None,
        )
        for number, (at, covered, part) in enumerate(pieces)
    ]
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO deployments_metricpoint AS p (target_id, replica_id, resolution_seconds, at,"
            " covered_seconds, requests, errors, duration_seconds, buckets, refused, slow, memory_bytes)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
            " ON CONFLICT (target_id, resolution_seconds, at, replica_id) DO UPDATE SET"
            " covered_seconds = p.covered_seconds + excluded.covered_seconds,"
            " requests = p.requests + excluded.requests, errors = p.errors + excluded.errors,"
            " duration_seconds = p.duration_seconds + excluded.duration_seconds,"
            f" buckets = ARRAY[{sums}], refused = p.refused + excluded.refused,"
            " slow = p.slow + excluded.slow,"
            " memory_bytes = greatest(p.memory_bytes, excluded.memory_bytes)",
            rows,
        )


def record_sizes(sizes: dict[str, dict[str, dict[str, int]]], at: datetime) -> None:
    """Store the sizes of each target's largest collections for the interval of `at`."""
    rows = []
    for target_id, collections in sizes.items():
        largest = sorted(collections.items(), key=lambda one: (-one[1]["bytes"], one[0]))[:COLLECTIONS_KEPT]
        rows += [
            CollectionSize(
                target_id=target_id,
                collection=name,
                resolution_seconds=RAW_SECONDS,
                at=floor(at, RAW_SECONDS),
                points=found["points"],
                bytes=found["bytes"],
            )
            for name, found in largest
        ]
    CollectionSize.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["target", "resolution_seconds", "at", "collection"],
        update_fields=["points", "bytes"],
        batch_size=1000,
    )
