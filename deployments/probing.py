"""Probe rounds: ask every live replica whether it is ready, and write down what changed.

A round writes statuses only by compare-and-set, and only of replicas that serve: starting, draining and
ended ones belong to the operation that moves them and to reconciliation.
"""

import logging
from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction
from django.db.models import Max, Q
from django.db.models.functions import Coalesce, Greatest

from deployments.advisory import only_one
from deployments.fetching import Answer, fetch_all
from deployments.models import (
    LIVE_REPLICA,
    RUNNING_TARGET,
    Health,
    HealthTransition,
    ProbeHeartbeat,
    Replica,
    ReplicaStatus,
    Target,
    TargetStatus,
)
from deployments.operations.readiness import failing_part
from deployments.reaching import ways_of
from worker.engine import database_now
from worker.models import Operation

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 2.0
EQUAL_READINGS = 2
UNKNOWN_AFTER = timedelta(seconds=60)
COUNTED_READINGS = 1000
REASONS_SHOWN = 3
RECENT_FAILURE = timedelta(minutes=10)
SERVING = (ReplicaStatus.READY, ReplicaStatus.UNREADY)
# Draining replicas keep what they had.
HEALTH_OF_STATUS = {
    ReplicaStatus.STARTING: Health.UNKNOWN,
    ReplicaStatus.READY: Health.HEALTHY,
    ReplicaStatus.UNREADY: Health.UNHEALTHY,
    ReplicaStatus.FAILED: Health.UNHEALTHY,
    ReplicaStatus.STOPPED: Health.UNKNOWN,
}


@dataclass(frozen=True)
class Reading:
    """What one probe of a replica said; `reason` is empty when it is ready."""

    reason: str
    milliseconds: float | None

    @property
    def is_ready(self) -> bool:
        return not self.reason

    @classmethod
    def of(cls, answer: Answer) -> "Reading":
        if answer.status == 200:
            return cls("", answer.milliseconds)
        if answer.status:
            return cls(f"/ready answers {answer.status}{failing_part(answer.body)}", answer.milliseconds)
        return cls(f"/ready {answer.error}", None)


def probe_round() -> bool:
    """Probe all live replicas once; False when another round is under way anywhere."""
    with only_one("deployments.probe") as mine:
        if not mine:
            return False
        record_gap()
        replicas = list(
            Replica.objects.filter(status__in=LIVE_REPLICA, port__isnull=False)
            .exclude(target__status=TargetStatus.DESTROYED)
            .order_by("pk")
        )
        answers = fetch_all(
            ways_of(replicas),
            "/ready",
            timeout_seconds=TIMEOUT_SECONDS,
            most_bytes=65536,
        )
        readings = {pk: Reading.of(answer) for pk, answer in answers.items()}
        _note_readings(replicas, readings)
        # One that was made ready since was seen ready by its operation: what was read before says nothing.
        readings = {replica.pk: readings[replica.pk] for replica in replicas if replica.status in SERVING}
        died = defaultdict(list)
        for replica in Replica.objects.filter(
            status=ReplicaStatus.FAILED, health=Health.HEALTHY, stopped_at__isnull=False
        ):
            died[replica.target_id].append(replica)
        _settle_replicas(readings)
        _settle_targets(readings, died)
        now = database_now()
        ProbeHeartbeat.objects.update_or_create(pk=1, defaults={"at": now})
        return True


