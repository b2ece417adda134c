"""Objects as flat lists of fields, and which manager owns which of them."""

import copy
import json
from collections.abc import Mapping
from typing import Any

from deployments.runtimes.kubernetes.client import FIELD_MANAGER

# What the API server keeps about an object, and nobody asks for.
SERVER_META = ("managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink")
SERVER_ANNOTATIONS = ("deployment.kubernetes.io/revision", "kubectl.kubernetes.io/last-applied-configuration")
# What names an item of a list to a reader, in this order.
ITEM_NAMES = ("name", "key", "type", "ip", "containerPort", "port", "mountPath", "topologyKey")
# They fill in what is theirs to fill in; nobody changed the object through them.
CONTROLLERS = (
    *("kube-controller-manager", "kube-scheduler", "kubelet", "cloud-controller-manager"),
    *("pilot-discovery", "istiod", "prometheus-operator", "cloudnative-pg", "before-first-apply"),
    *("horizontal-pod-autoscaler", "cert-manager-certificates-trigger", "vpa-recommender"),
)
HIDDEN = "***"


def asked_for(live: Mapping[str, Any]) -> dict:
    """An object without what the server alone writes."""
    document = {key: copy.deepcopy(value) for key, value in live.items() if key != "status"}
    meta = document.get("metadata", {})
    for name in SERVER_META:
        meta.pop(name, None)
    annotations = meta.get("annotations", {})
    for name in SERVER_ANNOTATIONS:
        annotations.pop(name, None)
    if not annotations:
        meta.pop("annotations", None)
    return document


def item_name(value: Any, index: int) -> str:
    """What a reader calls an item of a list."""
    if isinstance(value, dict):
        for name in ITEM_NAMES:
            if isinstance(value.get(name), str | int):
                return str(value[name])
    return str(index)


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """{"spec.containers[api].image": "..."}: every leaf under the path a reader would write."""
    if isinstance(value, Mapping) and value:
        found: dict[str, Any] = {}
        for name, part in value.items():
            shown = name if "." not in name and "/" not in name else f'"{name}"'
            found |= flat(part, f"{prefix}.{shown}" if prefix else shown)
        return found
    if isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
        found, taken = {}, set()
        for index, part in enumerate(value):
            name = item_name(part, index)
            name = name if name not in taken else str(index)
            taken.add(name)
            found |= flat(part, f"{prefix}[{name}]")
        return found
    return {prefix: value}


def shown(kind: str, path: str, value: Any) -> Any:
    """A value as it may be shown: none of a Secret's."""
    hides = kind == "Secret" and path.split(".")[0] in ("data", "stringData")
    return HIDDEN if hides and value is not None else value


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list]:
    """{path: [before, after]} of every leaf that differs, a Secret's values hidden."""
    kind = after.get("kind") or before.get("kind") or ""
    old, new = flat(asked_for(before)), flat(asked_for(after))
    found = {}
    for path in sorted(old.keys() | new.keys()):
        if old.get(path) != new.get(path):
            found[path] = [shown(kind, path, old.get(path)), shown(kind, path, new.get(path))]
    return found


def without(document: Mapping[str, Any], paths: set[str]) -> dict:
    """The document without these leaves; a branch that is left empty goes too."""
    if not paths:
        return dict(document)

    def kept(value: Any, prefix: str) -> Any:
        if isinstance(value, Mapping) and value:
            parts = {}
            for name, part in value.items():
                told = name if "." not in name and "/" not in name else f'"{name}"'
                path = f"{prefix}.{told}" if prefix else told
                if path not in paths and (left := kept(part, path)) is not None:
                    parts[name] = left
            return parts or None
        if isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
            items = [kept(part, f"{prefix}[{item_name(part, index)}]") for index, part in enumerate(value)]
            return [one for one in items if one is not None] or None
        return None if prefix in paths else value

    return kept(document, "") or {}


def owned(live: Mapping[str, Any], *, mine: bool) -> dict[str, str]:
    """{path: manager} of the fields we own, or of those that somebody else set by hand or by another tool."""
    found: dict[str, str] = {}
    for entry in (live.get("metadata") or {}).get("managedFields") or []:
        manager = entry.get("manager", "")
        is_ours = manager == FIELD_MANAGER or manager.startswith(f"{FIELD_MANAGER}-")
        if entry.get("subresource") and not is_ours:
            continue
        if is_ours != mine or (not mine and manager.startswith(CONTROLLERS)):
            continue
        for path in _paths(entry.get("fieldsV1") or {}, live, ""):
            found[path] = manager
    return found


def _paths(fields: Mapping[str, Any], value: Any, prefix: str) -> list[str]:
    """The leaves a set of fieldsV1 means, in the paths of `flat`."""
    found = []
    children = {key: part for key, part in fields.items() if key != "."}
    if not children:
        return list(flat(value, prefix)) if value is not None else []
    for key, part in children.items():
        sort, _, rest = key.partition(":")
        if sort == "f" and isinstance(value, Mapping) and rest in value:
            told = rest if "." not in rest and "/" not in rest else f'"{rest}"'
            found += _paths(part, value[rest], f"{prefix}.{told}" if prefix else told)
        elif sort == "k" and isinstance(value, list):
            wanted = json.loads(rest)
            for index, one in enumerate(value):
                if isinstance(one, Mapping) and all(one.get(k) == v for k, v in wanted.items()):
                    found += _paths(part, one, f"{prefix}[{item_name(one, index)}]")
        elif sort == "v":
            found.append(prefix)
    return found
