"""Keeps the rows of replicas equal to the pods of a cluster, so that all that reads them works alike.

The cluster starts, replaces and ends pods; nothing is healed here. A row is made when its pod is seen first,
follows the pod's phase, and ends when the pod is gone. A pod serves when the cluster and our own probe agree:
the cluster alone makes a row `ready` the first time and `unready` at any time, a probe brings it back.
"""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.db import transaction

from deployments.cluster_models import ClusterState
from deployments.errors import ProviderError
from deployments.models import LIVE_REPLICA, Release, Replica, ReplicaStatus, Target
from deployments.runtimes.workload import Pod, WorkloadStatus
from worker.engine import database_now

POD_PORT = 8000
ENDED = (ReplicaStatus.STOPPED, ReplicaStatus.FAILED)
GONE = "Its pod is gone from the cluster."
REASON_MOST = 1000


def mirror(target: Target, status: WorkloadStatus, now: datetime | None = None) -> list[Replica]:
    """Make a target's rows what the cluster told of its pods. May be called by several at once.

    Gives the rows of those that served until the cluster began to end them.
    """
    now = now or database_now()
    seen = {pod.uid: pod for pod in status.pods if pod.uid}
    known = {
        row.pod_uid: row
        for row in Replica.objects.filter(target=target).exclude(pod_uid="")
        if row.status in LIVE_REPLICA or row.pod_uid in seen
    }
    releases = _releases(target, status)
    ending = []
    for uid, pod in seen.items():
        row = known.get(uid)
        if row is not None:
            if row.status == ReplicaStatus.READY and pod.phase == "terminating":
                ending.append(row)
            _follow(row, pod, now)
        elif release := releases.get(pod.release):
            _add(target, release, pod, now)
    for uid, row in known.items():
        if uid not in seen and row.status in LIVE_REPLICA:
            _end(row, now)
    _remember(target, status, now)
    return ending


def mirror_failed(target: Target, error: ProviderError | str, now: datetime | None = None) -> None:
    """The cluster could not be read: the rows stay as they were seen, and it is written down since when."""
    now = now or database_now()
    state, _ = ClusterState.objects.get_or_create(target=target)
    ClusterState.objects.filter(pk=target.pk).update(
        error=str(error)[:REASON_MOST],
        remedy=getattr(error, "remedy", "")[:REASON_MOST],
        failing_since=state.failing_since or now,
        tried_at=now,
    )


def end_all(target: Target, reason: str, now: datetime | None = None) -> None:
    """Nothing of a target is left in its cluster."""
    Replica.objects.filter(target=target, status__in=LIVE_REPLICA).exclude(pod_uid="").update(
        status=ReplicaStatus.STOPPED, reason=reason, stopped_at=now or database_now()
    )


def handle_of(pod: Pod) -> dict[str, Any]:
    """What is remembered of a pod with its row."""
    handle = {
        "pod": pod.name,
        "uid": pod.uid,
        "node": pod.node,
        "role": pod.role,
        "phase": pod.phase,
        "restarts": pod.restarts,
        "started_at": pod.started_at.isoformat() if pod.started_at else "",
    }
    return handle | ({"problem": asdict(pod.problem)} if pod.problem else {})


def status_of(pod: Pod, before: str = "") -> str:
    """The status of a pod's row, which was `before`."""
    served = before in (ReplicaStatus.READY, ReplicaStatus.UNREADY)
    match pod.phase:
        case "ready":
            # Once it served, our own probe has to find it well again.
            return ReplicaStatus.UNREADY if before == ReplicaStatus.UNREADY else ReplicaStatus.READY
        case "terminating":
            return ReplicaStatus.DRAINING
        case "failed":
            return ReplicaStatus.FAILED
    return ReplicaStatus.UNREADY if served else ReplicaStatus.STARTING


def reason_of(pod: Pod, status: str) -> str:
    """Why a pod does not serve, in words."""
    if pod.problem:
        told = f"{pod.problem.message} {pod.problem.remedy}".strip()
        return told[:REASON_MOST]
    if status == ReplicaStatus.FAILED:
        return "The cluster says that the pod failed."
    if status == ReplicaStatus.UNREADY and pod.phase != "ready":
        return "The cluster's readiness probe finds it not ready."
    return ""


def _releases(target: Target, status: WorkloadStatus) -> dict[str, Release]:
    """{what a pod calls its release: the row}; a pod of a release that is not known is nobody's replica."""
    named = {pod.release for pod in status.pods if pod.release.startswith("rel_")}
    rows = Release.objects.filter(project=target.project_id, pk__in=named)
    return {row.pk: row for row in rows}


def _add(target: Target, release: Release, pod: Pod, now: datetime) -> None:
    status = status_of(pod)
    row = Replica(
        target=target,
        release=release,
        status=status,
        reason=reason_of(pod, status),
        host=pod.host,
        port=POD_PORT if pod.host else None,
        pod_uid=pod.uid,
        handle=handle_of(pod),
        created_at=now,
        ready_at=now if status == ReplicaStatus.READY else None,
        stopped_at=now if status in ENDED else None,
    )
    # Another process may have seen the pod in the same moment.
    Replica.objects.bulk_create([row], ignore_conflicts=True)


def _follow(row: Replica, pod: Pod, now: datetime) -> None:
    status = status_of(pod, row.status)
    handle = handle_of(pod)
    changed: dict[str, Any] = {}
    if row.handle != handle:
        changed["handle"] = handle
    if row.host != pod.host:
        changed |= {"host": pod.host, "port": POD_PORT if pod.host else None}
    if status != row.status:
        changed |= _turned(row, status, now) | {"reason": reason_of(pod, status)}
    elif pod.problem and row.reason != (reason := reason_of(pod, status)):
        changed["reason"] = reason
    if changed:
        Replica.objects.filter(pk=row.pk, status=row.status).update(**changed)


def _turned(row: Replica, status: str, now: datetime) -> Mapping[str, Any]:
    changed: dict[str, Any] = {"status": status}
    if status in ENDED:
        return changed | {"stopped_at": now}
    if row.status in ENDED:
        changed["stopped_at"] = None
    if status == ReplicaStatus.READY:
        changed |= {"failed_probes": 0, "ready_at": row.ready_at or now}
    return changed


def _end(row: Replica, now: datetime) -> None:
    problem = row.handle.get("problem")
    status, reason = ReplicaStatus.STOPPED, GONE
    if row.status == ReplicaStatus.DRAINING:
        reason = "The cluster ended its pod."
    elif problem:
        status, reason = ReplicaStatus.FAILED, f"{problem['message']} {GONE}"[:REASON_MOST]
    Replica.objects.filter(pk=row.pk, status=row.status).update(status=status, reason=reason, stopped_at=now)


def _remember(target: Target, status: WorkloadStatus, now: datetime) -> None:
    workload = {
        "routing": status.routing,
        "weights": dict(status.weights),
        "desired": sum(revision.desired for revision in status.revisions),
        "ready": sum(revision.ready for revision in status.revisions),
        "revisions": [asdict(revision) for revision in status.revisions],
    }
    fresh = {
        "seen_at": now,
        "tried_at": now,
        "workload": workload,
        "error": "",
        "remedy": "",
        "failing_since": None,
    }
    with transaction.atomic():
        if not ClusterState.objects.filter(pk=target.pk).update(**fresh):
            ClusterState.objects.update_or_create(target=target, defaults=fresh)
