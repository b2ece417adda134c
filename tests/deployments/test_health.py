"""Probe rounds against real HTTP servers, and what is read from the transitions they write."""

import itertools
import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from controlplane.models import Project
from deployments import health
from deployments.advisory import only_one
from deployments.models import Health, HealthTransition, ProbeHeartbeat, Replica, ReplicaStatus, Target
from deployments.probing import UNKNOWN_AFTER, probe_round
from tests.deployments.fleet import Fleet
from worker.engine import database_now
from worker.services import operation_submit

pytestmark = pytest.mark.django_db
in_threads = pytest.mark.django_db(transaction=True)

NOT_READY = '{"detail": "database: is not reachable", "code": "not_ready"}'


@pytest.fixture
def fleet(db):
    fleet = Fleet(Project.objects.create(name="default"))
    yield fleet
    fleet.close()


def rounds(count: int) -> None:
    for _ in range(count):
        assert probe_round()


def changes(target, replica=None):
    rows = HealthTransition.objects.filter(target=target, replica=replica).order_by("id")
    return [(row.previous, row.health) for row in rows]


def test_ready_replicas_make_a_healthy_target_and_nothing_more_is_written(fleet):
    target, (one, two) = fleet.serving()
    rounds(3)
    target.refresh_from_db()
    assert (target.health, target.health_reason) == ("healthy", "2 of 2 replicas are ready.")
    assert changes(target) == [("unknown", "healthy")]
    assert changes(target, one) == changes(target, two) == [("unknown", "healthy")]
    one.refresh_from_db()
    assert one.last_probe_ms > 0
    assert one.passed_probes == 3


def test_two_equal_readings_flip_a_replica_with_the_reason(fleet):
    target, (one, _) = fleet.serving()
    rounds(1)
    fleet.fakes[one.pk].says("/ready", 503, NOT_READY)
    rounds(1)
    one.refresh_from_db()
    assert one.status == ReplicaStatus.READY
    rounds(1)
    one.refresh_from_db()
    target.refresh_from_db()
    assert one.status == ReplicaStatus.UNREADY
    assert one.reason == "/ready answers 503: database: is not reachable"
    assert target.health == "degraded"
    assert target.health_reason == f"1 of 2 replicas are ready; replica {one.pk}: {one.reason}"
    assert target.status == "degraded"
    assert target.status_reason == target.health_reason

    fleet.fakes[one.pk].says("/ready", 200, "{}")
    rounds(1)
    one.refresh_from_db()
    assert one.status == ReplicaStatus.UNREADY
    rounds(1)
    one.refresh_from_db()
    target.refresh_from_db()
    assert (one.status, one.reason) == (ReplicaStatus.READY, "")
    assert (target.health, target.status, target.status_reason) == ("healthy", "ready", "")
    assert changes(target) == [("unknown", "healthy"), ("healthy", "degraded"), ("degraded", "healthy")]
    assert changes(target, one) == [
        ("unknown", "healthy"),
        ("healthy", "unhealthy"),
        ("unhealthy", "healthy"),
    ]


def test_a_flapping_replica_does_not_flip(fleet):
    target, (one, _) = fleet.serving()
    rounds(1)
    for status in (503, 200, 503, 200, 503):
        fleet.fakes[one.pk].says("/ready", status, "{}")
        rounds(1)
    assert changes(target) == [("unknown", "healthy")]


def test_none_ready_is_unhealthy_and_a_closed_port_is_told(fleet):
    target, replicas = fleet.serving()
    rounds(1)
    for replica in replicas:
        fleet.fakes.pop(replica.pk).close()
    rounds(2)
    target.refresh_from_db()
    assert (target.health, target.status) == ("unhealthy", "degraded")
    assert target.health_reason.startswith("0 of 2 replicas are ready; replica rep_")
    assert "/ready cannot be reached (connection refused)" in target.health_reason


def test_a_silent_replica_does_not_hold_the_others_up(fleet):
    target, (one, two) = fleet.serving()
    fleet.fakes[one.pk].hold.set()
    rounds(1)
    two.refresh_from_db()
    assert two.health == "healthy"
    target.refresh_from_db()
    assert target.health == "degraded"
    assert "/ready does not answer within 2 s" in target.health_reason


