"""The workload as the cluster tells it now: revisions, pods, weights."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from deployments.runtimes.kubernetes.client import ClusterClient
from deployments.runtimes.kubernetes.kinds import kind_named
from deployments.runtimes.kubernetes.manifests.place import APP, OWNER_LABEL, RELEASE_LABEL, ROLE_LABEL, Place
from deployments.runtimes.kubernetes.manifests.routing import GATEWAY, ISTIO, routing_mode
from deployments.runtimes.kubernetes.problems import (
    events_by_object,
    pod_problem,
    replica_set_problem,
    worst,
)
from deployments.runtimes.workload import STABLE, Pod, PodProblem, RevisionStatus, WorkloadStatus


def moment(text: str | None) -> datetime | None:
    """An RFC 3339 time as an aware datetime."""
    return datetime.fromisoformat(text) if text else None


def labels_of(live: Mapping[str, Any]) -> Mapping[str, str]:
    return live["metadata"].get("labels") or {}


def read_status(client: ClusterClient, place: Place) -> WorkloadStatus:
    """One reading: deployments, replica sets and pods at once; events only while something is not settled."""
    selector = f"app.kubernetes.io/name={APP},{OWNER_LABEL}={place.owner}"
    kinds = [kind_named(name) for name in ("Deployment", "ReplicaSet", "Pod")]
    with ThreadPoolExecutor(max_workers=4) as pool:
        listed = [pool.submit(client.list, kind, place.namespace, labels=selector) for kind in kinds]
        shares = pool.submit(_shares, client, place)
        deployments, sets, pods = (one.result() for one in listed)
        weights = shares.result()
    unsettled = [one for one in deployments if not is_settled(one)]
    events: dict[str, list[dict]] = {}
    if unsettled or any(not _is_ready(one) for one in pods):
        warnings = client.list(kind_named("Event"), place.namespace, fields="type=Warning")
        events = events_by_object(warnings)
    shown = tuple(
        pod_shown(one, _events_of(events, one))
        for one in sorted(pods, key=lambda one: one["metadata"]["name"])
    )
    revisions = tuple(
        _revision(one, [each for each in sets if _owned_by(each, one)], shown, events)
        for one in sorted(deployments, key=lambda one: labels_of(one).get(ROLE_LABEL) != STABLE)
    )
    mode = routing_mode(place)
    if not weights:
        ready = {one.role: one.ready for one in revisions}
        total = sum(ready.values())
        weights = {role: round(100 * count / total) for role, count in ready.items()} if total else {}
    return WorkloadStatus(revisions, shown, weights, mode)


def is_settled(deployment: Mapping[str, Any]) -> bool:
    """All that is desired is of the newest template and ready, and nothing else is left."""
    status, desired = deployment.get("status") or {}, (deployment.get("spec") or {}).get("replicas", 1)
    return (
        (status.get("observedGeneration") or 0) >= (deployment["metadata"].get("generation") or 0)
        and (status.get("updatedReplicas") or 0) == desired
        and (status.get("readyReplicas") or 0) == desired
        and (status.get("replicas") or 0) == desired
    )


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def _events_of(events: Mapping[str, list[dict]], live: Mapping[str, Any]) -> list[dict]:
    meta = live["metadata"]
    return events.get(meta.get("uid", "")) or events.get(meta["name"]) or []


def _owned_by(live: Mapping[str, Any], owner: Mapping[str, Any]) -> bool:
    uids = {one.get("uid") for one in live["metadata"].get("ownerReferences") or []}
    return owner["metadata"].get("uid") in uids


def _revision(deployment, sets, pods: tuple[Pod, ...], events) -> RevisionStatus:
    labels, status = labels_of(deployment), deployment.get("status") or {}
    role, release = labels.get(ROLE_LABEL, STABLE), labels.get(RELEASE_LABEL, "")
    settled = is_settled(deployment)
    problem: PodProblem | None = None
    if not settled:
        own = [one.problem for one in pods if one.role == role and one.release == release]
        # A set of the former template is being emptied: what it was refused is of no interest.
        wanted = [one for one in sets if labels_of(one).get(RELEASE_LABEL) == release]
        problem = worst([*own, *(replica_set_problem(one, _events_of(events, one)) for one in wanted)])
    observed = (status.get("observedGeneration") or 0) >= (deployment["metadata"].get("generation") or 0)
    return RevisionStatus(
        role=role,
        release=release,
        desired=(deployment.get("spec") or {}).get("replicas", 1),
        updated=(status.get("updatedReplicas") or 0) if observed else 0,
        ready=(status.get("readyReplicas") or 0),
        settled=settled,
        problem=problem,
    )


def pod_shown(pod: Mapping[str, Any], events: list[dict]) -> Pod:
    """A pod of the API as ours."""
    meta, status = pod["metadata"], pod.get("status") or {}
    containers = status.get("containerStatuses") or []
    return Pod(
        name=meta["name"],
        uid=meta.get("uid", ""),
        role=labels_of(pod).get(ROLE_LABEL, STABLE),
        release=labels_of(pod).get(RELEASE_LABEL, ""),
        phase=_phase(pod),
        host=status.get("podIP") or "",
        node=(pod.get("spec") or {}).get("nodeName") or "",
        restarts=sum(one.get("restartCount") or 0 for one in containers),
        started_at=moment(status.get("startTime")),
        problem=None if meta.get("deletionTimestamp") else pod_problem(pod, events),
    )


def _phase(pod: Mapping[str, Any]) -> str:
    phase = (pod.get("status") or {}).get("phase")
    if pod["metadata"].get("deletionTimestamp"):
        return "terminating"
    if phase == "Failed":
        return "failed"
    if _is_ready(pod):
        return "ready"
    return "running" if phase == "Running" else "pending"


def _shares(client: ClusterClient, place: Place) -> dict[str, int]:
    """The weights that stand in the route; none where pods alone split the traffic."""
    mode = routing_mode(place)
    if mode == ISTIO:
        live = client.get(kind_named("VirtualService"), APP, place.namespace) or {}
        routes = [
            one for rule in (live.get("spec") or {}).get("http") or [] for one in rule.get("route") or []
        ]
        return {one["destination"].get("subset", STABLE): one.get("weight", 100) for one in routes}
    if mode == GATEWAY:
        live = client.get(kind_named("HTTPRoute"), APP, place.namespace) or {}
        backs = [
            one
            for rule in (live.get("spec") or {}).get("rules") or []
            for one in rule.get("backendRefs") or []
        ]
        return {one["name"].removeprefix(f"{APP}-"): one.get("weight", 1) for one in backs}
    return {}