def record_gap() -> None:
    """When no round ran for a while, what was healthy at its start was unknown from then on."""
    heartbeat = ProbeHeartbeat.objects.filter(pk=1).first()
    if heartbeat is None or database_now() - heartbeat.at <= UNKNOWN_AFTER:
        return
    reason = f"No probe ran after {heartbeat.at:%Y-%m-%d %H:%M:%S} UTC; the control plane was not running."
    with transaction.atomic():
        known = Q(health__in=[Health.HEALTHY, Health.DEGRADED, Health.UNHEALTHY])
        rows = []
        # A round that was killed may have written later than the heartbeat: time never runs backwards.
        targets = Target.objects.filter(known).exclude(status=TargetStatus.DESTROYED)
        for target in targets.select_for_update(no_key=True):
            at = max(heartbeat.at, target.health_since or heartbeat.at)
            rows.append(_transition(target.pk, None, at, target.health, Health.UNKNOWN, reason))
            Target.objects.filter(pk=target.pk).update(
                health=Health.UNKNOWN, health_reason=reason, health_since=at
            )
        last = Greatest(Coalesce(Max("health_transitions__at"), heartbeat.at), heartbeat.at)
        replicas = Replica.objects.filter(known, status__in=LIVE_REPLICA).annotate(last=last)
        for replica in replicas:
            rows.append(
                _transition(
                    replica.target_id, replica.pk, replica.last, replica.health, Health.UNKNOWN, reason
                )
            )
        Replica.objects.filter(pk__in=[replica.pk for replica in replicas]).update(
            health=Health.UNKNOWN, failed_probes=0, passed_probes=0
        )
        HealthTransition.objects.bulk_create(rows)
        ProbeHeartbeat.objects.filter(pk=1).update(at=database_now())


def _transition(target_id, replica_id, at, previous, health, reason) -> HealthTransition:
    return HealthTransition(
        target_id=target_id, replica_id=replica_id, at=at, previous=previous, health=health, reason=reason
    )


def _note_readings(replicas: list[Replica], readings: dict[str, Reading]) -> None:
    """Count equal readings; a serving replica flips once there are EQUAL_READINGS in a row."""
    now = database_now()
    for replica in replicas:
        reading = readings[replica.pk]
        replica.last_probe_at, replica.last_probe_ms = now, reading.milliseconds
        if replica.status not in SERVING:
            replica.passed_probes = replica.failed_probes = 0
        elif reading.is_ready:
            replica.passed_probes = min(replica.passed_probes + 1, COUNTED_READINGS)
            replica.failed_probes = 0
        else:
            replica.failed_probes = min(replica.failed_probes + 1, COUNTED_READINGS)
            replica.passed_probes = 0
    Replica.objects.bulk_update(
        replicas, ["last_probe_at", "last_probe_ms", "failed_probes", "passed_probes"], batch_size=200
    )
    for replica in replicas:
        reading = readings[replica.pk]
        if replica.status == ReplicaStatus.READY and replica.failed_probes >= EQUAL_READINGS:
            _flip(replica, ReplicaStatus.UNREADY, reading.reason)
        elif replica.status == ReplicaStatus.UNREADY and replica.passed_probes >= EQUAL_READINGS:
            if _may_serve(replica):
                _flip(replica, ReplicaStatus.READY, "")
        elif replica.status == ReplicaStatus.UNREADY and _tells_more(reading, replica):
            _flip(replica, ReplicaStatus.UNREADY, reading.reason)


def _tells_more(reading: Reading, replica: Replica) -> bool:
    """Whether a reading says something new; a cluster that says what ails its pod knows better."""
    return reading.reason not in ("", replica.reason) and not replica.handle.get("problem")


def _may_serve(replica: Replica) -> bool:
    """Whether nothing but our own probe decides: of a pod the cluster has to find it ready as well."""
    return not replica.pod_uid or replica.handle.get("phase") == "ready"


def _flip(replica: Replica, status: str, reason: str) -> None:
    """Change a status unless somebody changed it since it was read."""
    Replica.objects.filter(pk=replica.pk, status=replica.status).update(status=status, reason=reason)