@pytest.mark.parametrize("status", [ReplicaStatus.STARTING, ReplicaStatus.DRAINING])
def test_replicas_on_their_way_are_probed_and_left_alone(fleet, status):
    target, _ = fleet.serving(count=1)
    other = fleet.replica(target, status)
    rounds(1)
    fleet.fakes[other.pk].says("/ready", 503, "{}")
    rounds(3)
    other.refresh_from_db()
    target.refresh_from_db()
    assert (other.status, other.failed_probes, other.health) == (status, 0, "unknown")
    assert other.last_probe_at is not None
    assert target.health == "healthy"


@in_threads
def test_a_status_changed_during_the_probe_stays(fleet):
    _, (one, two) = fleet.serving()
    rounds(1)
    for replica in (one, two):
        fleet.fakes[replica.pk].says("/ready", 503, "{}")
    rounds(1)
    fake = fleet.fakes[one.pk]
    fake.hold.set()
    failures = []

    def run():
        try:
            probe_round()
        except Exception as error:
            failures.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert fake.entered.wait(5)
    Replica.objects.filter(pk=one.pk).update(status=ReplicaStatus.DRAINING)
    fake.go_on.set()
    thread.join(10)
    assert not failures
    one.refresh_from_db()
    two.refresh_from_db()
    assert (one.status, two.status) == (ReplicaStatus.DRAINING, ReplicaStatus.UNREADY)


@in_threads
def test_a_replica_replaced_during_a_round_leaves_the_target_healthy(fleet):
    target, (old, other) = fleet.serving()
    new = fleet.replica(target, ReplicaStatus.STARTING)
    fleet.fakes[new.pk].says("/ready", 503, "{}")
    rounds(1)
    fake = fleet.fakes[other.pk]
    fake.hold.set()
    thread = threading.Thread(target=lambda: (probe_round(), connection.close()))
    thread.start()
    assert fake.entered.wait(5)
    Replica.objects.filter(pk=new.pk).update(status=ReplicaStatus.READY)
    Replica.objects.filter(pk=old.pk).update(status=ReplicaStatus.DRAINING)
    fake.go_on.set()
    thread.join(10)
    target.refresh_from_db()
    assert (target.health, target.status) == ("healthy", "ready")
    assert changes(target) == [("unknown", "healthy")]
    assert changes(target, new) == [("unknown", "healthy")]


@in_threads
def test_two_rounds_at_once_are_one(fleet):
    _target, (one, _) = fleet.serving()
    fake = fleet.fakes[one.pk]
    fake.hold.set()
    results = []

    def run():
        try:
            results.append(probe_round())
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert fake.entered.wait(5)
    assert probe_round() is False
    fake.go_on.set()
    thread.join(10)
    assert results == [True]
    assert len(fake.asked) == 1
    with only_one("deployments.probe") as mine:
        assert mine, "the lock is given back"


def test_dead_and_stopped_replicas_are_told_of(fleet):
    target, (one, two) = fleet.serving()
    rounds(1)
    now = database_now()
    Replica.objects.filter(pk=one.pk).update(
        status=ReplicaStatus.FAILED, reason="The process was killed by SIGKILL.", stopped_at=now
    )
    Replica.objects.filter(pk=two.pk).update(status=ReplicaStatus.STOPPED, reason="replaced", stopped_at=now)
    rounds(2)
    target.refresh_from_db()
    assert target.health == "unhealthy"
    assert "killed by SIGKILL" in target.health_reason
    assert changes(target, one)[-1] == ("healthy", "unhealthy")
    assert changes(target, two)[-1] == ("healthy", "unknown")


