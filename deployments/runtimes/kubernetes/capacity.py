"""Whether the pods a target asks for find room on the cluster's nodes now."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from deployments.errors import ProviderError
from deployments.providers.base import Problem
from deployments.runtimes.kubernetes.client import ClusterClient
from deployments.runtimes.kubernetes.kinds import kind_named
from deployments.runtimes.kubernetes.manifests import postgres, redis
from deployments.runtimes.kubernetes.manifests.api import resources
from deployments.runtimes.kubernetes.manifests.place import OWNER_LABEL, Place

SUFFIXES = {
    "": 1,
    **{letter: Decimal(1000) ** power for power, letter in enumerate("kMGTPE", 1)},
    **{f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", 1)},
    "m": Decimal("0.001"),
    "u": Decimal("0.000001"),
    "n": Decimal("0.000000001"),
}


def quantity(text: Any) -> Decimal:
    """A Kubernetes quantity as a number: cores, or bytes. Nothing is zero."""
    text = str(text or 0).strip()
    number = text.rstrip("kMGTPEKimun")
    try:
        return Decimal(number) * SUFFIXES[text[len(number) :]]
    except (InvalidOperation, KeyError):
        return Decimal(0)


def _requests(pod_spec: Mapping[str, Any]) -> tuple[Decimal, Decimal]:
    def total(name: str) -> Decimal:
        asked = [
            quantity(((one.get("resources") or {}).get("requests") or {}).get(name))
            for one in pod_spec.get("containers") or []
        ]
        first = [
            quantity(((one.get("resources") or {}).get("requests") or {}).get(name))
            for one in pod_spec.get("initContainers") or []
        ]
        return max([sum(asked, Decimal(0)), *first])

    return total("cpu"), total("memory")


def _wanted(place: Place) -> list[tuple[str, Decimal, Decimal]]:
    """(name, cores, bytes) of every pod, and one more of the API, as in a rollout."""
    found = []

    def add(name: str, asked: Mapping[str, Any], count: int = 1) -> None:
        found.extend([(name, quantity(asked["cpu"]), quantity(asked["memory"]))] * count)

    if postgres.in_cluster(place):
        count = place.part("database").get("instances", 1)
        is_set = postgres.engine(place) == postgres.STATEFULSET
        add("PostgreSQL", postgres.resources(place)["requests"], 1 if is_set else count)
    add("the API", resources(place.part("resources"))["requests"], int(place.spec.get("replicas", 3)) + 1)
    if redis.in_cluster(place):
        add("Redis", {"cpu": "50m", "memory": f"{place.part('redis').get('memory_mib', 256) + 128}Mi"})
    return found


def _takes_pods(node: Mapping[str, Any]) -> bool:
    spec = node.get("spec") or {}
    conditions = (node.get("status") or {}).get("conditions") or []
    is_ready = any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)
    closed = any(one.get("effect") in ("NoSchedule", "NoExecute") for one in spec.get("taints") or [])
    return is_ready and not spec.get("unschedulable") and not closed


def capacity_problems(client: ClusterClient, place: Place) -> list[Problem]:
    """A warning when the pods find no room now. An autoscaler of nodes may make it, so it refuses nothing."""
    try:
        nodes = client.list(kind_named("Node"))
        pods = client.list(kind_named("Pod"), fields="status.phase!=Succeeded,status.phase!=Failed")
    except ProviderError as error:
        return [
            Problem(
                "spec.resources",
                f"The free capacity is not known: {error}",
                "Let the account list nodes and pods of the whole cluster to have it checked.",
                severity="warning",
                code="capacity_unknown",
            )
        ]
    free: dict[str, list[Decimal]] = {}
    for node in nodes:
        if _takes_pods(node):
            allocatable = (node.get("status") or {}).get("allocatable") or {}
            free[node["metadata"]["name"]] = [quantity(allocatable.get(name)) for name in ("cpu", "memory")]
    for pod in pods:
        own = (pod["metadata"].get("labels") or {}).get(OWNER_LABEL) == place.owner
        room = free.get((pod.get("spec") or {}).get("nodeName") or "")
        if room is not None and not own:
            cores, memory = _requests(pod["spec"])
            room[0] -= cores
            room[1] -= memory
    unplaced: dict[str, int] = {}
    for name, cores, memory in sorted(_wanted(place), key=lambda one: one[2], reverse=True):
        fitting = [room for room in free.values() if room[0] >= cores and room[1] >= memory]
        if not fitting:
            unplaced[name] = unplaced.get(name, 0) + 1
            continue
        # Where most memory is free, as the scheduler spreads them.
        room = max(fitting, key=lambda one: one[1])
        room[0] -= cores
        room[1] -= memory
    if not unplaced:
        return []
    total_cores = sum((room[0] for room in free.values()), Decimal(0))
    total_memory = sum((room[1] for room in free.values()), Decimal(0))
    pods_text = ", ".join(f"{count} of {name}" for name, count in unplaced.items())
    return [
        Problem(
            "spec.resources",
            f"No room for every pod: {pods_text} would wait. {len(free)} nodes take pods; "
            f"{total_cores:.1f} cores and {total_memory / 2**30:.1f} GiB would be left on them together.",
            "Add nodes (an autoscaler of nodes does it by itself), or ask for fewer or smaller replicas.",
            severity="warning",
            code="capacity",
        )
    ]
