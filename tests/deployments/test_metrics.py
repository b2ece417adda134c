"""Scrapes of real HTTP servers into points, roll-ups, retention, and what is read from them."""

import itertools
import threading
from datetime import UTC, datetime, timedelta
from math import inf

import numpy as np
import pytest
from django.db import connection
from django.db.models import Sum
from hypothesis import given
from hypothesis import strategies as st

from controlplane.errors import InvalidError
from controlplane.models import Project
from deployments import metrics, rollup, scraping
from deployments.metrics import BUCKET_BOUNDS_SECONDS
from deployments.models import (
    CollectionSize,
    HealthTransition,
    MetricPoint,
    Replica,
    Rollout,
    ScrapeState,
)
from tests.deployments.fleet import Fleet
from vectors.metrics import BUCKETS as EXPORTED_BOUNDS
from worker.engine import database_now

pytestmark = pytest.mark.django_db
BINS = len(BUCKET_BOUNDS_SECONDS) + 1


@pytest.fixture
def fleet(db):
    fleet = Fleet(Project.objects.create(name="default"))
    yield fleet
    fleet.close()


def exposition(good=0, bad=0, fast=0, slow=0, memory=100, collections=(), probes=0, noted=None):
    """A replica's /metrics: `fast` requests took at most 10 ms, `slow` ones 100 to 250 ms."""
    lines = [
        "# TYPE aindusdb_api_requests_total counter",
        f'aindusdb_api_requests_total{{route="query",status="2xx"}} {good}',
        f'aindusdb_api_requests_total{{route="query",status="5xx"}} {bad}',
        f'aindusdb_api_requests_total{{route="ready",status="5xx"}} {probes}',
        "# TYPE aindusdb_api_request_duration_seconds histogram",
    ]
    for route, counts in (("query", (fast, fast, fast + slow, fast + slow)), ("ready", (probes,) * 4)):
        for bound, count in zip(("0.01", "0.1", "0.25", "+Inf"), counts, strict=True):
            lines.append(
                f'aindusdb_api_request_duration_seconds_bucket{{route="{route}",le="{bound}"}} {count}'
            )
        total = fast * 0.005 + slow * 0.2 if route == "query" else probes
        lines.append(f'aindusdb_api_request_duration_seconds_sum{{route="{route}"}} {total}')
        lines.append(f'aindusdb_api_request_duration_seconds_count{{route="{route}"}} {counts[-1]}')
    for name, count in (noted or {}).items():
        lines += [f"# TYPE aindusdb_api_{name}_total counter", f"aindusdb_api_{name}_total {count}"]
    lines += ["# TYPE aindusdb_api_resident_memory_bytes gauge"]
    lines += [f"aindusdb_api_resident_memory_bytes {memory}"]
    for kind, place in (("points", 1), ("bytes", 2)):
        lines.append(f"# TYPE aindusdb_api_collection_{kind} gauge")
        lines += [f'aindusdb_api_collection_{kind}{{collection="{c[0]}"}} {c[place]}' for c in collections]
    return "\n".join(lines) + "\n"


def scrape(fleet, replica, seconds_ago=None, **figures):
    """One round, as if the last one had been some seconds ago."""
    if seconds_ago is not None:
        ScrapeState.objects.filter(replica=replica).update(at=database_now() - timedelta(seconds=seconds_ago))
    fleet.fakes[replica.pk].says("/metrics", 200, exposition(**figures))
    assert scraping.scrape_round()


def totals(target, resolution=15):
    """(requests, errors, seconds, covered seconds, buckets) of all points of a resolution."""
    rows = MetricPoint.objects.filter(target=target, resolution_seconds=resolution)
    names = ("requests", "errors", "duration_seconds", "covered_seconds")
    sums = rows.aggregate(*map(Sum, names))
    buckets = [sum(column) for column in zip(*rows.values_list("buckets", flat=True), strict=True)]
    return (*(sums[f"{name}__sum"] for name in names), buckets)


def test_deltas_of_scrapes_add_up_without_the_probes(fleet):
    target, (replica,) = fleet.serving(count=1)
    scrape(fleet, replica, good=5, bad=1, fast=4, slow=2, probes=50)
    scrape(fleet, replica, 15, good=35, bad=3, fast=30, slow=8, probes=99)
    requests, errors, seconds, covered, buckets = totals(target)
    assert (requests, errors, sum(buckets)) == (38, 3, 38)
    assert seconds == pytest.approx(30 * 0.005 + 8 * 0.2)
    assert covered == pytest.approx(15, abs=3)
    assert sum(buckets[: BUCKET_BOUNDS_SECONDS.index(0.01) + 1]) == 30
    assert buckets[BUCKET_BOUNDS_SECONDS.index(0.25)] == 8
    points = MetricPoint.objects.filter(target=target).order_by("at")
    assert all(point.at.timestamp() % 15 == 0 for point in points)
    assert points.last().memory_bytes == 100