def test_a_replica_replaced_between_two_rounds_is_a_dip(fleet):
    target, (one, two) = fleet.serving()
    rounds(1)
    target.refresh_from_db()
    long_ago = target.health_since - timedelta(seconds=60)
    Target.objects.filter(pk=target.pk).update(health_since=long_ago, ready_at=long_ago)
    HealthTransition.objects.update(at=long_ago)
    Replica.objects.filter(pk=two.pk).update(ready_at=long_ago)
    now = database_now()
    died, replaced = now - timedelta(seconds=20), now - timedelta(seconds=5)
    Replica.objects.filter(pk=one.pk).update(status="failed", reason="killed.", stopped_at=died)
    fleet.replica(target, ready_at=replaced)
    rounds(2)
    target.refresh_from_db()
    assert (target.health, target.health_since) == ("healthy", replaced)
    rows = list(HealthTransition.objects.filter(target=target, replica=None).order_by("id"))[1:]
    assert [(row.at, row.health) for row in rows] == [(died, "degraded"), (replaced, "healthy")]
    assert rows[0].reason == f"1 of 2 replicas ready; replica {one.pk}: killed."


def test_a_target_that_does_not_serve_is_unknown_and_a_destroyed_one_is_skipped(fleet):
    target, _ = fleet.serving()
    gone, _ = fleet.serving("two")
    rounds(1)
    Target.objects.filter(pk=target.pk).update(status="destroying")
    Target.objects.filter(pk=gone.pk).update(status="destroyed", destroyed_at=database_now())
    asked = [len(fake.asked) for fake in fleet.fakes.values()]
    rounds(1)
    target.refresh_from_db()
    assert (target.health, target.status) == ("unknown", "destroying")
    assert target.health_reason == "The target is destroying."
    assert changes(gone) == [("unknown", "healthy")]
    assert [len(fake.asked) for fake in fleet.fakes.values()] == [asked[0] + 1, asked[1] + 1, *asked[2:]]


def test_scaling_out_is_not_degraded_and_an_operation_ends_degraded_itself(fleet):
    target, _ = fleet.serving()
    operation_submit(
        project=fleet.project,
        kind="target.scale",
        subject=target.subject,
        input={"target": target.pk, "replicas": 5, "before": 2},
        created_by="test",
    )
    Target.objects.filter(pk=target.pk).update(desired_replicas=5, status="degraded")
    rounds(1)
    target.refresh_from_db()
    assert (target.health, target.status) == ("healthy", "degraded")


def age(seconds: float) -> None:
    """Move all that is recorded back in time."""
    by = timedelta(seconds=seconds)
    for row in ProbeHeartbeat.objects.all():
        ProbeHeartbeat.objects.filter(pk=row.pk).update(at=row.at - by)
    for row in HealthTransition.objects.all():
        HealthTransition.objects.filter(pk=row.pk).update(at=row.at - by)
    for row in Target.objects.all():
        Target.objects.filter(pk=row.pk).update(
            ready_at=row.ready_at - by, health_since=row.health_since and row.health_since - by
        )


def test_time_without_rounds_is_unknown(fleet):
    target, _ = fleet.serving()
    rounds(1)
    age(100)
    rounds(1)  # 100 s without a round
    age(100)
    told = health.target_health(target)
    assert told["health"] == "unknown"
    assert "no probe ran" in told["reason"]
    assert told["since"] == told["last_round_at"]
    assert {replica["health"] for replica in told["replicas"]} == {"unknown"}
    rounds(1)
    assert changes(target) == [
        ("unknown", "healthy"),
        ("healthy", "unknown"),
        ("unknown", "healthy"),
        ("healthy", "unknown"),
        ("unknown", "healthy"),
    ]
    target.refresh_from_db()
    segments = health.timelines([target], 1000)[target.pk]
    unknown = sum(s.seconds for s in segments if s.health == Health.UNKNOWN)
    assert 199 < unknown < 202
    assert health.uptime(target, 1000) == 1.0
    assert health.target_health(target)["health"] == "healthy"


def test_a_short_pause_is_not_a_gap(fleet):
    target, _ = fleet.serving()
    rounds(1)
    age(UNKNOWN_AFTER.total_seconds() - 10)
    rounds(1)
    assert changes(target) == [("unknown", "healthy")]


def write(target, now, *entries):
    """Transitions as (seconds ago, health)."""
    previous = "unknown"
    for seconds, state in entries:
        HealthTransition.objects.create(
            target=target, at=now - timedelta(seconds=seconds), previous=previous, health=state
        )
        previous = state


