"""Compares what runs with what should, and asks for the mending. Cheap: it runs every two seconds."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Max

from deployments.models import (
    LIVE_REPLICA,
    RUNNING_TARGET,
    Replica,
    ReplicaStatus,
    Target,
    TargetStatus,
)
from deployments.operations.heal import is_unready_too_long
from deployments.providers.base import provider_for
from deployments.runtimes.base import runtime_for, runtime_names
from deployments.runtimes.workload import WorkloadRuntime
from deployments.services import target_heal
from deployments.workloads import is_cluster
from worker.engine import database_now
from worker.models import Operation

CRASH_WINDOW = timedelta(minutes=10)
FIRST_BACKOFF_SECONDS = 5.0
LONGEST_BACKOFF_SECONDS = 120.0
SERVING = (ReplicaStatus.READY, ReplicaStatus.UNREADY)


def reconcile_all() -> None:
    """Look at every target that should serve; one target's trouble does not keep another from its turn.

    Those in a cluster are watched alone (see `watching`): the cluster heals them.
    """
    now = database_now()
    busy = set(Operation.objects.unfinished().values_list("subject", flat=True))
    for target in Target.objects.filter(status__in=RUNNING_TARGET).select_related("project", "release"):
        if not is_cluster(target):
            reconcile(target, now=now, is_busy=target.subject in busy)


def reconcile(target: Target, *, now: datetime, is_busy: bool = False) -> Operation | None:
    """Record dead replicas at once; unless an operation is at work, submit the heal that is due."""
    runtime = runtime_for(provider_for(target.provider).runtime)
    replicas = list(Replica.objects.filter(target=target, status__in=LIVE_REPLICA).order_by("pk"))
    alive = [replica for replica in replicas if not _note(replica, runtime, now)]
    if is_busy:
        return None
    reason = _reason_to_heal(target, alive, now)
    if not reason:
        return None
    if target.status == TargetStatus.READY:
        Target.objects.filter(pk=target.pk, status=TargetStatus.READY).update(
            status=TargetStatus.DEGRADED, status_reason=reason
        )
    if now < _not_before(target, now):
        return None
    return target_heal(target=target, reason=reason)


def _note(replica: Replica, runtime, now: datetime) -> bool:
    """Write down what is seen of a serving replica; True when it is gone."""
    if replica.status not in SERVING:
        return False
    state = runtime.state(replica.pk)
    row = Replica.objects.filter(pk=replica.pk, status=replica.status)
    if state.state not in ("running", "starting"):
        status = ReplicaStatus.STOPPED if state.state == "stopped" else ReplicaStatus.FAILED
        return bool(row.update(status=status, reason=state.reason, stopped_at=now))
    since = replica.handle.get("unready_since")
    if replica.status == ReplicaStatus.UNREADY and not since:
        replica.handle["unready_since"] = now.isoformat()
        row.update(handle=replica.handle)
    elif replica.status == ReplicaStatus.READY and since:
        del replica.handle["unready_since"]
        row.update(handle=replica.handle)
    return False


def _reason_to_heal(target: Target, alive: list[Replica], now: datetime) -> str:
    of_release = [r for r in alive if r.release_id == target.release_id and r.status in SERVING]
    if len(of_release) < target.desired_replicas:
        missing = target.desired_replicas - len(of_release)
        last = (
            Replica.objects.filter(target=target, status=ReplicaStatus.FAILED).order_by("-stopped_at").first()
        )
        why = f" Last: {last.reason}" if last and last.stopped_at > now - CRASH_WINDOW else ""
        return f"{missing} of {target.desired_replicas} replicas do not run.{why}"
    if len(alive) > target.desired_replicas:
        return f"{len(alive)} replicas run instead of {target.desired_replicas}."
    stale = [r for r in alive if is_unready_too_long(r, now)]
    if stale:
        return f"Replica {stale[0].pk} has not been ready for {_age(stale[0], now):.0f} s."
    return ""


def _age(replica: Replica, now: datetime) -> float:
    return (now - datetime.fromisoformat(replica.handle["unready_since"])).total_seconds()


def _not_before(target: Target, now: datetime) -> datetime:
    """When replicas may be started again: at once after a crash, ever later while they go on crashing."""
    failures = Replica.objects.filter(
        target=target,
        release=target.release,
        status=ReplicaStatus.FAILED,
        stopped_at__gt=now - CRASH_WINDOW,
    )
    rounds = failures.count() // max(1, target.desired_replicas)
    last = failures.aggregate(last=Max("stopped_at"))["last"]
    if last is None or rounds <= 1:
        return now
    return last + timedelta(seconds=min(FIRST_BACKOFF_SECONDS * 2 ** (rounds - 2), LONGEST_BACKOFF_SECONDS))


def tidy_replicas() -> None:
    """Bound the logs, end processes whose row says they ended, and forget replicas that ended long ago."""
    for name in runtime_names():
        runtime = runtime_for(name)
        if not isinstance(runtime, WorkloadRuntime):
            _tidy(runtime)


def _tidy(runtime) -> None:
    known = runtime.known()
    rows = Replica.objects.in_bulk(known)
    forget = database_now() - timedelta(hours=settings.REPLICA_KEEP_HOURS)
    for replica_id in known:
        runtime.tidy(replica_id)
        replica = rows.get(replica_id)
        # A folder without a row belongs to another database: it is none of our business.
        if replica is None or replica.status in LIVE_REPLICA:
            continue
        if runtime.state(replica_id).state in ("running", "starting"):
            runtime.stop(replica_id, grace_seconds=settings.REPLICA_STOP_SECONDS, reason=replica.reason)
        if replica.stopped_at and replica.stopped_at < forget:
            runtime.remove(replica_id)
