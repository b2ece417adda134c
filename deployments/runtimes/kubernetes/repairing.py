"""Puts one drifted field of one object back, and says which field of the spec another one is."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deployments.errors import Invalid
from deployments.providers.base import Drift
from deployments.runtimes.kubernetes.applying import Applier
from deployments.runtimes.kubernetes.client import FIELD_MANAGER
from deployments.runtimes.kubernetes.fields import asked_for, flat, item_name, without
from deployments.runtimes.kubernetes.kinds import kind_of
from deployments.runtimes.workload import Manifest

# One of ours: what it sets is nobody else's.
REVERTING = f"{FIELD_MANAGER}-revert"
NOT_IN_THE_SPEC = "No field of the spec says this: revert it, or ignore it with the reason."
RESOURCES = r"spec\.template\.spec\.containers\[[^\]]+\]\.resources\."
# (kind, pattern of the field): the path of the spec's field that says it.
SAID_BY: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("Deployment", r"spec\.replicas", ("replicas",)),
    ("Deployment", RESOURCES + r"requests\.cpu", ("resources", "cpu_request")),
    ("Deployment", RESOURCES + r"requests\.memory", ("resources", "memory_request")),
    ("Deployment", RESOURCES + r"limits\.cpu", ("resources", "cpu_limit")),
    ("Deployment", RESOURCES + r"limits\.memory", ("resources", "memory_limit")),
    ("HorizontalPodAutoscaler", r"spec\.minReplicas", ("replicas",)),
    ("HorizontalPodAutoscaler", r"spec\.maxReplicas", ("autoscaling", "maximum")),
    ("HorizontalPodAutoscaler", r"spec\.metrics.*\.averageUtilization", ("autoscaling", "cpu_percent")),
    ("StatefulSet", RESOURCES + r"requests\.cpu", ("database", "cpu")),
    ("StatefulSet", RESOURCES + r"limits\.cpu", ("database", "cpu_limit")),
    ("StatefulSet", r"spec\.template\.spec\.containers\[postgresql\]\.image", ("database", "image")),
)


def revert(applier: Applier, manifests: Sequence[Manifest], drift: Drift) -> None:
    """Force one field of one object, as somebody decided; the fields that the applier ignores stay."""
    for manifest in manifests:
        document = manifest.document
        if (document["kind"], document["metadata"]["name"]) != (drift.kind, drift.name):
            continue
        meta = document["metadata"]
        live = applier.client.get(kind_of(document), meta["name"], meta.get("namespace", ""))
        if live is None or drift.field in flat(asked_for(document)):
            ignored = applier.ignored.get(f"{drift.kind}/{drift.name}", set())
            wanted = without(document, ignored - {drift.field})
            try:
                applier.client.apply(wanted, force=True)
            except Invalid:
                # Both together are no valid object: the value first, then it is ours again.
                _patch(applier, document, live, drift.field, flat(asked_for(document))[drift.field])
                applier.client.apply(wanted, force=True)
        else:
            _patch(applier, document, live, _added(document, drift.field))
        return
    raise Invalid(f"{drift.kind} {drift.name} is not asked for any more.")


def _patch(
    applier: Applier, document: Mapping[str, Any], live: Mapping[str, Any], path: str, wanted: Any = None
) -> None:
    """Set one leaf, or take it away where somebody added it; not when it changed meanwhile."""
    place = pointer(asked_for(live), path)
    if place is None:
        return
    where, value = place
    change = {"op": "remove", "path": where}
    if wanted is not None:
        change = {"op": "replace", "path": where, "value": wanted}
    meta = document["metadata"]
    applier.client.call(
        "PATCH",
        kind_of(document).path(meta.get("namespace", ""), meta["name"]),
        query={"fieldManager": REVERTING},
        body=[{"op": "test", "path": where, "value": value}, change],
        content_type="application/json-patch+json",
    )


def _added(document: Mapping[str, Any], path: str) -> str:
    """What somebody added with a leaf: the item of a list of which nothing was asked for, or the leaf."""
    asked = flat(asked_for(document))
    for end in (at + 1 for at, letter in enumerate(path) if letter == "]"):
        if not any(one.startswith(path[:end]) for one in asked):
            return path[:end]
    return path


def pointer(value: Any, path: str, where: str = "", prefix: str = "") -> tuple[str, Any] | None:
    """(JSON pointer, value) of a leaf, or an item of a list, by the path that `flat` gives it."""
    if prefix == path:
        return where, value
    if isinstance(value, Mapping) and value:
        for name, part in value.items():
            told = name if "." not in name and "/" not in name else f'"{name}"'
            step = str(name).replace("~", "~0").replace("/", "~1")
            found = pointer(part, path, f"{where}/{step}", f"{prefix}.{told}" if prefix else told)
            if found is not None:
                return found
        return None
    if isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
        for index, part in enumerate(value):
            for name in _names(value, index, prefix):
                found = pointer(part, path, f"{where}/{index}", name)
                if found is not None:
                    return found
    return None


def _names(items: list, index: int, prefix: str) -> list[str]:
    """What `flat` may call an item of a list: by its name, or by its number where another has that."""
    return [f"{prefix}[{one}]" for one in (item_name(items[index], index), index)]


def adopted(
    spec: Mapping[str, Any], drift: Drift, rendered: Callable[[Mapping[str, Any]], Sequence[Manifest]]
) -> dict:
    """The top-level fields of a spec that make the field as it is; Invalid where no field says it.

    `rendered(spec)` gives the objects of a spec: what does not come out as it is there is not adopted.
    """
    matching = (
        said for kind, pattern, said in SAID_BY if kind == drift.kind and re.fullmatch(pattern, drift.field)
    )
    said = next(matching, None)
    if said is None:
        raise Invalid(NOT_IN_THE_SPEC)
    name, *rest = said
    if drift.actual is None:
        raise Invalid("It is gone, and the spec has no word for that: revert it, or ignore it.")
    changed = {name: {**(spec.get(name) or {}), rest[0]: drift.actual} if rest else drift.actual}
    for one in rendered({**spec, **changed}):
        document = one.document
        if (document["kind"], document["metadata"]["name"]) == (drift.kind, drift.name):
            if flat(asked_for(document)).get(drift.field) == drift.actual:
                return changed
            break
    raise Invalid(
        f"`{'.'.join((name, *rest))}` of the spec does not lead to {drift.actual!r}; revert it, or ignore it."
    )
