"""Reads of health: present state, uptime, strips and transitions.

History is kept as transitions alone. Between two of them nothing changed, provided that probe rounds ran:
time after the last round is unknown (and a later round writes it down so). Unknown time counts neither for
nor against uptime; a target that is degraded still serves, which is up.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import Q

from deployments import pods
from deployments.models import LIVE_REPLICA, Health, HealthTransition, ProbeHeartbeat, Replica, Target
from deployments.probing import UNKNOWN_AFTER
from worker.engine import database_now

UP = (Health.HEALTHY, Health.DEGRADED)
WINDOWS = {"1h": 3600, "24h": 86_400, "30d": 30 * 86_400}
ENDED_SHOWN = timedelta(hours=1)
# In a slot of a strip the worst counts.
WORST_FIRST = (Health.UNHEALTHY, Health.DEGRADED, Health.HEALTHY)


class Change(NamedTuple):
    """A transition, as far as a timeline needs it."""

    at: datetime
    previous: str
    health: str


@dataclass(frozen=True)
class Segment:
    """A stretch of time of one health."""

    since: datetime
    until: datetime
    health: str

    @property
    def seconds(self) -> float:
        return (self.until - self.since).total_seconds()


def timeline(changes: Iterable[Change], since: datetime, until: datetime) -> list[Segment]:
    """Segments that cover [since, until) without gaps, from transitions in time order.

    `changes` begins with the last transition before `since` where one is known; else the first one's
    `previous` is what was before. Without any transition all of it is unknown.
    """
    if since >= until:
        return []
    segments: list[Segment] = []

    def add(start: datetime, end: datetime, health: str) -> None:
        start, end = max(start, since), min(end, until)
        if start >= end:
            return
        if segments and segments[-1].health == health:
            segments[-1] = Segment(segments[-1].since, end, health)
        else:
            segments.append(Segment(start, end, health))

    at, health = since, None
    for change in changes:
        add(at, change.at, change.previous if health is None else health)
        at, health = max(at, change.at), change.health
    add(at, until, health or Health.UNKNOWN)
    return segments


def share_up(segments: Sequence[Segment]) -> float | None:
    """The share (0 to 1) of the known time that was up; None when no time is known."""
    known = sum(s.seconds for s in segments if s.health != Health.UNKNOWN)
    if not known:
        return None
    return sum(s.seconds for s in segments if s.health in UP) / known


class _Clock:
    """Now, and up to when probe rounds vouch for what is stored."""

    def __init__(self):
        self.now = database_now()
        beat = ProbeHeartbeat.objects.filter(pk=1).values_list("at", flat=True).first()
        self.last_round = beat
        self.is_stale = beat is None or self.now - beat > UNKNOWN_AFTER
        self.known_until = self.now if not self.is_stale else beat

    def span(self, target: Target, since: datetime) -> tuple[datetime, datetime] | None:
        """The part of [since, now) in which the target served at all and was watched."""
        if target.ready_at is None or self.known_until is None:
            return None
        until = min(self.known_until, target.destroyed_at or self.known_until)
        since = max(since, target.ready_at)
        return (since, until) if since < until else None


def timelines(targets: Sequence[Target], seconds: float, clock: _Clock | None = None) -> dict:
    """{target id: [Segment]} of the last `seconds`, for many targets in two queries."""
    clock = clock or _Clock()
    since = clock.now - timedelta(seconds=seconds)
    of_targets = HealthTransition.objects.filter(target__in=targets, replica=None)
    changes = defaultdict(list)
    before = of_targets.filter(at__lte=since).order_by("target_id", "-at", "-id").distinct("target_id")
    within = of_targets.filter(at__gt=since, at__lte=clock.now).order_by("at", "id")
    for rows in (before, within):
        for pk, *change in rows.values_list("target_id", "at", "previous", "health"):
            changes[pk].append(Change(*change))
    result = {}
    for target in targets:
        span = clock.span(target, since)
        result[target.pk] = timeline(changes[target.pk], *span) if span else []
    return result


def uptime(target: Target, seconds: float) -> float | None:
    """Share (0 to 1) of the last `seconds`, since it was ready first, that it served; None without data."""
    return share_up(timelines([target], seconds)[target.pk])


def uptimes(targets: Sequence[Target], windows: dict[str, int] = WINDOWS) -> dict:
    """{target id: {window: share or None}} for many targets."""
    clock = _Clock()
    longest = timelines(targets, max(windows.values()), clock)
    return {
        target.pk: {
            name: share_up(_cut(longest[target.pk], clock.now - timedelta(seconds=seconds), clock.now))
            for name, seconds in windows.items()
        }
        for target in targets
    }


def _cut(segments: Sequence[Segment], since: datetime, until: datetime) -> list[Segment]:
    return [
        Segment(max(s.since, since), min(s.until, until), s.health)
        for s in segments
        if s.since < until and s.until > since
    ]


def health_strips(targets: Sequence[Target], hours: float = 24, slots: int = 48) -> dict:
    """{target id: [{at, until, health, up}]}, oldest slot first, for many targets.

    A slot's health is the worst seen in it, `unknown` when nothing was; `up` is its share of known time up.
    """
    clock = _Clock()
    length = timedelta(hours=hours) / slots
    start = clock.now - length * slots
    result = {}
    for pk, segments in timelines(targets, hours * 3600, clock).items():
        parts_of = defaultdict(list)
        for segment in segments:
            first, last = int((segment.since - start) / length), int((segment.until - start) / length)
            for number in range(first, last + 1):
                parts_of[number].append(segment)
        strip = []
        for number in range(slots):
            since, until = start + length * number, start + length * (number + 1)
            parts = _cut(parts_of[number], since, until)
            seen = {part.health for part in parts}
            worst = next((health for health in WORST_FIRST if health in seen), Health.UNKNOWN)
            strip.append({"at": since, "until": until, "health": str(worst), "up": share_up(parts)})
        result[pk] = strip
    return result


def health_strip(target: Target, hours: float = 24, slots: int = 48) -> list[dict]:
    """The strip of one target; see `health_strips`."""
    return health_strips([target], hours, slots)[target.pk]


def transitions(target: Target, limit: int = 50, before: int | None = None) -> list[HealthTransition]:
    """Changes of the target and its replicas, newest first; `before` is the id of a row to go on after."""
    rows = HealthTransition.objects.filter(target=target).select_related("replica")
    if before is not None:
        last = rows.filter(pk=before).first()
        if last is None:
            return []
        rows = rows.filter(Q(at__lt=last.at) | Q(at=last.at, pk__lt=last.pk))
    return list(rows.order_by("-at", "-pk")[:limit])


def target_health(target: Target) -> dict:
    """What is known now: {health, reason, since, last_round_at, replicas, uptime}.

    `replicas` are the live ones and those that ended within the last hour: {id, release, status, health,
    reason, url, last_probe_at, last_probe_ms, created_at, ready_at, stopped_at}. `uptime` is {1h, 24h, 30d}
    as shares; `cluster` is that of `pods.cluster_of`. When no round ran for a minute, health is unknown
    since the last one.
    """
    clock = _Clock()
    target = Target.objects.get(pk=target.pk)
    health, reason, since = target.health, target.health_reason, target.health_since
    if clock.is_stale and health != Health.UNKNOWN:
        health, since = Health.UNKNOWN, clock.last_round
        reason = "Health is not being checked: no probe ran for over a minute. Are worker and beat running?"
    rows = Replica.objects.filter(
        Q(status__in=LIVE_REPLICA) | Q(stopped_at__gt=clock.now - ENDED_SHOWN), target=target
    )
    return {
        "health": str(health),
        "reason": reason,
        "since": since,
        "last_round_at": clock.last_round,
        "replicas": [
            {
                "id": replica.pk,
                "release": str(replica.release),
                "status": replica.status,
                "health": str(Health.UNKNOWN) if clock.is_stale else replica.health,
                "reason": replica.reason,
                "url": replica.url,
                "last_probe_at": replica.last_probe_at,
                "last_probe_ms": replica.last_probe_ms,
                "created_at": replica.created_at,
                "ready_at": replica.ready_at,
                "stopped_at": replica.stopped_at,
            }
            for replica in rows.select_related("release").order_by("pk")
        ],
        "uptime": uptimes([target])[target.pk],
        "cluster": pods.cluster_of(target),
    }
