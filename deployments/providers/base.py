"""The provider protocol: what makes and unmakes a target's infrastructure.

Providers take and return the frozen dataclasses below, never models, and raise `deployments.errors`.
A provider is a folder here whose `provider.py` has a class decorated with `@provider`.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any, Protocol, runtime_checkable

from django.conf import settings

PENDING, SUCCEEDED, FAILED, ABSENT = "pending", "succeeded", "failed", "absent"


@dataclass(frozen=True)
class Problem:
    """Something about a spec or its surroundings; severity `error` refuses it, `warning` is shown."""

    field: str
    message: str
    remedy: str = ""
    severity: str = "error"
    code: str = "invalid"


@dataclass(frozen=True)
class Change:
    """One thing a plan would create, change or destroy."""

    action: str  # create | change | replace | destroy
    kind: str
    name: str
    fields: Mapping[str, Any] = field(default_factory=dict)  # name -> [before, after]
    replaces_data: bool = False


@dataclass(frozen=True)
class PlanResult:
    """What applying a spec would do, and what it would cost a month (None when not known)."""

    changes: tuple[Change, ...]
    monthly_amount: str | None = None
    currency: str = "USD"


@dataclass(frozen=True)
class Secret:
    """Values that never show in a repr, a log or an event."""

    values: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Secret({', '.join(sorted(self.values))})"


@dataclass(frozen=True)
class TargetSpec:
    """What a provider is told of a target: identity, place, the validated spec, and known secrets.

    `credentials` are those of the target's account; `capabilities` what was remembered of its cluster.
    """

    target_id: str
    name: str
    region: str
    spec: Mapping[str, Any]
    secrets: Secret = field(default_factory=lambda: Secret({}))
    credentials: Secret = field(default_factory=lambda: Secret({}))
    capabilities: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AcceptedCredentials:
    """What is kept of an account's credentials: the secret part, and what may be shown of them."""

    secrets: Secret
    shown: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """The infrastructure's state as its engine tells it now."""

    state: str  # pending | succeeded | failed | absent
    message: str = ""
    percent: int | None = None
    outputs: Mapping[str, Any] = field(default_factory=dict)
    secrets: Secret = field(default_factory=lambda: Secret({}))
    error: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Drift:
    """A property that is not as it was made."""

    kind: str
    name: str
    field: str
    expected: Any
    actual: Any
    manager: str = ""  # who set it, where the platform tells


@dataclass(frozen=True)
class ClusterAccess:
    """How to reach a cluster's API server.

    `certificate_authority` is PEM (empty: the system's roots). `credentials` holds `token`, or
    `client_certificate` and `client_key` as PEM. `expires_at` is RFC 3339, empty when they do not expire.
    """

    server: str
    certificate_authority: str = ""
    credentials: Secret = field(default_factory=lambda: Secret({}))
    expires_at: str = ""


@runtime_checkable
class Provider(Protocol):
    """Everything is idempotent: the same target and token give one result however often it is called.

    `prepare` gives the secrets that must be kept before anything is made with them: those already known,
    and new ones where they are missing. It makes nothing.

    `credentials_schema` is empty where no account is needed. `accept_credentials` keeps what is needed of
    given ones and raises `Invalid` that says what is refused and why; `check_credentials` uses them.
    `cluster_access` is how a target's cluster is reached now: `Invalid` where there is none. `manifests` are
    the objects that the provider itself keeps in that cluster; it asks nobody.
    """

    name: str
    label: str
    runtime: str
    spec_schema: Mapping[str, Any]
    credentials_schema: Mapping[str, Any]
    regions: tuple[str, ...]
    presets: Mapping[str, Mapping[str, Any]]

    def validate(self, target: TargetSpec) -> list[Problem]: ...
    def plan(self, target: TargetSpec, current: TargetSpec | None) -> PlanResult: ...
    def prepare(self, target: TargetSpec) -> Secret: ...
    def apply(self, target: TargetSpec, token: str) -> Mapping[str, Any]: ...
    def observe(self, target: TargetSpec, ref: Mapping[str, Any]) -> Progress: ...
    def drift(self, target: TargetSpec, ref: Mapping[str, Any]) -> list[Drift]: ...
    def destroy(self, target: TargetSpec, ref: Mapping[str, Any], token: str) -> Mapping[str, Any]: ...
    def cluster_access(self, target: TargetSpec) -> ClusterAccess: ...
    def manifests(self, target: TargetSpec) -> tuple: ...
    def accept_credentials(self, given: Mapping[str, Any]) -> AcceptedCredentials: ...
    def check_credentials(self, credentials: Secret) -> list[Problem]: ...


_providers: dict[str, type] = {}


def provider(cls: type) -> type:
    """Register a provider class; it must have every member of the protocol."""
    missing = (
        [name for name in Provider.__protocol_attrs__ if not hasattr(cls, name)]
        if hasattr(Provider, "__protocol_attrs__")
        else []
    )
    if missing:
        raise TypeError(f"{cls.__name__} lacks {', '.join(sorted(missing))}")
    _providers[cls.name] = cls
    return cls


@cache
def _load() -> None:
    import deployments.providers as package

    for module in pkgutil.iter_modules(package.__path__):
        if module.ispkg:
            importlib.import_module(f"deployments.providers.{module.name}.provider")


def provider_for(name: str) -> Provider:
    """The provider of this name; KeyError when there is none."""
    _load()
    return _providers[name]()


def provider_names() -> list[str]:
    """The names of all providers, sorted."""
    _load()
    return sorted(_providers)


def offered_names() -> list[str]:
    """The names of those that targets can be made with at this installation, sorted."""
    return [name for name in provider_names() if name not in settings.PROVIDERS_OFF]


def as_json(value: Any) -> Any:
    """A dataclass of this module as plain JSON values."""
    return asdict(value)
