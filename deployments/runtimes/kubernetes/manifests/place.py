"""What every object of a target shares: its namespace, names, labels, and how a document is begun."""

import copy
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deployments.providers.base import Secret
from deployments.runtimes.kubernetes.kinds import Kind, kind_named
from deployments.runtimes.workload import Manifest

APP = "aindusdb-api"
PORT = 8000
DOMAIN = "aindusdb.io"
OWNER_LABEL = f"{DOMAIN}/target"
ROLE_LABEL = f"{DOMAIN}/role"
RELEASE_LABEL = f"{DOMAIN}/release"
CHECKSUM = f"{DOMAIN}/secrets-checksum"
RESTARTED = f"{DOMAIN}/restarted-at"
REDACTED = "***"


@dataclass(frozen=True)
class Place:
    """Where a target's objects live and whose they are.

    `spec` has its provider's defaults; `capabilities` are the API groups that were found at the cluster.
    """

    owner: str
    target_name: str
    spec: Mapping[str, Any]
    secrets: Secret = field(default_factory=lambda: Secret({}))

    @property
    def namespace(self) -> str:
        return self.spec.get("namespace") or "aindusdb"

    @property
    def capabilities(self) -> Mapping[str, Any]:
        return self.spec.get("capabilities") or {}

    def has(self, capability: str) -> bool:
        """Whether the cluster has this: istio, gateway, prometheus, cert-manager, cnpg, metrics."""
        return bool(self.capabilities.get(capability))

    def part(self, name: str) -> Mapping[str, Any]:
        """A group of the spec; empty when it is not there."""
        return self.spec.get(name) or {}

    def owner_label(self) -> dict[str, str]:
        return {OWNER_LABEL: self.owner}

    def labels(self, component: str, **more: str) -> dict[str, str]:
        """The recommended labels, and whose the object is."""
        return {
            "app.kubernetes.io/name": component,
            "app.kubernetes.io/instance": self.target_name[:63],
            "app.kubernetes.io/part-of": "aindusdb",
            "app.kubernetes.io/managed-by": "aindusdb",
            OWNER_LABEL: self.owner,
            **more,
        }

    def selector(self, component: str, **more: str) -> dict[str, str]:
        """What selects a component's pods: nothing of it may ever change."""
        return {"app.kubernetes.io/name": component, OWNER_LABEL: self.owner, **more}

    def document(
        self,
        kind: str | Kind,
        name: str,
        *,
        component: str = APP,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        **parts: Any,
    ) -> dict:
        """An object of this target with its labels; parts that are None are left out."""
        kind = kind_named(kind) if isinstance(kind, str) else kind
        meta: dict[str, Any] = {"name": name}
        if kind.namespaced:
            meta["namespace"] = self.namespace
        meta["labels"] = self.labels(component, **(labels or {}))
        if annotations:
            meta["annotations"] = dict(annotations)
        document = {"apiVersion": kind.api_version, "kind": kind.name, "metadata": meta}
        return document | {key: value for key, value in parts.items() if value is not None}

    def checksum(self, *names: str) -> str:
        """Changes with these secrets and tells nothing: keyed, so that no weak one can be guessed by it."""
        values = [self.secrets.values.get(name, "") for name in names]
        key = self.secrets.values.get("jwt_secret", self.owner).encode()
        return hmac.new(key, json.dumps(values).encode(), hashlib.sha256).hexdigest()[:16]


def manifest(document: dict) -> Manifest:
    """A document with its redacted twin: a Secret's values are starred, everything else is equal."""
    if document["kind"] != "Secret":
        return Manifest(document, document)
    redacted = copy.deepcopy(document)
    for part in ("data", "stringData"):
        if part in redacted:
            redacted[part] = dict.fromkeys(redacted[part], REDACTED)
    return Manifest(document, redacted)


def short_hash(value: Any) -> str:
    """Ten characters that change with the value; fit for a name."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def pairs(words: list[str]) -> dict[str, str]:
    """["a=b", "c=d"] as {"a": "b", "c": "d"}."""
    return dict(word.split("=", 1) for word in words)
