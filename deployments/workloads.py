"""Targets of clusters as their runtime is told of them."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from django.conf import settings

from controlplane.errors import ConflictError
from deployments.drift.models import DriftFinding
from deployments.errors import Invalid, ProviderError, QuotaExceeded
from deployments.models import Release, Target
from deployments.providers.base import PlanResult, Problem, Secret, provider_for
from deployments.runtimes.base import runtime_for
from deployments.runtimes.workload import STABLE, Manifest, Revision, Workload, WorkloadRuntime
from deployments.target_specs import target_spec


def is_cluster(target: Target) -> bool:
    """Whether the target's platform keeps the replicas itself."""
    return isinstance(runtime_for(provider_for(target.provider).runtime), WorkloadRuntime)


def revision_of(
    release: Release | None, *, role: str = STABLE, replicas: int = 1, weight: int = 100
) -> Revision:
    """A release as a revision; the installation's own image where there is none yet."""
    return Revision(
        role=role,
        release=release.pk if release else "",
        number=release.number if release else 0,
        image=release.image if release else settings.API_IMAGE,
        config=release.config if release else {},
        replicas=replicas,
        weight=weight,
    )


def workload_of(
    target: Target,
    revisions: Sequence[Revision] | None = None,
    *,
    spec: dict | None = None,
    secrets: dict | None = None,
    restarted_at: str | None = None,
    ignored: Iterable[str] | None = None,
) -> Workload:
    """What should run: these revisions, or those that an operation last set out to run.

    `ignored` are by default the drifts that somebody decided to ignore.
    Raises the provider's error when the cluster's access cannot be had.
    """
    engine = provider_for(target.provider)
    told = target_spec(target, spec, secrets)
    if revisions is None:
        revisions = revisions_of(target)
    if restarted_at is None:
        restarted_at = (target.outputs.get("workload") or {}).get("restarted_at", "")
    known = dict(target.secrets) | (secrets or {}) | dict(engine.prepare(told).values)
    return Workload(
        target_id=target.pk,
        target_name=target.name,
        region=target.region,
        provider=target.provider,
        spec={**told.spec, "capabilities": dict(told.capabilities)},
        access=engine.cluster_access(told),
        secrets=Secret(known),
        revisions=tuple(revisions),
        restarted_at=restarted_at,
        ignored=ignored_paths(target) if ignored is None else frozenset(ignored),
    )


def intended(
    target: Target, revisions: Sequence[Revision], *, restarted_at: str | None = None
) -> dict[str, Any]:
    """What an operation keeps in the target's `outputs["workload"]` before it has a cluster run this.

    {revisions: [{role, release, replicas, weight}], restarted_at}; the latter stays when it is None.
    """
    known = target.outputs.get("workload") or {}
    return {
        "revisions": [
            {"role": one.role, "release": one.release, "replicas": one.replicas, "weight": one.weight}
            for one in revisions
        ],
        "restarted_at": known.get("restarted_at", "") if restarted_at is None else restarted_at,
    }


def revisions_of(target: Target) -> tuple[Revision, ...]:
    """The revisions that should run; before there were any, the target's release as the only one."""
    kept = (target.outputs.get("workload") or {}).get("revisions") or []
    releases = {row.pk: row for row in Release.objects.filter(pk__in=[one["release"] for one in kept])}
    if not kept or len(releases) < len({one["release"] for one in kept}):
        return (revision_of(target.release, replicas=target.desired_replicas),)
    return tuple(
        revision_of(
            releases[one["release"]], role=one["role"], replicas=one["replicas"], weight=one["weight"]
        )
        for one in kept
    )


def ignored_paths(target: Target) -> frozenset[str]:
    """`<kind>/<name>#<field>` of the drifts that are left alone."""
    rows = DriftFinding.objects.filter(target=target, resolved_at=None, ignored=True)
    return frozenset(row.path for row in rows)


def workload_runtime(target: Target) -> WorkloadRuntime:
    """The runtime of a cluster's target; ConflictError for another."""
    runtime = runtime_for(provider_for(target.provider).runtime)
    if not isinstance(runtime, WorkloadRuntime):
        raise ConflictError(f"{target.name} does not run in a cluster.", code="not_a_cluster")
    return runtime


def rendered_objects(target: Target, workload: Workload | None = None) -> tuple[Manifest, ...]:
    """Every object of a target in its cluster: what its provider keeps there, then its workload."""
    runtime = workload_runtime(target)
    workload = workload or workload_of(target)
    told = replace(target_spec(target), secrets=workload.secrets)
    own = provider_for(target.provider).manifests(told)
    known = {one.key for one in own}
    # Both stand on the same namespace and its first policy.
    return (*own, *(one for one in runtime.render(workload) if one.key not in known))


def planned_workload(
    target: Target, result: PlanResult, *, spec: dict, secrets: dict
) -> tuple[PlanResult, list[Problem]]:
    """A provider's plan with what the workload adds to it, and the conflicts it would meet.

    Whether the cluster can be reached at all is the provider's to tell.
    """
    runtime = runtime_for(provider_for(target.provider).runtime)
    if not isinstance(runtime, WorkloadRuntime):
        return result, []
    count = spec.get("replicas", target.desired_replicas)
    revisions = tuple(
        replace(one, replicas=count) if one.role == STABLE else one for one in revisions_of(target)
    )
    try:
        changes, problems = runtime.compare(workload_of(target, revisions, spec=spec, secrets=secrets))
    except (Invalid, QuotaExceeded) as error:
        return result, [Problem("spec", str(error), error.remedy, code=error.code)]
    except ProviderError:
        return result, []
    known = {(one.kind, one.name) for one in result.changes}
    added = tuple(one for one in changes if (one.kind, one.name) not in known)
    return replace(result, changes=(*result.changes, *added)), problems