def strain(target, resolution=15):
    """(refused, slow) of all points of a resolution."""
    sums = MetricPoint.objects.filter(target=target, resolution_seconds=resolution)
    return tuple(sums.aggregate(Sum("refused"), Sum("slow")).values())


def test_refused_requests_and_slow_queries(fleet):
    target, (replica,) = fleet.serving(count=1)
    names = ("requests_shed", "requests_limited", "queries_slow")
    scrape(fleet, replica, good=1, fast=1, noted=dict(zip(names, (4, 1, 2), strict=True)))
    MetricPoint.objects.all().delete()
    scrape(fleet, replica, 60, good=9, fast=9, noted=dict(zip(names, (100, 5, 3), strict=True)))
    assert strain(target) == (100, 1)
    # A restart that only these tell of, then a replica that does not count them.
    scrape(fleet, replica, 15, good=9, fast=9, noted=dict(zip(names, (2, 0, 0), strict=True)))
    scrape(fleet, replica, 15, good=9, fast=9)
    assert strain(target) == (102, 1)
    rollup.roll_up()
    rollup.roll_up()
    assert strain(target, 300) == strain(target, 3600) == (102, 1)
    now = database_now()
    points = metrics.series(target, now - timedelta(minutes=10), now + timedelta(minutes=1))["points"]
    seen = [point for point in points if point["refused_per_second"] is not None]
    assert max(point["refused_per_second"] for point in seen) > 1
    assert max(point["slow_per_second"] for point in seen) > 0


def test_counters_of_a_former_version_lack_what_it_did_not_count(fleet):
    target, (replica,) = fleet.serving(count=1)
    scrape(fleet, replica, good=1, fast=1)
    state = ScrapeState.objects.get(replica=replica)
    del state.counters["noted"]
    state.save()
    MetricPoint.objects.all().delete()
    scrape(fleet, replica, 15, good=4, fast=4, noted={"queries_slow": 2})
    assert totals(target)[0] == 3
    assert strain(target) == (0, 2)


def test_a_restarted_replica_counts_from_zero(fleet):
    target, (replica,) = fleet.serving(count=1)
    scrape(fleet, replica, good=100, fast=100)
    scrape(fleet, replica, 15, good=120, bad=2, fast=122)
    scrape(fleet, replica, 15, good=7, fast=7)
    scrape(fleet, replica, 15, good=8, fast=8)
    requests, errors, _, _, buckets = totals(target)
    assert (requests, errors, sum(buckets)) == (100 + 22 + 7 + 1, 2, 130)


def test_nothing_is_lost_by_a_pause_and_a_long_one_stays_a_gap(fleet):
    target, (replica,) = fleet.serving(count=1)
    scrape(fleet, replica, good=10, fast=10)
    MetricPoint.objects.all().delete()
    scrape(fleet, replica, 300, good=310, fast=310)
    requests, _, _, covered, _ = totals(target)
    assert requests == 300
    assert covered == pytest.approx(300, abs=1)
    full = MetricPoint.objects.filter(target=target, covered_seconds=15)
    assert full.count() >= 18
    assert {point.requests for point in full} <= {14, 15, 16}
    scrape(fleet, replica, 3600, good=5000, fast=5000)
    assert totals(target)[0] == 300
    scrape(fleet, replica, 15, good=5003, fast=5003)
    assert totals(target)[0] == 303


def test_a_replica_seen_late_for_the_first_time_only_sets_the_base(fleet):
    target, (replica,) = fleet.serving(count=1)
    Replica.objects.filter(pk=replica.pk).update(created_at=database_now() - timedelta(hours=1))
    scrape(fleet, replica, good=1000, fast=1000)
    assert not MetricPoint.objects.filter(target=target).exists()


def test_bad_answers_change_nothing(fleet):
    target, replicas = fleet.serving(count=4)
    for replica, (status, body) in zip(
        replicas, [(500, ""), (200, "<html>no { metrics"), (200, 'x{le="a'), (200, "x" * 100)], strict=True
    ):
        fleet.fakes[replica.pk].says("/metrics", status, body)
    fleet.fakes[replicas[0].pk].answers["/metrics"] = (200, b"\xff\xfe")
    assert scraping.scrape_round()
    assert not MetricPoint.objects.filter(target=target, requests__gt=0).exists()


