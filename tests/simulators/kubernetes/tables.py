"""Tables, as kubectl asks for them: the columns that the real server prints for the kinds people look at."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

Row = Callable[[dict], list[Any]]


def wanted(request) -> bool:
    return "as=Table" in request.headers.get("accept", "")


def age(stamp: str | None) -> str:
    if not stamp:
        return "<unknown>"
    then = datetime.fromisoformat(stamp.replace("Z", "+00:00"))
    seconds = max(0, int((datetime.now(UTC) - then).total_seconds()))
    if seconds < 120:
        return f"{seconds}s"
    if seconds < 600:
        return f"{seconds // 60}m{seconds % 60}s" if seconds % 60 else f"{seconds // 60}m"
    if seconds < 10_800:
        return f"{seconds // 60}m"
    return f"{seconds // 3600}h" if seconds < 172_800 else f"{seconds // 86_400}d"


def _created(document: dict) -> str:
    return age(document["metadata"].get("creationTimestamp"))


def _pod(pod: dict) -> list[Any]:
    status, spec = pod.get("status") or {}, pod.get("spec") or {}
    reason = status.get("reason") or status.get("phase", "Unknown")
    states = status.get("containerStatuses") or []
    for held in reversed(states):
        state = held.get("state") or {}
        if (state.get("waiting") or {}).get("reason"):
            reason = state["waiting"]["reason"]
        elif "terminated" in state:
            ended = state["terminated"]
            reason = ended.get("reason") or f"ExitCode:{ended.get('exitCode')}"
    if pod["metadata"].get("deletionTimestamp"):
        reason = "Terminating"
    ready = sum(bool(held.get("ready")) for held in states)
    restarts = sum(held.get("restartCount", 0) for held in states)
    return [
        pod["metadata"]["name"],
        f"{ready}/{len(spec.get('containers', ()))}",
        reason,
        str(restarts),
        _created(pod),
        status.get("podIP", "<none>"),
        spec.get("nodeName", "<none>"),
        "<none>",
        "<none>",
    ]


def _deployment(document: dict) -> list[Any]:
    status, spec = document.get("status") or {}, document["spec"]
    containers = spec["template"]["spec"]["containers"]
    return [
        document["metadata"]["name"],
        f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}",
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
        _created(document),
        ",".join(container["name"] for container in containers),
        ",".join(container.get("image", "") for container in containers),
    ]


def _replica_set(document: dict) -> list[Any]:
    status, spec = document.get("status") or {}, document["spec"]
    return [
        document["metadata"]["name"],
        spec.get("replicas", 0),
        status.get("replicas", 0),
        status.get("readyReplicas", 0),
        _created(document),
    ]


def _stateful_set(document: dict) -> list[Any]:
    status, spec = document.get("status") or {}, document["spec"]
    return [
        document["metadata"]["name"],
        f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}",
        _created(document),
    ]


def _service(document: dict) -> list[Any]:
    spec = document["spec"]
    ports = ",".join(f"{port['port']}/{port.get('protocol', 'TCP')}" for port in spec.get("ports", ()))
    return [
        document["metadata"]["name"],
        spec.get("type"),
        spec.get("clusterIP", "<none>"),
        "<none>",
        ports or "<none>",
        _created(document),
    ]


def _job(document: dict) -> list[Any]:
    status, spec = document.get("status") or {}, document["spec"]
    states = {c["type"]: c["status"] for c in status.get("conditions", ())}
    state = next(
        (name for name in ("Complete", "Failed", "Suspended") if states.get(name) == "True"), "Running"
    )
    return [
        document["metadata"]["name"],
        state,
        f"{status.get('succeeded', 0)}/{spec.get('completions', 1)}",
        age(status.get("startTime")),
        _created(document),
    ]


def _event(document: dict) -> list[Any]:
    about = document.get("involvedObject") or {}
    return [
        age(document.get("lastTimestamp") or document["metadata"].get("creationTimestamp")),
        document.get("type"),
        document.get("reason"),
        f"{about.get('kind', '').lower()}/{about.get('name', '')}",
        (document.get("message") or "").strip(),
    ]


def _node(document: dict) -> list[Any]:
    status = document.get("status") or {}
    return [
        document["metadata"]["name"],
        "Ready",
        "<none>",
        _created(document),
        (status.get("nodeInfo") or {}).get("kubeletVersion", ""),
    ]


def _claim(document: dict) -> list[Any]:
    status, spec = document.get("status") or {}, document["spec"]
    return [
        document["metadata"]["name"],
        status.get("phase"),
        spec.get("volumeName", ""),
        (status.get("capacity") or {}).get("storage", ""),
        ",".join(spec.get("accessModes", ())),
        spec.get("storageClassName", ""),
        _created(document),
    ]


def _phase(document: dict) -> list[Any]:
    return [document["metadata"]["name"], (document.get("status") or {}).get("phase"), _created(document)]


def _data(document: dict) -> list[Any]:
    return [document["metadata"]["name"], len(document.get("data") or {}), _created(document)]


def _secret(document: dict) -> list[Any]:
    return [
        document["metadata"]["name"],
        document.get("type"),
        len(document.get("data") or {}),
        _created(document),
    ]


def _plain(document: dict) -> list[Any]:
    return [document["metadata"]["name"], _created(document)]


# Kind: columns ("!" in front: shown with -o wide), and the row.
_TABLES: dict[str, tuple[str, Row]] = {
    "Pod": ("Name Ready Status Restarts Age !IP !Node !Nominated_Node !Readiness_Gates", _pod),
    "Deployment": ("Name Ready Up-to-date Available Age !Containers !Images", _deployment),
    "ReplicaSet": ("Name Desired Current Ready Age", _replica_set),
    "StatefulSet": ("Name Ready Age", _stateful_set),
    "Service": ("Name Type Cluster-IP External-IP Port(s) Age", _service),
    "Job": ("Name Status Completions Duration Age", _job),
    "Event": ("Last_Seen Type Reason Object Message", _event),
    "Node": ("Name Status Roles Age Version", _node),
    "PersistentVolumeClaim": ("Name Status Volume Capacity Access_Modes StorageClass Age", _claim),
    "Namespace": ("Name Status Age", _phase),
    "ConfigMap": ("Name Data Age", _data),
    "Secret": ("Name Type Data Age", _secret),
}
_NUMBERS = ("Restarts", "Up-to-date", "Available", "Desired", "Current", "Data")


def table(call, documents: list[dict], meta: dict) -> dict:
    """A meta.k8s.io/v1 Table of the documents."""
    columns, row = _TABLES.get(call.resource.kind, ("Name Age", _plain))
    include = call.query.get("includeObject", "Metadata")
    rows = []
    for document in documents:
        entry: dict[str, Any] = {"cells": row(document)}
        if include == "Object":
            entry["object"] = document
        elif include != "None":
            entry["object"] = {
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": document["metadata"],
            }
        rows.append(entry)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": meta,
        "columnDefinitions": [
            {
                "name": name.lstrip("!").replace("_", " "),
                "type": "integer" if name in _NUMBERS else "string",
                "format": "name" if name == "Name" else "",
                "description": "",
                "priority": 1 if name.startswith("!") else 0,
            }
            for name in columns.split()
        ],
        "rows": rows,
    }
