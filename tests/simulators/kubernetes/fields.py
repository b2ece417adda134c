"""Sets of fields, as managedFields keeps them: what an object has, what changed, and their fieldsV1 form.

A field is a tuple of path elements: `f:name`, `k:{"name":"api"}`, `v:"value"`.
"""

import json
from typing import Any

from tests.simulators.kubernetes.schema import ANY, Type

Path = tuple[str, ...]
# What the server itself keeps, which nobody owns.
UNOWNED = {
    ("f:apiVersion",),
    ("f:kind",),
    ("f:metadata",),
    *(
        ("f:metadata", f"f:{name}")
        for name in (
            "name",
            "namespace",
            "creationTimestamp",
            "selfLink",
            "uid",
            "clusterName",
            "generation",
            "managedFields",
            "resourceVersion",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        )
    ),
}


def owned(value: Any, kind: Type) -> set[Path]:
    """The fields that an applied configuration holds."""
    found: set[Path] = set()
    _collect(value, kind, (), found)
    return {path for path in found if path not in UNOWNED and path[:2] not in UNOWNED}


def _collect(value: Any, kind: Type, path: Path, found: set[Path]) -> None:
    if isinstance(value, dict) and not kind.atomic and kind.shape != "scalar":
        if not value and path:
            found.add(path)
        for name, item in value.items():
            below = (*path, f"f:{name}")
            _collect(item, kind.child(name), below, found)
            if name not in kind.fields and kind.shape != "any":
                found.add(below)
    elif isinstance(value, list) and kind.shape == "list" and kind.relation != "atomic":
        for index, item in enumerate(value):
            below = (*path, kind.item_key(item, index))
            found.add(below)
            if kind.relation == "map":
                _collect(item, kind.element, below, found)
    else:
        found.add(path)


def duplicates(value: Any, kind: Type, path: Path = ()) -> list[str]:
    """Items of associative lists and sets that are there twice, as the server words it."""
    found: list[str] = []
    if isinstance(value, dict) and not kind.atomic:
        for name, item in value.items():
            found += duplicates(item, kind.child(name), (*path, f"f:{name}"))
    elif isinstance(value, list) and kind.shape == "list" and kind.relation != "atomic":
        keys = [kind.item_key(item, index) for index, item in enumerate(value)]
        for key in dict.fromkeys(key for key in keys if keys.count(key) > 1):
            found.append(f"{written(path)}: duplicate entries for key {written((key,))}")
        if kind.relation == "map":
            for key, item in zip(keys, value, strict=True):
                found += duplicates(item, kind.element or ANY, (*path, key))
    return found


def changes(old: Any, new: Any, kind: Type) -> tuple[set[Path], set[Path]]:
    """The fields that were added or modified, and those that were removed."""
    changed: set[Path] = set()
    removed: set[Path] = set()
    _compare(old, new, kind, (), changed, removed)
    ours = lambda path: path not in UNOWNED and path[:2] not in UNOWNED  # noqa: E731
    return set(filter(ours, changed)), set(filter(ours, removed))


_ABSENT = object()


def _compare(old: Any, new: Any, kind: Type, path: Path, changed: set[Path], removed: set[Path]) -> None:
    if old is new:
        return
    if old is _ABSENT and isinstance(new, (dict, list)) and not kind.atomic:
        if path and kind.shape in ("map", "any") and isinstance(new, dict):
            changed.add(path)
        old = type(new)()
        if not new:
            changed.add(path)
    elif new is _ABSENT and isinstance(old, (dict, list)) and not kind.atomic:
        removed.add(path)
        new = type(old)()
    if isinstance(old, dict) and isinstance(new, dict) and not kind.atomic:
        for name in {**old, **new}:
            _compare(
                old.get(name, _ABSENT),
                new.get(name, _ABSENT),
                kind.child(name),
                (*path, f"f:{name}"),
                changed,
                removed,
            )
    elif (
        isinstance(old, list) and isinstance(new, list) and kind.shape == "list" and kind.relation != "atomic"
    ):
        before = {kind.item_key(item, index): item for index, item in enumerate(old)}
        after = {kind.item_key(item, index): item for index, item in enumerate(new)}
        for key in {**before, **after}:
            below = (*path, key)
            if key not in before:
                changed.add(below)
            if key not in after:
                removed.add(below)
            if kind.relation == "map":
                _compare(
                    before.get(key, {}), after.get(key, {}), kind.element or ANY, below, changed, removed
                )
    elif old != new:
        (removed if new is _ABSENT else changed).add(path)


def encode(paths: set[Path]) -> dict[str, Any]:
    """The fieldsV1 form."""
    tree: dict[str, Any] = {}
    for path in sorted(paths):
        node = tree
        for element in path:
            node = node.setdefault(element, {})
        node["."] = {}
    return _without_dots(tree)


def _without_dots(node: dict[str, Any]) -> dict[str, Any]:
    if set(node) == {"."}:
        return {}
    return {key: child if key == "." else _without_dots(child) for key, child in node.items()}


def decode(tree: dict[str, Any], path: Path = ()) -> set[Path]:
    found: set[Path] = set()
    for key, child in tree.items():
        if key == ".":
            found.add(path)
        elif child:
            found |= decode(child, (*path, key))
        else:
            found.add((*path, key))
    return found


def written(path: Path) -> str:
    """As conflicts name it: .spec.template.spec.containers[name="api"].image"""
    text = ""
    for element in path:
        mark, rest = element[:2], element[2:]
        if mark == "f:":
            text += f".{rest}"
        elif mark == "k:":
            pairs = json.loads(rest).items()
            text += "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in pairs) + "]"
        elif mark == "v:":
            text += f"[={rest}]"
        else:
            text += f"[{rest}]"
    return text


def remove(value: Any, kind: Type, paths: set[Path], path: Path = ()) -> Any:
    """A copy of `value` without the fields and items at `paths`."""
    if isinstance(value, dict):
        kept = {}
        for name, item in value.items():
            below = (*path, f"f:{name}")
            if below not in paths:
                kept[name] = remove(item, kind.child(name), paths, below)
        return kept
    if isinstance(value, list) and kind.shape == "list" and kind.relation != "atomic":
        return [
            remove(item, kind.element or ANY, paths, (*path, key))
            for key, item in ((kind.item_key(item, index), item) for index, item in enumerate(value))
            if (*path, key) not in paths
        ]
    return value
