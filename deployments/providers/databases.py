"""What a provider can do with databases beside a target's own: the ground for restores and their proof."""

from typing import Protocol

from deployments.errors import Invalid
from deployments.providers.base import Provider, Secret, TargetSpec


class Databases(Protocol):
    """Databases on the server of a target's own, owned by the target's role. Everything may be repeated.

    - `make` gives an empty database of this name, with the extension `vector`; what is there already of that
      name is dropped first. `url` gives its `database_url`, for the target's role.
    - `identity` is what stays with a database through a change of name; empty when there is none.
    - `swap` makes the database `name` the target's own, and keeps the target's own as `kept`, closed to
      everybody. It is done at once or not at all, and whoever is connected to either is disconnected.
    - `reopen` lets connections to the target's own database in; a `swap` that was left off may have shut it.
    - `drop` accepts absence; `names` lists those of the target beside its own.
    """

    def bytes(self, target: TargetSpec) -> int: ...
    def make(self, target: TargetSpec, name: str) -> None: ...
    def url(self, target: TargetSpec, name: str) -> Secret: ...
    def identity(self, target: TargetSpec, name: str) -> str: ...
    def swap(self, target: TargetSpec, name: str, kept: str) -> None: ...
    def reopen(self, target: TargetSpec) -> None: ...
    def drop(self, target: TargetSpec, name: str) -> None: ...
    def names(self, target: TargetSpec) -> list[str]: ...
    def own(self, target: TargetSpec) -> str: ...


def databases_of(provider: Provider) -> Databases:
    """The databases of a provider; Invalid when it lends none."""
    make = getattr(provider, "databases", None)
    if make is None:
        raise Invalid(
            f"{provider.label} lends no database that a backup could be proven in.",
            remedy="Use the backups of the database service that the target was given.",
        )
    return make()