def _settle_replicas(readings: dict[str, Reading]) -> None:
    """Write the transition of every replica whose health is not what its status says by now."""
    changed = Replica.objects.filter(
        Q(status=ReplicaStatus.STARTING) & ~Q(health=Health.UNKNOWN)
        | Q(status=ReplicaStatus.READY) & ~Q(health=Health.HEALTHY)
        | Q(status=ReplicaStatus.UNREADY) & ~Q(health=Health.UNHEALTHY)
        | Q(status=ReplicaStatus.FAILED) & ~Q(health=Health.UNHEALTHY)
        | Q(status=ReplicaStatus.STOPPED) & ~Q(health=Health.UNKNOWN)
    ).order_by("pk")
    for replica in changed:
        reading = readings.get(replica.pk)
        if replica.status == ReplicaStatus.READY and reading is not None and not reading.is_ready:
            # Ready by its status, yet not seen so: the next round decides.
            continue
        health = HEALTH_OF_STATUS[replica.status]
        reason = f"replica {replica.pk}: {_why(replica, reading)}"
        with transaction.atomic():
            row = Replica.objects.filter(pk=replica.pk, health=replica.health, status=replica.status)
            if row.update(health=health):
                _transition(
                    replica.target_id, replica.pk, database_now(), replica.health, health, reason
                ).save()


def _why(replica: Replica, reading: Reading | None) -> str:
    match replica.status:
        case ReplicaStatus.READY:
            return "/ready answers 200" if reading else "became ready"
        case ReplicaStatus.STARTING:
            return "starting"
        case ReplicaStatus.STOPPED:
            return f"stopped ({replica.reason})" if replica.reason else "stopped"
        case ReplicaStatus.FAILED:
            return replica.reason or "it ended"
    return replica.reason or (reading.reason if reading else "") or "not ready"


def _settle_targets(readings: dict[str, Reading], died: dict[str, list[Replica]]) -> None:
    """Bring every target's health, and from it its status, to what its replicas say.

    `died` are those that served until they ended since the last round, by target.
    """
    targets = list(
        Target.objects.filter(Q(status__in=RUNNING_TARGET) | ~Q(health=Health.UNKNOWN))
        .exclude(status=TargetStatus.DESTROYED)
        .order_by("pk")
    )
    replicas = defaultdict(list)
    for replica in Replica.objects.filter(target__in=targets, status__in=SERVING).order_by("pk"):
        replicas[replica.target_id].append(replica)
    operations = {
        operation.subject: operation
        for operation in Operation.objects.unfinished().filter(subject__in=[t.subject for t in targets])
    }
    for target in targets:
        try:
            operation = operations.get(target.subject)
            serving = replicas[target.pk]
            health, reason = judge(target, serving, readings, operation)
            if health == target.health == Health.HEALTHY and died[target.pk]:
                _record_dip(target, serving, died[target.pk], wanted_replicas(target, operation))
            _settle_target(target, health, reason, serving, is_busy=operation is not None)
        except Exception:
            log.exception("could not record the health of %s", target.pk)


def judge(
    target: Target,
    serving: list[Replica],
    readings: dict[str, Reading],
    operation: Operation | None = None,
) -> tuple[str, str]:
    """(health, reason) of a target from its serving replicas and the operation that is under way."""
    if target.status not in RUNNING_TARGET:
        return Health.UNKNOWN, f"The target is {target.status}."
    wanted = wanted_replicas(target, operation)
    healthy = [replica for replica in serving if _is_well(replica, readings)]
    count = f"{len(healthy)} of {wanted} {'replica is' if wanted == 1 else 'replicas are'} ready"
    if wanted and len(healthy) >= wanted:
        return Health.HEALTHY, f"{count}."
    reasons = [
        f"replica {replica.pk}: {_why_not(replica, readings)}"
        for replica in serving
        if replica not in healthy
    ]
    if len(serving) < wanted:
        reasons += (
            _starting_problems(target) or _recent_failures(target) or [f"{wanted - len(serving)} not running"]
        )
    shown = reasons[:REASONS_SHOWN]
    if len(reasons) > REASONS_SHOWN:
        shown.append(f"{len(reasons) - REASONS_SHOWN} more")
    reason = "; ".join([count, *shown])
    if healthy:
        return Health.DEGRADED, reason
    if any(replica.health == Health.UNKNOWN for replica in serving):
        return Health.UNKNOWN, reason
    return Health.UNHEALTHY, reason


