"""Why pods do not serve, from what the cluster says of them: recognised at once, in plain words."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from deployments.runtimes.workload import PodProblem

PULL = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
CONFIG = {
    *("CreateContainerConfigError", "CreateContainerError", "RunContainerError"),
    *("ContainerCannotRun", "StartError", "PostStartHookError"),
}
ADMISSION = re.compile(
    r"admission webhook|violates podsecurity|podsecurity|denied the request|is forbidden", re.I
)
# A probe that fails while a pod comes up is no news; after so many failures it is.
PROBE_FAILURES = 3
PRESSING = (
    *("image_pull", "config", "out_of_memory", "crash_loop", "unschedulable"),
    *("quota", "admission", "evicted", "probe"),
)


def events_by_object(events: Iterable[Mapping[str, Any]]) -> dict[str, list[dict]]:
    """Warnings by the uid (or, without one, the name) of what they are about, oldest first."""
    found: dict[str, list[dict]] = {}
    for event in events:
        about = event.get("involvedObject") or event.get("regarding") or {}
        for key in {about.get("uid"), about.get("name")} - {None, ""}:
            found.setdefault(key, []).append(dict(event))
    for told in found.values():
        told.sort(key=_event_time)
    return found


def _event_time(event: Mapping[str, Any]) -> str:
    return (
        event.get("lastTimestamp")
        or event.get("eventTime")
        or event["metadata"].get("creationTimestamp")
        or ""
    )


def _text(told: Sequence[Mapping[str, Any]], *reasons: str) -> str:
    """The newest event's text of one of these reasons."""
    for event in reversed(told):
        if event.get("reason") in reasons:
            return " ".join((event.get("message") or event.get("note") or "").split())
    return ""


def _count(told: Sequence[Mapping[str, Any]], reason: str) -> int:
    return sum(
        (event.get("series") or {}).get("count") or event.get("count") or 1
        for event in told
        if event.get("reason") == reason
    )


def pod_problem(pod: Mapping[str, Any], told: Sequence[Mapping[str, Any]] = ()) -> PodProblem | None:
    """What keeps this pod from serving; None while nothing does. `told` are its events."""
    status = pod.get("status") or {}
    name = pod["metadata"]["name"]
    if status.get("reason") == "Evicted":
        return PodProblem(
            "evicted",
            f"{name} was evicted from its node: {status.get('message', 'the node ran short')}",
            "Free memory or disk on the node, or raise the pod's requests so that it gets a node with room.",
            _text(told, "Evicted"),
        )
    for condition in status.get("conditions") or []:
        unplaced = condition.get("type") == "PodScheduled" and condition.get("status") == "False"
        if unplaced and condition.get("reason") == "Unschedulable":
            return PodProblem(
                "unschedulable",
                f"No node takes {name}: {condition.get('message', 'no reason is told')}",
                "Add a node, free resources, lower the requests, or loosen the spread over hosts and zones.",
                _text(told, "FailedScheduling") or condition.get("message", ""),
            )
    containers = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    for container in containers:
        if problem := _container_problem(name, container, told):
            return problem
    if status.get("phase") == "Failed":
        reason = status.get("message") or status.get("reason") or "no reason is told"
        return PodProblem(
            "crash_loop", f"{name} failed: {reason}", "Read the pod's log.", _text(told, "Failed")
        )
    return _probe_problem(name, containers, told)


def _ended(state: Mapping[str, Any]) -> str:
    terminated = state.get("terminated") or {}
    message = " ".join((terminated.get("message") or "").split())
    code = terminated.get("exitCode")
    return (
        f"exit code {code}" + (f": {message[-300:]}" if message else "") if code is not None else "it ended"
    )


