"""Runs a release's schema migration as a job and tells how far it is."""

from collections.abc import Mapping
from typing import Any

from deployments.providers.base import FAILED, PENDING, SUCCEEDED, Progress
from deployments.runtimes.kubernetes.applying import Applier
from deployments.runtimes.kubernetes.client import ClusterClient
from deployments.runtimes.kubernetes.kinds import kind_named
from deployments.runtimes.kubernetes.manifests import whole
from deployments.runtimes.kubernetes.manifests.place import Place
from deployments.runtimes.kubernetes.problems import events_by_object, pod_problem, refusal, worst
from deployments.runtimes.workload import PodProblem, Revision, Workload

# What does not pass by waiting.
HOPELESS = ("image_pull", "config", "quota", "admission")
UP_TO_DATE = Progress(SUCCEEDED, message="The vector schema is up to date.", percent=100)


def migrate(client: ClusterClient, place: Place, workload: Workload, revision: Revision) -> Progress:
    """Start the job, or look how it is; called again while it answers `pending`.

    A job that failed is removed when its failure is told, so that a retry is a new one.
    """
    jobs = kind_named("Job")
    wanted = whole.migration(workload, revision)
    name = wanted.document["metadata"]["name"]
    live = client.get(jobs, name, place.namespace)
    if live is not None and live["metadata"].get("deletionTimestamp"):
        return Progress(PENDING, message="the former migration to be removed")
    if live is None:
        applier = Applier(client, place, "workload", workload.ignored)
        applier.apply([*whole.grounds(workload), wanted], prune=False)
        return Progress(PENDING, message=f"the migration {name} to start", percent=5)
    conditions = {
        one["type"]: one
        for one in (live.get("status") or {}).get("conditions") or []
        if one.get("status") == "True"
    }
    if "Complete" in conditions or "SuccessCriteriaMet" in conditions:
        return UP_TO_DATE
    pods = client.list(
        kind_named("Pod"), place.namespace, labels=f"batch.kubernetes.io/job-name={name}"
    ) or client.list(kind_named("Pod"), place.namespace, labels=f"job-name={name}")
    if "Failed" in conditions:
        told = conditions["Failed"].get("message") or conditions["Failed"].get("reason") or "it failed"
        last = _last_words(client, place, pods)
        return _failed(
            client, place, live, f"{told}{f': {last}' if last else ''}", "Mend the cause; try again."
        )
    problem = _problem(client, place, live, pods)
    if problem is None:
        return Progress(PENDING, message=f"the migration {name} to end", percent=50)
    if problem.code in HOPELESS:
        return _failed(client, place, live, problem.message, problem.remedy)
    return Progress(PENDING, message=f"the migration: {problem.message}", percent=50)


def _failed(client: ClusterClient, place: Place, job: Mapping[str, Any], error: str, remedy: str) -> Progress:
    meta = job["metadata"]
    client.delete(kind_named("Job"), meta["name"], place.namespace, uid=meta.get("uid", ""))
    return Progress(FAILED, error=f"The vector schema could not be migrated: {error}", remedy=remedy)


def _problem(
    client: ClusterClient, place: Place, job: Mapping[str, Any], pods: list[dict]
) -> PodProblem | None:
    events = events_by_object(client.list(kind_named("Event"), place.namespace, fields="type=Warning"))
    found = [
        pod_problem(
            one, events.get(one["metadata"].get("uid", "")) or events.get(one["metadata"]["name"]) or []
        )
        for one in pods
    ]
    told = events.get(job["metadata"].get("uid", "")) or []
    refused = [one.get("message", "") for one in told if one.get("reason") == "FailedCreate"]
    if refused and not pods:
        found.append(refusal(refused[-1], refused[-1]))
    return worst(found)


def _last_words(client: ClusterClient, place: Place, pods: list[dict]) -> str:
    """The last line of the newest pod's log: the exception, most often."""
    for pod in sorted(pods, key=lambda one: one["metadata"].get("creationTimestamp") or "", reverse=True):
        path = kind_named("Pod").path(place.namespace, pod["metadata"]["name"], "log")
        status, _, body = client.send("GET", path, query={"tailLines": 20})
        lines = [line for line in body.decode(errors="replace").splitlines() if line.strip()]
        if status == 200 and lines:
            text = lines[-1].strip()
            for secret in place.secrets.values.values():
                if len(secret) > 3:
                    text = text.replace(secret, "***")
            return text[:500]
    return ""