def wanted_replicas(target: Target, operation: Operation | None) -> int:
    """How many replicas shall be ready now: what a scaling out has not started yet is not missing."""
    wanted = target.desired_replicas
    if operation is not None and operation.kind == "target.scale":
        return min(wanted, operation.input.get("before", wanted))
    return wanted


def _is_well(replica: Replica, readings: dict[str, Reading]) -> bool:
    """Ready, and not in doubt: what became ready during the round needs no reading of it."""
    return replica.status == ReplicaStatus.READY and (
        replica.health == Health.HEALTHY or replica.pk not in readings
    )


def _why_not(replica: Replica, readings: dict[str, Reading]) -> str:
    reading = readings.get(replica.pk)
    return (reading.reason if reading else "") or replica.reason or "ready again, once more to be sure"


def _starting_problems(target: Target) -> list[str]:
    """What its cluster says of pods that do not come up."""
    pods = Replica.objects.filter(target=target, status=ReplicaStatus.STARTING, handle__problem__isnull=False)
    return [row.handle["problem"]["message"].rstrip(".") for row in pods.order_by("pk")[:1]]


def _recent_failures(target: Target) -> list[str]:
    since = database_now() - RECENT_FAILURE
    ended = Replica.objects.filter(target=target, status=ReplicaStatus.FAILED, stopped_at__gt=since)
    return [f"replica {replica.pk}: {_why(replica, None)}" for replica in ended.order_by("-stopped_at")[:1]]


def _record_dip(target: Target, serving: list[Replica], died: list[Replica], wanted: int) -> None:
    """A replica died and was replaced between two rounds: write down how long too few were ready."""
    began = max(min(replica.stopped_at for replica in died), target.health_since)
    since = sorted(replica.ready_at or replica.created_at for replica in serving)
    left = sum(at <= began for at in since)
    if left >= wanted or len(since) < wanted or since[wanted - 1] <= began:
        return
    ended = min(since[wanted - 1], database_now())
    health = Health.DEGRADED if left else Health.UNHEALTHY
    why = "; ".join(f"replica {replica.pk}: {_why(replica, None)}" for replica in died[:REASONS_SHOWN])
    row = Target.objects.filter(pk=target.pk, health=Health.HEALTHY, health_since=target.health_since)
    with transaction.atomic():
        if row.update(health_since=ended):
            reason = f"{left} of {wanted} replicas ready; {why}"
            _transition(target.pk, None, began, Health.HEALTHY, health, reason).save()
            _transition(target.pk, None, ended, health, Health.HEALTHY, "It was replaced.").save()


def _settle_target(
    target: Target, health: str, reason: str, serving: list[Replica], *, is_busy: bool
) -> None:
    row = Target.objects.filter(pk=target.pk, status=target.status, health=target.health)
    if health != target.health:
        with transaction.atomic():
            now = database_now()
            if not row.update(health=health, health_reason=reason, health_since=now):
                return
            _transition(target.pk, None, now, target.health, health, reason).save()
    elif reason != target.health_reason:
        row.update(health_reason=reason)
    row = Target.objects.filter(pk=target.pk, status=target.status)
    if target.status == TargetStatus.READY and health in (Health.DEGRADED, Health.UNHEALTHY):
        row.update(status=TargetStatus.DEGRADED, status_reason=reason)
        return
    # Of another release than it should be, they are for reconciliation to replace.
    is_whole = health == Health.HEALTHY and all(r.release_id == target.release_id for r in serving)
    if target.status == TargetStatus.DEGRADED and is_whole and not is_busy:
        row.update(status=TargetStatus.READY, status_reason="")
