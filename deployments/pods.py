"""Reads of what was seen of a target's cluster: its pods, its revisions, and what they use."""

from datetime import datetime

from deployments.models import ClusterState, Replica, Target


def of(replica: Replica) -> dict | None:
    """The pod that a replica is; None for a local process.

    {name, node, role, phase, restarts, started_at, problem, cpu_cores, memory_bytes}; `problem` is
    {code, message, remedy, event} or None, what is used is None where it is not known.
    """
    if not replica.pod_uid:
        return None
    handle = replica.handle
    state = state_of(replica.target)
    used = (state.usage.get("pods") or {}).get(handle.get("pod", ""), {}) if state else {}
    started = handle.get("started_at")
    return {
        "name": handle.get("pod", ""),
        "node": handle.get("node", ""),
        "role": handle.get("role", "stable"),
        "phase": handle.get("phase", "pending"),
        "restarts": handle.get("restarts", 0),
        "started_at": datetime.fromisoformat(started) if started else None,
        "problem": handle.get("problem"),
        "cpu_cores": used.get("cpu_cores"),
        "memory_bytes": used.get("memory_bytes"),
    }


def state_of(target: Target) -> ClusterState | None:
    """What was seen last of a target's cluster; None where it has none, or nothing was seen yet."""
    try:
        return target.cluster_state
    except ClusterState.DoesNotExist:
        return None


def cluster_of(target: Target) -> dict | None:
    """A target's cluster as it was seen last, and what could not be read of it; None where it has none.

    {seen_at, error, remedy, failing_since, routing, weights, desired, ready, revisions, metrics_source,
    metrics_problem, usage_problem}.
    """
    state = state_of(target)
    if state is None:
        return None
    return {
        "seen_at": state.seen_at,
        "error": state.error,
        "remedy": state.remedy,
        "failing_since": state.failing_since,
        "routing": state.workload.get("routing", "replicas"),
        "weights": state.workload.get("weights", {}),
        "desired": state.workload.get("desired", 0),
        "ready": state.workload.get("ready", 0),
        "revisions": state.workload.get("revisions", []),
        "metrics_source": state.metrics_source.get("source", "pods"),
        "metrics_problem": state.metrics_source.get("problem", ""),
        "usage_problem": state.usage.get("problem", ""),
    }