def _container_problem(name: str, container: Mapping[str, Any], told: Sequence) -> PodProblem | None:
    state, last = container.get("state") or {}, container.get("lastState") or {}
    waiting = state.get("waiting") or {}
    reason = waiting.get("reason", "")
    image = container.get("image", "its image")
    if reason in PULL:
        text = _text(told, "Failed", "InspectFailed", "ErrImageNeverPull") or waiting.get("message", "")
        return PodProblem(
            "image_pull",
            f"The image {image} cannot be pulled for {name}: {waiting.get('message') or text or reason}",
            "See that image and tag exist, and that the registry lets the cluster in (spec.pull_secrets).",
            text,
        )
    if reason in CONFIG:
        return PodProblem(
            "config",
            f"The container of {name} cannot be made: {waiting.get('message') or reason}",
            "Correct what is named there: a secret, a config map, a command or a mount.",
            _text(told, "Failed"),
        )
    killed = [one for one in (state, last) if (one.get("terminated") or {}).get("reason") == "OOMKilled"]
    if killed and not container.get("ready"):
        return PodProblem(
            "out_of_memory",
            f"{name} needed more memory than its limit and was killed "
            f"({container.get('restartCount', 0)} restarts so far).",
            "Raise spec.resources.memory_limit, or give the release fewer workers and threads.",
            _text(told, "OOMKilling", "BackOff"),
        )
    crashed = (state.get("terminated") or {}).get("exitCode") or (
        container.get("restartCount", 0) > 1
        and not container.get("ready")
        and (last.get("terminated") or {}).get("exitCode")
    )
    if reason == "CrashLoopBackOff" or crashed:
        ended = _ended(state if state.get("terminated") else last)
        return PodProblem(
            "crash_loop",
            f"{name} ends as soon as it starts ({ended}; {container.get('restartCount', 0)} restarts).",
            "Read the log of its previous container; mend the release or its configuration.",
            _text(told, "BackOff", "Failed") or waiting.get("message", ""),
        )
    return None


def _probe_problem(name: str, containers: Sequence, told: Sequence) -> PodProblem | None:
    running = [one for one in containers if (one.get("state") or {}).get("running")]
    if not running or all(one.get("ready") for one in running):
        return None
    if _count(told, "Unhealthy") < PROBE_FAILURES:
        return None
    text = _text(told, "Unhealthy")
    return PodProblem(
        "probe",
        f"{name} runs but does not pass its probe: {text}",
        "Ask its /ready which part is not: the database, its schema, or the network policy between them.",
        text,
    )


def replica_set_problem(
    owner: Mapping[str, Any], told: Sequence[Mapping[str, Any]] = ()
) -> PodProblem | None:
    """Why pods cannot even be made: a quota, or the cluster's admission control."""
    for condition in (owner.get("status") or {}).get("conditions") or []:
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            return refusal(condition.get("message") or "", _text(told, "FailedCreate"))
    # The event comes before the condition.
    text = _text(told, "FailedCreate")
    wanted = (owner.get("spec") or {}).get("replicas") or 0
    if text and ((owner.get("status") or {}).get("replicas") or 0) < wanted:
        return refusal(text, text)
    return None


def refusal(message: str, text: str) -> PodProblem:
    """A refused pod by what refused it."""
    if "exceeded quota" in message or "must specify" in message:
        return PodProblem(
            "quota",
            f"The namespace's quota takes no more pods: {message}",
            "Raise the ResourceQuota, or ask for fewer replicas or smaller requests.",
            text or message,
        )
    if ADMISSION.search(message):
        return PodProblem(
            "admission",
            f"The cluster's admission control refuses the pods: {message}",
            "Ask who runs the policy named there; change the spec, or have an exception made.",
            text or message,
        )
    return PodProblem(
        "config", f"The pods cannot be made: {message}", "Correct what is named there.", text or message
    )


def worst(problems: Iterable[PodProblem | None]) -> PodProblem | None:
    """The one that says most about why nothing comes up."""
    found = [one for one in problems if one]
    return min(found, key=lambda one: PRESSING.index(one.code)) if found else None
