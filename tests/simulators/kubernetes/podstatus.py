"""A pod's status, made of what the kubelet remembers of it."""

import hashlib
from typing import Any

from tests.simulators.kubernetes import applying


def status_of(pod: dict, run, node: dict | None) -> dict[str, Any]:
    """The whole `status`; transition times are kept in the run."""
    spec = pod["spec"]
    held = pod.get("status") or {}
    containers = [
        _container(pod, run, container, index) for index, container in enumerate(spec["containers"])
    ]
    unready = [container["name"] for container in containers if not container["ready"]]
    done = run.stage == "done"
    status = {
        "phase": run.phase,
        "conditions": _conditions(pod, run, unready, done),
        "hostIP": _address(node),
        "podIP": run.ip,
        "podIPs": [{"ip": run.ip}],
        "startTime": held.get("startTime") or applying.now(),
        "containerStatuses": containers,
        "qosClass": quality(spec),
    }
    if spec.get("initContainers"):
        ended = {"exitCode": 0, "reason": "Completed", "startedAt": run.started, "finishedAt": run.started}
        status["initContainerStatuses"] = [
            {
                "name": container["name"],
                "image": container.get("image", ""),
                "imageID": "",
                "ready": True,
                "restartCount": 0,
                "state": {"terminated": ended},
                "lastState": {},
            }
            for container in spec["initContainers"]
        ]
    if run.pod_reason:
        status["reason"], status["message"] = run.pod_reason, run.pod_message
    return {key: value for key, value in status.items() if value not in ("", None)}


def _container(pod: dict, run, container: dict, index: int) -> dict[str, Any]:
    image, main = container.get("image", ""), index == 0
    running = run.stage == "running" or (run.stage in ("ended", "waiting") and not main and bool(run.started))
    if running:
        state: dict[str, Any] = {"running": {"startedAt": run.started}}
    elif run.terminated:
        state = {"terminated": run.terminated}
    else:
        state = {"waiting": {"reason": run.reason or "ContainerCreating"}}
        if run.message:
            state["waiting"]["message"] = run.message
    ready = (run.ready if main else running) and not run.ending
    found = {
        "name": container["name"],
        "image": image,
        "imageID": f"{image.partition('@')[0]}@sha256:{_digest(image)}" if run.started else "",
        "ready": ready,
        "started": run.stage == "running",
        "restartCount": run.restarts if main else 0,
        "state": state,
        "lastState": {"terminated": run.last} if run.last and main and "terminated" not in state else {},
    }
    if running:
        found["containerID"] = f"containerd://{run.uid.replace('-', '')}{index:032x}"
    return found


def _digest(image: str) -> str:
    given = image.partition("@sha256:")[2]
    return given or hashlib.sha256(image.encode()).hexdigest()


def _conditions(pod: dict, run, unready: list[str], done: bool) -> list[dict[str, Any]]:
    completed = done and run.phase == "Succeeded"
    why = {"reason": "PodCompleted"} if completed else {}
    if unready and not completed:
        told = f"containers with unready status: [{' '.join(unready)}]"
        why = {"reason": "PodFailed"} if done else {"reason": "ContainersNotReady", "message": told}
    ready = "False" if unready else "True"
    values = [
        ("PodReadyToStartContainers", "True" if run.started and not done else "False", {}),
        ("Initialized", "True", {"reason": "PodCompleted"} if completed else {}),
        ("Ready", ready, why),
        ("ContainersReady", ready, why),
        ("PodScheduled", "True", {}),
    ]
    found = []
    for kind, status, more in values:
        before = run.transitions.get(kind)
        if before is None or before[0] != status:
            run.transitions[kind] = (status, applying.now())
        found.append(
            {
                "type": kind,
                "status": status,
                "lastProbeTime": None,
                "lastTransitionTime": run.transitions[kind][1],
                **more,
            }
        )
    return found


def _address(node: dict | None) -> str:
    for address in ((node or {}).get("status") or {}).get("addresses", ()):
        if address["type"] == "InternalIP":
            return address["address"]
    return ""


def quality(spec: dict) -> str:
    """Guaranteed, Burstable or BestEffort."""
    sets = [container.get("resources") or {} for container in spec.get("containers", ())]
    if not any(resources.get("requests") or resources.get("limits") for resources in sets):
        return "BestEffort"
    for resources in sets:
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        if not {"cpu", "memory"} <= set(limits) or any(requests.get(k, v) != v for k, v in limits.items()):
            return "Burstable"
    return "Guaranteed"
