"""Whether the database and Redis of a target are there and ready."""

from collections.abc import Mapping
from typing import Any

from deployments.providers.base import ABSENT, PENDING, SUCCEEDED, Progress
from deployments.runtimes.kubernetes.applying import Applier
from deployments.runtimes.kubernetes.client import ClusterClient
from deployments.runtimes.kubernetes.kinds import kind_named
from deployments.runtimes.kubernetes.manifests import postgres, redis
from deployments.runtimes.kubernetes.manifests.place import OWNER_LABEL, Place
from deployments.runtimes.kubernetes.problems import events_by_object, pod_problem, worst


def servers_progress(client: ClusterClient, place: Place, applier: Applier) -> Progress:
    """absent, pending with what is waited for, or succeeded."""
    space = client.get(kind_named("Namespace"), place.namespace)
    if space is None or not (space["metadata"].get("deletionTimestamp") or applier.inventory()):
        remains = applier.remains() if space is not None else []
        if remains:
            return Progress(PENDING, message=f"{remains[0][1]} {remains[0][3]} to be removed")
        return Progress(ABSENT, message=f"Nothing of the target is in the namespace {place.namespace}.")
    if space["metadata"].get("deletionTimestamp"):
        return Progress(PENDING, message=f"the namespace {place.namespace} to be removed")
    wanted = []
    if postgres.in_cluster(place):
        is_set = postgres.engine(place) == postgres.STATEFULSET
        wanted.append(("StatefulSet" if is_set else "Cluster", postgres.POSTGRES, "PostgreSQL"))
    if redis.in_cluster(place):
        wanted.append(("Deployment", redis.REDIS, "Redis"))
    waiting = []
    for kind, name, label in wanted:
        live = client.get(kind_named(kind), name, place.namespace)
        if live is None:
            waiting.append(f"{label} to be made")
        elif not _is_ready(live):
            waiting.append(f"{label} to start{_why(client, place, name)}")
    if not waiting:
        return Progress(SUCCEEDED, message=f"The namespace {place.namespace} and its servers are ready.")
    percent = 100 * (len(wanted) - len(waiting)) // max(len(wanted), 1)
    return Progress(PENDING, message="; ".join(waiting), percent=percent)


def _is_ready(live: Mapping[str, Any]) -> bool:
    spec, status = live.get("spec") or {}, live.get("status") or {}
    if live["kind"] == "Cluster":
        return (status.get("readyInstances") or 0) >= spec.get("instances", 1)
    observed = (status.get("observedGeneration") or 0) >= (live["metadata"].get("generation") or 0)
    return observed and (status.get("readyReplicas") or 0) >= spec.get("replicas", 1)


def _why(client: ClusterClient, place: Place, component: str) -> str:
    """What keeps its pods from starting, in the cluster's words."""
    labels = f"app.kubernetes.io/name={component},{OWNER_LABEL}={place.owner}"
    pods = client.list(kind_named("Pod"), place.namespace, labels=labels)
    if component == postgres.POSTGRES and not pods:
        pods = client.list(kind_named("Pod"), place.namespace, labels=f"cnpg.io/cluster={component}")
    events = events_by_object(client.list(kind_named("Event"), place.namespace, fields="type=Warning"))
    problem = worst(
        pod_problem(
            one, events.get(one["metadata"].get("uid", "")) or events.get(one["metadata"]["name"]) or []
        )
        for one in pods
    )
    return f" ({problem.message} {problem.remedy})" if problem else ""