@pytest.mark.django_db(transaction=True)
def test_two_rounds_at_once_are_one(fleet):
    target, (replica,) = fleet.serving(count=1)
    fake = fleet.fakes[replica.pk]
    fake.says("/metrics", 200, exposition(good=5, fast=5))
    fake.hold.set()
    results = []

    def run():
        try:
            results.append(scraping.scrape_round())
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert fake.entered.wait(5)
    assert scraping.scrape_round() is False
    fake.go_on.set()
    thread.join(10)
    assert results == [True]
    assert totals(target)[0] == 5


def test_collection_sizes_are_those_of_any_replica(fleet):
    target, (one, two) = fleet.serving()
    fleet.fakes[two.pk].says("/metrics", 200, exposition(collections=[("a", 9, 90), ("b", 1, 10)]))
    scrape(fleet, one, collections=[("a", 10, 100)])
    rows = CollectionSize.objects.filter(target=target).order_by("collection")
    assert [(row.collection, row.points, row.bytes) for row in rows] == [("a", 10, 100), ("b", 1, 10)]
    now = database_now()
    shown = metrics.series(target, now - timedelta(hours=1), now + timedelta(seconds=1))["collections"]
    assert {name: [(p["points"], p["bytes"]) for p in rows] for name, rows in shown.items()} == {
        "a": [(10, 100)],
        "b": [(1, 10)],
    }


# Histograms


@given(
    times=st.lists(st.floats(0.0001, 9.9), min_size=1, max_size=300),
    share=st.sampled_from([0.5, 0.9, 0.95, 0.99]),
)
def test_percentiles_are_within_a_bucket_of_numpy(times, share):
    edges = [0.0, *BUCKET_BOUNDS_SECONDS, inf]
    buckets = [sum(low < t <= high for t in times) for low, high in itertools.pairwise(edges)]
    exact = float(np.quantile(times, share, method="inverted_cdf"))
    place = next(i for i, bound in enumerate(BUCKET_BOUNDS_SECONDS) if exact <= bound)
    found = metrics.percentile_ms(buckets, share) / 1000
    assert edges[place] - 1e-9 <= found <= edges[place + 1] + 1e-9


def test_percentiles_at_the_ends():
    assert metrics.percentile_ms([], 0.5) is None
    assert metrics.percentile_ms([0] * BINS, 0.5) is None
    assert metrics.percentile_ms([0] * (BINS - 1) + [5], 0.5) == 10_000
    assert metrics.percentile_ms([10] + [0] * (BINS - 1), 0.5) == pytest.approx(0.25)


@given(
    bounds=st.sets(st.floats(0.0002, 60), min_size=1, max_size=20),
    counts=st.lists(st.integers(0, 1000), min_size=21, max_size=21),
)
def test_any_bounds_are_normalised_without_losing_a_request(bounds, counts):
    scraped = list(zip([*sorted(bounds), inf], itertools.accumulate(counts), strict=False))
    result = scraping.normalised(scraped)
    assert len(result) == BINS
    assert sum(result) == scraped[-1][1]
    assert min(result) >= 0


def test_equal_bounds_are_taken_over_exactly():
    counts = list(range(1, BINS + 1))
    scraped = list(zip([*BUCKET_BOUNDS_SECONDS, inf], itertools.accumulate(counts), strict=True))
    assert scraping.normalised(scraped) == counts
    assert scraping.normalised([]) == [0] * BINS


def test_the_vector_apis_bounds_are_ours_but_for_the_finest():
    assert set(EXPORTED_BOUNDS) <= set(BUCKET_BOUNDS_SECONDS)


@given(
    good=st.integers(0, 10_000),
    errors=st.integers(0, 100),
    offset=st.floats(0, 15),
    seconds=st.floats(0.01, 900),
)
def test_a_spread_delta_sums_exactly(good, errors, offset, seconds):
    since = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=offset)
    until = since + timedelta(seconds=seconds)
    counted = scraping.Delta(good, errors, 1.5, [good] + [0] * (BINS - 1))
    pieces = scraping.spread(since, until, counted)
    assert sum(part.good for _, _, part in pieces) == good
    assert sum(part.errors for _, _, part in pieces) == errors
    assert sum(part.buckets[0] for _, _, part in pieces) == good
    assert sum(covered for _, covered, _ in pieces) == pytest.approx((until - since).total_seconds())
    assert all(part.good >= 0 and part.errors >= 0 and 0 < covered <= 15 for _, covered, part in pieces)


# Roll-ups


