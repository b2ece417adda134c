"""What an operation moves the replicas with: processes of this machine, or a cluster's workload."""

from collections.abc import Callable

from deployments.models import Release, Replica
from deployments.operations.base import TargetOperation
from deployments.operations.replicas import Moving, ReplicaSet, Settled, Stuck
from deployments.operations.workload_set import WorkloadSet
from deployments.runtimes.workload import CANARY
from deployments.workloads import revision_of


def replica_set(
    handler: TargetOperation,
    *,
    release: Release,
    count: int,
    is_wanted: Callable[[Replica], bool],
    phase: str = "roll",
    restarted_at: str | None = None,
) -> "ReplicaSet | WorkloadSet":
    """So many replicas of one release, and nothing else.

    `is_wanted` chooses among those of this machine, `restarted_at` has a cluster make all of its anew.
    """
    if handler.is_cluster:
        revisions = (revision_of(release, replicas=count),)
        return WorkloadSet(handler, revisions, phase=phase, restarted_at=restarted_at)
    return ReplicaSet(handler, release=release, count=count, is_wanted=is_wanted, phase=phase)


def sides(
    handler: TargetOperation, *, old: Release, old_count: int, new: Release, new_count: int, weight: int
) -> "TwoSides | WorkloadSet":
    """Two releases side by side; the new one has `weight` per cent of the requests."""
    if handler.is_cluster:
        revisions = (
            revision_of(old, replicas=old_count, weight=100 - weight),
            revision_of(new, role=CANARY, replicas=new_count, weight=weight),
        )
        return WorkloadSet(handler, revisions, phase="canary")
    stable, canary = (
        ReplicaSet(
            handler,
            release=release,
            count=count,
            is_wanted=lambda replica: True,
            phase=phase,
            among=release.pk,
        )
        for release, count, phase in ((old, old_count, "stable"), (new, new_count, "canary"))
    )
    return TwoSides(stable, canary)


def promotion(
    handler: TargetOperation, *, release: Release, count: int, is_wanted: Callable[[Replica], bool]
) -> "ReplicaSet | WorkloadSet":
    """The release of the canary becomes the stable one.

    In a cluster the canary's pods carry all requests until the stable deployment has become the release.
    """
    if handler.is_cluster:
        stable = revision_of(release, replicas=count, weight=0)
        beside = revision_of(release, role=CANARY, replicas=count, weight=100)
        then = (revision_of(release, replicas=count),)
        return WorkloadSet(handler, (stable, beside), then=then, phase="promote")
    return ReplicaSet(handler, release=release, count=count, is_wanted=is_wanted, phase="promote")


class TwoSides:
    """Two releases side by side, each a set of its own."""

    def __init__(self, stable: ReplicaSet, canary: ReplicaSet):
        self.sides = (stable, canary)

    def move(self) -> Settled | Moving | Stuck:
        """Move both; what is worse of how they stand."""
        found = [side.move() for side in self.sides]
        for kind in (Stuck, Moving):
            for standing in reversed(found):
                if isinstance(standing, kind):
                    return standing
        return Settled()
