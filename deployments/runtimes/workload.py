"""The protocol of runtimes whose platform keeps replicas itself: a Kubernetes cluster, however it was made.

The control plane says what should run, as revisions of one workload; the cluster starts, replaces and
watches the pods. Every method is declarative and idempotent, so that a step may be repeated after a kill.
Methods take a `Workload` and answer the frozen dataclasses below; they raise `deployments.errors`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from deployments.providers.base import Change, ClusterAccess, Drift, Problem, Progress, Secret
from deployments.runtimes.base import LogLine

STABLE, CANARY = "stable", "canary"


@dataclass(frozen=True)
class Revision:
    """One release among those that run side by side. `weight` is its share of requests in per cent."""

    role: str  # stable | canary
    release: str
    number: int
    image: str
    config: Mapping[str, Any]
    replicas: int
    weight: int


@dataclass(frozen=True)
class Workload:
    """What should run on a cluster: the target, its spec (validated by its provider), and its revisions.

    `secrets` holds database_url, redis_url and jwt_secret. `owner` is what our objects are labelled with.
    `restarted_at` changes to make the cluster replace every pod. `ignored` are the drifts left alone,
    `<kind>/<name>#<field path>`.
    """

    target_id: str
    target_name: str
    region: str
    provider: str
    spec: Mapping[str, Any]
    access: ClusterAccess
    secrets: Secret
    revisions: tuple[Revision, ...]
    restarted_at: str = ""
    ignored: frozenset[str] = frozenset()

    @property
    def owner(self) -> str:
        return self.target_id


@dataclass(frozen=True)
class PodProblem:
    """Why a pod does not serve, in plain words, with the cluster's own text.

    `code` is one of image_pull, crash_loop, unschedulable, quota, admission, config, probe, evicted,
    out_of_memory.
    """

    code: str
    message: str
    remedy: str
    event: str = ""


@dataclass(frozen=True)
class Pod:
    """One pod as the cluster tells it now."""

    name: str
    uid: str
    role: str  # stable | canary
    release: str
    phase: str  # pending | running | ready | terminating | failed
    host: str = ""
    node: str = ""
    restarts: int = 0
    started_at: datetime | None = None
    problem: PodProblem | None = None


@dataclass(frozen=True)
class RevisionStatus:
    """How far a revision is, in pods; `settled` when all that is desired is ready and nothing else runs."""

    role: str
    release: str
    desired: int
    updated: int
    ready: int
    settled: bool
    problem: PodProblem | None = None


@dataclass(frozen=True)
class WorkloadStatus:
    """The workload as the cluster tells it now; no revisions when nothing of it exists."""

    revisions: tuple[RevisionStatus, ...]
    pods: tuple[Pod, ...]
    weights: Mapping[str, int] = field(default_factory=dict)
    routing: str = "replicas"  # istio | gateway | replicas: what splits the traffic


@dataclass(frozen=True)
class ClusterEvent:
    """One event of a namespace; `count` times between `first_at` and `last_at`."""

    uid: str
    kind: str
    name: str
    is_warning: bool
    reason: str
    message: str
    count: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True)
class Usage:
    """What a pod uses now, all containers together: cores of CPU, bytes of memory."""

    cpu_cores: float
    memory_bytes: int


@dataclass(frozen=True)
class ClusterObject:
    """One object that we keep in a cluster, and how it is.

    `state` is one of ready, working, failing, absent; `told` says how it stands in words.
    """

    kind: str
    name: str
    namespace: str
    part: str
    state: str
    told: str = ""
    made_at: datetime | None = None


@dataclass(frozen=True)
class Manifest:
    """One object to apply. `document` may hold secrets; `redacted` never does."""

    document: Mapping[str, Any]
    redacted: Mapping[str, Any]

    @property
    def key(self) -> str:
        """`<kind>/<namespace>/<name>`, the namespace empty where there is none."""
        meta = self.document["metadata"]
        return f"{self.document['kind']}/{meta.get('namespace', '')}/{meta['name']}"


@runtime_checkable
class WorkloadRuntime(Protocol):
    """What a cluster does for a target.

    - `preflight` finds what would stop or endanger the workload before anything is applied.
    - `render` is deterministic: the same workload gives the same bytes. Nothing is read from the cluster
      but the capabilities remembered in `workload.spec["capabilities"]`.
    - `diff` compares by the cluster's own dry run; `compare` also gives the conflicts that applying would
      meet. `apply` is server-side apply with our field manager, and raises `Conflict` that names the other
      manager; it prunes what our inventory holds and `render` no more does.
    - `migrate` runs a release's schema migration as a job: called again while it answers `pending`.
    - `route` changes the weights alone; `status` is one cheap read. `delete` is called again while it answers
      `pending`, and removes only what our inventory holds.
    - `logs` reads one pod's: without a cursor the newest `limit` records of the range, oldest first; with one
      the next records after it. `previous` reads those of the container that ended before. NotFound when the
      pod is gone or no container of it has ended. Lines carry the pod's name as `replica_id`.
    - `events` gives those of the namespace that the cluster still keeps, oldest first; `usage` what each pod
      uses (NotFound where the cluster does not measure); `objects` all that we keep there, as it is now.
    - `revert` puts one field back by force, and no other; `adopted` gives the top-level fields of the spec
      that make a field as it is now what is wanted, and raises `Invalid` where none does.
    - `request` sends an HTTP request to a pod (or to the service when `pod` is empty) by way of the cluster.
    """

    name: str

    def validate(self, image: str, config: Mapping[str, Any]) -> list[Problem]: ...
    def schema(self, image: str) -> str: ...
    def preflight(self, workload: Workload) -> list[Problem]: ...
    def render(self, workload: Workload) -> tuple[Manifest, ...]: ...
    def diff(self, workload: Workload) -> tuple[Change, ...]: ...
    def compare(self, workload: Workload) -> tuple[tuple[Change, ...], list[Problem]]: ...
    def apply(self, workload: Workload) -> tuple[Change, ...]: ...
    def migrate(self, workload: Workload, release: str) -> Progress: ...
    def status(self, workload: Workload) -> WorkloadStatus: ...
    def route(self, workload: Workload) -> None: ...
    def delete(self, workload: Workload) -> Progress: ...
    def drift(self, workload: Workload) -> list[Drift]: ...
    def revert(self, workload: Workload, drift: Drift) -> None: ...
    def adopted(self, workload: Workload, drift: Drift) -> Mapping[str, Any]: ...
    def events(self, workload: Workload) -> list[ClusterEvent]: ...
    def usage(self, workload: Workload) -> Mapping[str, Usage]: ...
    def objects(self, workload: Workload) -> list[ClusterObject]: ...
    def logs(
        self,
        workload: Workload,
        pod: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        search: str = "",
        level: str = "",
        cursor: str = "",
        limit: int = 500,
        previous: bool = False,
    ) -> Iterator[LogLine]: ...
    def request(
        self,
        workload: Workload,
        method: str,
        path: str,
        *,
        pod: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout_seconds: float = 10.0,
    ) -> tuple[int, Mapping[str, str], bytes]: ...
