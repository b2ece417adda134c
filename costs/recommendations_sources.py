"""Who else recommends: the clouds' own recommenders, each behind one small protocol, registered by name.

What a source gives is merged with what we find: of recommendations that exclude each other the best one
counts, whoever made it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol


@dataclass(frozen=True)
class Found:
    """A recommendation as found; `amount` is saved a month of `cost` a month.

    `excludes` names what it cannot be done together with: recommendations of one `excludes` share savings,
    and the best counts. With `refused` it is not recommended, and that says why.
    """

    cloud: str
    type: str
    resource: str
    amount: Decimal
    cost: Decimal
    currency: str
    confidence: str
    summary: str
    steps: tuple[str, ...]
    resource_name: str = ""
    region: str = ""
    target: str = ""
    effort: str = "medium"
    restart: bool = False
    reversible: bool = True
    spec: dict = field(default_factory=dict)
    evidence: dict = field(default_factory=dict)
    source: str = "records"
    excludes: str = ""
    refused: str = ""


class RecommendationSource(Protocol):
    """A cloud's own recommender. It takes and gives no models; its errors are those of
    `deployments.errors`.
    """

    name: str

    def recommendations(self, project_id: str) -> Iterable[Found]: ...


_sources: dict[str, RecommendationSource] = {}


def register(source: RecommendationSource) -> None:
    """Ask this source too; one of the same name takes its place."""
    _sources[source.name] = source


def unregister(name: str) -> None:
    """Ask it no longer."""
    _sources.pop(name, None)


def sources() -> list[RecommendationSource]:
    """All sources, by name."""
    return [_sources[name] for name in sorted(_sources)]
