"""Who can tell, and mend, what about a target is not as it was made: its provider, and its cluster."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from controlplane.errors import ConflictError
from deployments.errors import Invalid
from deployments.models import Target
from deployments.providers.base import Drift, provider_for
from deployments.providers.repair import RepairsDrift
from deployments.runtimes.base import runtime_for
from deployments.runtimes.workload import WorkloadRuntime
from deployments.services import target_spec
from deployments.workloads import workload_of

NOT_IN_THE_SPEC = "No field of the spec says this: revert it, or ignore it with the reason."


class ProviderSource:
    """The infrastructure."""

    name = "provider"

    def __init__(self, target: Target):
        self.target = target
        self.provider = provider_for(target.provider)

    def drift(self) -> list[Drift]:
        return list(self.provider.drift(target_spec(self.target), self.target.engine_ref))

    def revert(self, drift: Drift, others: frozenset[str]) -> None:
        if isinstance(self.provider, RepairsDrift):
            self.provider.revert(target_spec(self.target), drift, others)
        elif others:
            raise Invalid(
                f"{self.provider.label} can only put everything back, and there is drift that is to stay."
            )
        else:
            self.provider.apply(target_spec(self.target), f"revert {drift.kind}/{drift.name}")

    def adopted(self, drift: Drift) -> Mapping[str, Any]:
        if isinstance(self.provider, RepairsDrift):
            return self.provider.adopted(target_spec(self.target), drift)
        raise Invalid(NOT_IN_THE_SPEC)


class WorkloadSource:
    """What runs in a cluster. Reverting applies everything but the fields that are to stay as they are."""

    name = "workload"

    def __init__(self, target: Target, runtime, workload):
        self.target, self.runtime, self.workload = target, runtime, workload

    def drift(self) -> list[Drift]:
        return list(self.runtime.drift(self.workload))

    def revert(self, drift: Drift, others: frozenset[str]) -> None:
        self.runtime.revert(replace(self.workload, ignored=others), drift)

    def adopted(self, drift: Drift) -> Mapping[str, Any]:
        return self.runtime.adopted(self.workload, drift)


def sources_of(target: Target) -> dict[str, Any]:
    """The sources by name."""
    found: dict[str, Any] = {"provider": ProviderSource(target)}
    runtime = runtime_for(provider_for(target.provider).runtime)
    if isinstance(runtime, WorkloadRuntime) and target.release_id:
        found["workload"] = WorkloadSource(target, runtime, workload_of(target, ignored=()))
    return found


def source_of(target: Target, name: str):
    """A source by name; ConflictError when the target has none of it now."""
    found = sources_of(target).get(name)
    if found is None:
        raise ConflictError(f"{target.name} runs nothing that this belongs to now.", code="drift_gone")
    return found