def fill(target, replica, since, count, seed=1, **values):
    """Points of 15 s with random figures."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        buckets = [int(n) for n in random.integers(0, 20, BINS)]
        rows.append(
            MetricPoint(
                target=target,
                replica=replica,
                resolution_seconds=15,
                at=since + timedelta(seconds=15 * number),
                covered_seconds=15,
                requests=values.get("requests", sum(buckets)),
                errors=int(random.integers(0, 3)),
                duration_seconds=float(random.random()),
                buckets=buckets,
                memory_bytes=int(random.integers(1, 1000)),
            )
        )
    MetricPoint.objects.bulk_create(rows)


def aligned(hours_ago: float, seconds=3600):
    return scraping.floor(database_now() - timedelta(hours=hours_ago), seconds)


def test_rolled_up_points_sum_to_the_fine_ones(fleet):
    target, (one, two) = fleet.serving()
    fill(target, one, aligned(5), 500)
    fill(target, two, aligned(4) + timedelta(seconds=45), 300, seed=2)
    assert rollup.roll_up_and_expire()
    for coarse in (300, 3600):
        assert totals(target, coarse)[:2] == totals(target)[:2]
        assert totals(target, coarse)[2:4] == pytest.approx(totals(target)[2:4])
        assert totals(target, coarse)[4] == totals(target)[4]
    columns = ("id", "at", "replica_id", "requests", "errors", "covered_seconds", "buckets", "memory_bytes")
    everything = list(MetricPoint.objects.order_by("id").values_list(*columns))
    rollup.roll_up()
    again = list(MetricPoint.objects.order_by("id").values_list(*columns))
    assert again == everything, "a second run changes nothing"


def test_late_points_are_rolled_up(fleet):
    target, (one, two) = fleet.serving()
    fill(target, one, aligned(1), 200)
    rollup.roll_up()
    newest = MetricPoint.objects.filter(resolution_seconds=15).latest("at").at
    fill(target, two, newest - timedelta(minutes=15), 60, seed=3)
    rollup.roll_up()
    for coarse in (300, 3600):
        assert totals(target, coarse)[0] == totals(target)[0]


def test_sizes_roll_up_to_the_last(fleet):
    target = fleet.target()
    since = aligned(2)
    for number in range(30):
        CollectionSize.objects.create(
            target=target,
            collection="a",
            resolution_seconds=15,
            at=since + timedelta(seconds=15 * number),
            points=number,
            bytes=number * 10,
        )
    rollup.roll_up()
    rows = CollectionSize.objects.filter(resolution_seconds=300).order_by("at")
    assert [row.points for row in rows] == [19, 29]
    assert CollectionSize.objects.get(resolution_seconds=3600).points == 29


def test_retention_deletes_in_batches_what_is_too_old(fleet, settings, monkeypatch):
    monkeypatch.setattr(rollup, "DELETED_AT_ONCE", 7)
    target, (replica,) = fleet.serving(count=1)
    fill(target, replica, aligned(72), 40)
    fill(target, replica, aligned(1), 40)
    rollup.roll_up()
    before = totals(target, 300)[0]
    assert rollup.expire() == 40
    assert totals(target, 300)[0] == before
    rollup.roll_up()
    assert totals(target, 300)[0] == before, "what expired is not rolled up anew"
    settings.METRICS_KEEP_DAYS = {15: 1, 300: 1, 3600: 1}
    rollup.expire()
    assert not MetricPoint.objects.filter(at__lt=database_now() - timedelta(days=1)).exists()


def test_retention_keeps_the_transition_that_says_what_was(fleet, settings):
    target, (replica,) = fleet.serving(count=1)
    old = database_now() - timedelta(days=500)
    for number, state in enumerate(["healthy", "unhealthy", "healthy"]):
        for of in (None, replica):
            HealthTransition.objects.create(
                target=target,
                replica=of,
                at=old + timedelta(days=number),
                previous="unknown",
                health=state,
            )
    rollup.expire()
    assert [row.at for row in HealthTransition.objects.all()] == [old + timedelta(days=2)]


# Reading


def test_series_shows_rates_percentiles_gaps_and_annotations(fleet):
    target, (one, two) = fleet.serving()
    until = scraping.floor(database_now(), 15)
    since = until - timedelta(minutes=10)
    fill(target, one, since + timedelta(minutes=1), 8, requests=30)
    fill(target, two, since + timedelta(minutes=1), 8, requests=15)
    fill(target, one, since + timedelta(minutes=5), 4, requests=30)
    rollout = Rollout.objects.create(target=target, release=fleet.release, created_by="test")
    Rollout.objects.filter(pk=rollout.pk).update(created_at=since + timedelta(minutes=2))
    HealthTransition.objects.create(
        target=target, at=since + timedelta(minutes=3), previous="healthy", health="degraded"
    )
    found = metrics.series(target, since, until)
    assert found["step_seconds"] == 15
    points = found["points"]
    assert len(points) == 40
    assert points[0]["at"] == since
    assert [points[n]["requests_per_second"] for n in (3, 4, 11, 12, 20, 24)] == [None, 3, 3, None, 2, None]
    assert all(value is None for key, value in points[0].items() if key != "at")
    rows = MetricPoint.objects.filter(target=target, at=points[5]["at"])
    summed = [sum(column) for column in zip(*(row.buckets for row in rows), strict=True)]
    assert points[5]["p95_ms"] == metrics.percentile_ms(summed, 0.95)
    assert points[5]["memory_bytes"] == sum(row.memory_bytes for row in rows)
    assert points[5]["error_rate"] == sum(row.errors for row in rows) / 45
    assert [(a["kind"], a["text"]) for a in found["annotations"]] == [
        ("rollout", "Rollout of v1"),
        ("health", "Healthy to degraded"),
    ]


def test_a_replaced_replica_does_not_change_the_rate(fleet):
    target, (one, two) = fleet.serving()
    until = scraping.floor(database_now(), 60)
    since = until - timedelta(minutes=10)
    fill(target, one, since, 22, requests=30)
    fill(target, two, since + timedelta(seconds=15 * 22), 18, requests=30)
    rates = [p["requests_per_second"] for p in metrics.series(target, since, until, 60)["points"]]
    assert rates == [2] * 10


@pytest.mark.parametrize(
    ("span", "ago", "resolution", "step"),
    [
        (timedelta(hours=1), timedelta(0), 15, 15),
        (timedelta(hours=6), timedelta(0), 15, 120),
        (timedelta(hours=24), timedelta(0), 300, 300),
        (timedelta(days=7), timedelta(0), 3600, 3600),
        (timedelta(days=30), timedelta(0), 3600, 10_800),
        (timedelta(days=400), timedelta(0), 3600, 172_800),
        (timedelta(hours=1), timedelta(days=5), 300, 300),
        (timedelta(hours=1), timedelta(days=60), 3600, 3600),
    ],
)
def test_the_range_chooses_resolution_and_step(span, ago, resolution, step):
    now = datetime(2026, 6, 1, tzinfo=UTC)
    chosen = metrics.resolution_and_step(now - ago - span, now - ago, None, now)
    assert chosen == (resolution, step)
    assert span.total_seconds() / step <= 301


@pytest.mark.parametrize(("span", "step"), [(0, None), (-5, None), (3600, 20), (3600, 0), (86400, 15)])
def test_ranges_and_steps_that_cannot_be_served_are_refused(span, step):
    now = datetime(2026, 6, 1, tzinfo=UTC)
    with pytest.raises(InvalidError) as caught:
        metrics.resolution_and_step(now - timedelta(seconds=span), now, step, now)
    assert caught.value.errors[0]["field"] in ("since", "step_seconds")


def test_coarse_and_fine_series_agree(fleet):
    target, (one, two) = fleet.serving()
    since = aligned(4)
    fill(target, one, since, 480)
    fill(target, two, since, 480, seed=2)
    rollup.roll_up()
    until = since + timedelta(hours=2)
    for step in (60, 300, 900, 3600):
        points = metrics.series(target, since, until, step)["points"]
        whole = sum(p["requests_per_second"] * step for p in points)
        assert whole == pytest.approx(totals(target)[0])


def test_latest_figures_of_many_targets_in_one_query(fleet, django_assert_num_queries):
    busy, (one, two) = fleet.serving()
    idle, _ = fleet.serving("two")
    gone, (old,) = fleet.serving("three", count=1)
    newest = scraping.floor(database_now(), 15)
    fill(busy, one, newest - timedelta(seconds=300), 20, requests=30)
    fill(busy, two, newest - timedelta(seconds=300), 20, requests=60)
    fill(gone, old, newest - timedelta(seconds=300), 5, requests=30)
    with django_assert_num_queries(2):  # one of them asks for the time
        found = metrics.latest_for([busy, idle, gone])
    assert found[busy.pk]["requests_per_second"] == pytest.approx(6)
    assert 0 < found[busy.pk]["p50_ms"] < found[busy.pk]["p95_ms"] <= found[busy.pk]["p99_ms"]
    assert found[busy.pk]["memory_bytes"] > 0
    assert found[idle.pk]["requests_per_second"] is found[idle.pk]["at"] is None
    assert found[gone.pk]["requests_per_second"] is None
    assert found[gone.pk]["at"] is not None
    assert metrics.latest(busy)["error_rate"] == found[busy.pk]["error_rate"]
