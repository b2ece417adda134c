"""The runtime protocol: what runs a release's replicas on a target.

A runtime takes and returns the frozen dataclasses below, never models. The operation handlers decide
what should run; the runtime starts, watches and stops it, idempotently.
"""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, Protocol

from deployments.providers.base import Progress, Secret


@dataclass(frozen=True)
class ReplicaSpec:
    """One replica to run: who it is, what it runs, where it listens."""

    replica_id: str
    target_id: str
    target_name: str
    region: str
    provider: str
    release: str
    image: str
    config: Mapping[str, Any]
    secrets: Secret
    host: str
    port: int


@dataclass(frozen=True)
class ReplicaState:
    """What is true of a replica now, by its runtime.

    `starting` until it listens, then `running`; `exited` when it ended by itself, `stopped` when it was
    told to; `absent` when it was never started or nothing is left of it.
    """

    replica_id: str
    state: str  # starting | running | exited | stopped | absent
    handle: Mapping[str, Any] = field(default_factory=dict)
    port: int | None = None
    exit_code: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class LogLine:
    """One line a replica wrote. `cursor` continues after it."""

    replica_id: str
    at: datetime | None
    level: str
    text: str
    cursor: str


class Runtime(Protocol):
    """Start twice is one replica; stop accepts absence.

    - `schema(image)` names the database schema a release needs; `migrate` brings the target's database
      there, in pieces short enough for a step: it is called again while it answers `pending`.
    - `place(taken)` chooses where a new replica shall listen, on none of the ports taken.
    - `stop` waits for the end, up to the grace, then forces it; `remove` deletes what is left.
    - `known` lists every replica it has anything of; `tidy` bounds what one takes up.
    - `logs` without a cursor gives the newest `limit` records of the range, oldest first; with one, the
      next records after it.
    """

    name: str

    def validate(self, image: str, config: Mapping[str, Any]) -> list: ...
    def schema(self, image: str) -> str: ...
    def migrate(self, spec: ReplicaSpec) -> Progress: ...
    def place(self, taken: frozenset[int]) -> tuple[str, int | None]: ...
    def start(self, spec: ReplicaSpec) -> ReplicaState: ...
    def state(self, replica_id: str) -> ReplicaState: ...
    def stop(self, replica_id: str, *, grace_seconds: float, reason: str = "stopped") -> ReplicaState: ...
    def remove(self, replica_id: str) -> None: ...
    def known(self) -> list[str]: ...
    def tidy(self, replica_id: str) -> None: ...
    def logs(
        self,
        replica_id: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        search: str = "",
        level: str = "",
        cursor: str = "",
        limit: int = 500,
    ) -> Iterator[LogLine]: ...


_runtimes: dict[str, type] = {}


def runtime(cls: type) -> type:
    """Register a runtime class by its `name`."""
    _runtimes[cls.name] = cls
    return cls


@cache
def _load() -> None:
    import deployments.runtimes as package

    for module in pkgutil.iter_modules(package.__path__):
        if module.name != "base":
            importlib.import_module(f"deployments.runtimes.{module.name}")


def runtime_for(name: str) -> Runtime:
    """The runtime of this name; KeyError when there is none."""
    _load()
    return _runtimes[name]()


def runtime_names() -> list[str]:
    """The names of all runtimes, sorted."""
    _load()
    return sorted(_runtimes)
