"""What a provider can do about drift, one field at a time."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from deployments.providers.base import Drift, TargetSpec


@runtime_checkable
class RepairsDrift(Protocol):
    """`revert` puts one field back to what was made, and touches no other; doing it twice is fine.
    `others` are the drifts that stay, each `<kind>/<name>#<field>`.

    `adopted` gives the top-level fields of the spec that make the field as it is now what is wanted, and
    raises Invalid with the reason where no field of the spec says it.
    """

    def revert(self, target: TargetSpec, drift: Drift, others: frozenset[str]) -> None: ...
    def adopted(self, target: TargetSpec, drift: Drift) -> Mapping[str, Any]: ...
