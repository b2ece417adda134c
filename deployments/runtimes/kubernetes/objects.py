"""How the objects that we keep in a cluster are, each in a few words."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from deployments.runtimes.kubernetes.applying import Applier
from deployments.runtimes.kubernetes.client import ClusterClient
from deployments.runtimes.kubernetes.kinds import kind_at
from deployments.runtimes.kubernetes.manifests.place import Place
from deployments.runtimes.workload import ClusterObject

PARTS = ("infrastructure", "workload")
READY, WORKING, FAILING, ABSENT = "ready", "working", "failing", "absent"
LONGEST_TOLD = 300


def objects(client: ClusterClient, place: Place) -> list[ClusterObject]:
    """All that the inventories of a target hold, in the order it is applied, as it is now."""
    keys: dict[tuple, str] = {}
    for part in PARTS:
        for key in Applier(client, place, part).inventory():
            keys.setdefault(tuple(key), part)

    def one(entry) -> ClusterObject:
        (api_version, kind, namespace, name), part = entry
        live = client.get(kind_at(api_version, kind), name, namespace)
        state, told = stand(live)
        made = ((live or {}).get("metadata") or {}).get("creationTimestamp")
        at = datetime.fromisoformat(made) if made else None
        return ClusterObject(kind, name, namespace, part, state, told[:LONGEST_TOLD], at)

    with ThreadPoolExecutor(max_workers=6) as pool:
        found = list(pool.map(one, keys.items()))
    order = {(kind, name): kind_at(version, kind).order for version, kind, _, name in keys}
    return sorted(found, key=lambda each: (PARTS.index(each.part), order[each.kind, each.name], each.name))


def stand(live: Mapping[str, Any] | None) -> tuple[str, str]:
    """(state, in words) of an object as the cluster has it."""
    if live is None:
        return ABSENT, "It is not there, although we made it."
    if live["metadata"].get("deletionTimestamp"):
        return WORKING, "It is being removed."
    teller = _TELLERS.get(live["kind"])
    return teller(live.get("spec") or {}, live.get("status") or {}) if teller else (READY, "")


def _condition(status: Mapping[str, Any], kind: str) -> tuple[str, str]:
    """(True, False, Unknown or nothing; the message) of a condition."""
    for one in status.get("conditions") or []:
        if one.get("type") == kind:
            return one.get("status", ""), one.get("message") or one.get("reason") or ""
    return "", ""


def _pods(spec, status) -> tuple[str, str]:
    wanted, ready = spec.get("replicas", 1), status.get("readyReplicas") or 0
    told = f"{ready} of {wanted} pods ready"
    failed, message = _condition(status, "ReplicaFailure")
    if failed == "True":
        return FAILING, f"{told}: {message}"
    progressing, message = _condition(status, "Progressing")
    if progressing == "False":
        return FAILING, f"{told}: {message}"
    return (READY if ready >= wanted else WORKING), told


def _instances(spec, status) -> tuple[str, str]:
    wanted, ready = spec.get("instances", 1), status.get("readyInstances") or 0
    told = f"{ready} of {wanted} instances ready"
    phase = status.get("phase", "")
    return (READY if ready >= wanted else WORKING), f"{told}: {phase}" if phase and ready < wanted else told


def _claim(spec, status) -> tuple[str, str]:
    phase = status.get("phase", "Pending")
    size = (status.get("capacity") or {}).get("storage", "")
    if phase == "Bound":
        return READY, size
    return (FAILING if phase == "Lost" else WORKING), f"{phase}: its volume is not there yet"


def _job(spec, status) -> tuple[str, str]:
    failed, message = _condition(status, "Failed")
    if failed == "True":
        return FAILING, message or "It failed."
    done, _ = _condition(status, "Complete")
    if done == "True":
        return READY, "Done"
    return WORKING, "It runs." if status.get("active") else "It waits."


def _schedule(spec, status) -> tuple[str, str]:
    when = spec.get("schedule", "")
    if spec.get("suspend"):
        return READY, f"{when}, suspended"
    last = status.get("lastScheduleTime")
    return READY, f"{when}, last at {last}" if last else f"{when}, has not run yet"


def _autoscaler(spec, status) -> tuple[str, str]:
    now, wanted = status.get("currentReplicas") or 0, status.get("desiredReplicas") or 0
    told = f"{now} pods, {wanted} wanted, between {spec.get('minReplicas', 1)} and {spec.get('maxReplicas')}"
    for kind in ("AbleToScale", "ScalingActive"):
        state, message = _condition(status, kind)
        if state == "False":
            return FAILING, f"{told}: {message}"
    return READY, told


def _budget(spec, status) -> tuple[str, str]:
    allowed = status.get("disruptionsAllowed") or 0
    return READY, f"{allowed} pod{'' if allowed == 1 else 's'} may be ended by others now"


def _conditioned(kind: str, waiting: str):
    def teller(spec, status) -> tuple[str, str]:
        state, message = _condition(status, kind)
        if state == "False":
            return FAILING, message
        return (READY, "") if state == "True" else (WORKING, waiting)

    return teller


def _route(spec, status) -> tuple[str, str]:
    for parent in status.get("parents") or []:
        for kind in ("Accepted", "ResolvedRefs"):
            state, message = _condition(parent, kind)
            if state == "False":
                return FAILING, message
    return READY, ""


def _gateway(spec, status) -> tuple[str, str]:
    # Istio's Gateway has no status: it is a part of the mesh's configuration.
    if "gatewayClassName" not in spec:
        return READY, ""
    return _conditioned("Programmed", "No controller has taken it up yet.")(spec, status)


def _phase(spec, status) -> tuple[str, str]:
    phase = status.get("phase", "Active")
    return (READY if phase == "Active" else WORKING), phase


_TELLERS = {
    "Deployment": _pods,
    "StatefulSet": _pods,
    "Cluster": _instances,
    "PersistentVolumeClaim": _claim,
    "Job": _job,
    "CronJob": _schedule,
    "HorizontalPodAutoscaler": _autoscaler,
    "PodDisruptionBudget": _budget,
    "Certificate": _conditioned("Ready", "It is not issued yet."),
    "Gateway": _gateway,
    "HTTPRoute": _route,
    "Namespace": _phase,
}