def test_uptime_and_strip(fleet):
    now = database_now()
    target = fleet.target(ready_at=now - timedelta(hours=2))
    ProbeHeartbeat.objects.create(at=now)
    write(target, now, (7200, "healthy"), (1800, "unhealthy"), (900, "degraded"), (600, "unknown"))
    assert health.uptime(target, 3600) == pytest.approx(2100 / 3000, abs=1e-3)
    assert health.uptime(target, 86400) == pytest.approx(5700 / 6600, abs=1e-3)
    assert health.uptime(target, 300) is None
    assert set(health.target_health(target)["uptime"]) == {"1h", "24h", "30d"}
    strip = health.health_strip(target, hours=4, slots=16)
    assert len(strip) == 16
    assert [slot["health"] for slot in strip[:7]] == ["unknown"] * 7, "it was not there yet"
    assert [slot["health"] for slot in strip[8:]][:5] == ["healthy"] * 5
    assert strip[-2]["health"] == "unhealthy"
    assert strip[-1]["health"] == "degraded" or strip[-1]["health"] == "unhealthy"
    assert strip[-1]["until"] - strip[0]["at"] == timedelta(hours=4)


def test_uptime_without_data(fleet):
    assert health.uptime(fleet.target(ready_at=None), 3600) is None
    assert health.uptime(fleet.target("two"), 3600) is None
    target = fleet.target("three")
    assert health.target_health(target)["uptime"] == {"1h": None, "24h": None, "30d": None}


def test_a_destroyed_targets_history_ends(fleet):
    now = database_now()
    ProbeHeartbeat.objects.create(at=now)
    target = fleet.target(
        ready_at=now - timedelta(seconds=1000), status="destroyed", destroyed_at=now - timedelta(seconds=500)
    )
    write(target, now, (1000, "healthy"), (600, "unhealthy"))
    assert health.uptime(target, 3600) == pytest.approx(0.8, abs=1e-3)


def test_strips_of_many_targets_take_few_queries(fleet, django_assert_max_num_queries):
    targets = [fleet.target(f"t{number}") for number in range(5)]
    with django_assert_max_num_queries(4):
        health.health_strips(targets)
    with django_assert_max_num_queries(4):
        health.uptimes(targets)


def test_transitions_page_by_page(fleet):
    target, _ = fleet.serving()
    rounds(1)
    everything = health.transitions(target)
    assert len(everything) == 3
    first = health.transitions(target, limit=2)
    rest = health.transitions(target, limit=2, before=first[-1].pk)
    assert [row.pk for row in first + rest] == [row.pk for row in everything]
    assert health.transitions(target, before=10**9) == []


START = datetime(2026, 1, 1, tzinfo=UTC)


@given(
    entries=st.lists(st.tuples(st.integers(0, 200), st.sampled_from(Health.values)), max_size=12),
    first=st.sampled_from(Health.values),
    since=st.integers(0, 200),
    length=st.integers(0, 200),
)
def test_uptime_agrees_with_counting_every_second(entries, first, since, length):
    entries = sorted(entries, key=lambda one: one[0])
    previous, rows = first, []
    for second, state in entries:
        rows.append(HealthTransition(at=START + timedelta(seconds=second), previous=previous, health=state))
        previous = state
    # As stored: the last one before the window, and those within.
    before = [row for row in rows if row.at <= START + timedelta(seconds=since)][-1:]
    rows = before + [row for row in rows if row.at > START + timedelta(seconds=since)]
    segments = health.timeline(
        rows, START + timedelta(seconds=since), START + timedelta(seconds=since + length)
    )
    up = known = 0
    for second in range(since, since + length):
        state = first if entries else "unknown"
        for at, new in entries:
            if at <= second:
                state = new
        known += state != "unknown"
        up += state in ("healthy", "degraded")
    assert health.share_up(segments) == (pytest.approx(up / known) if known else None)
    assert sum(s.seconds for s in segments) == length
    assert all(a.until == b.since and a.health != b.health for a, b in itertools.pairwise(segments))
