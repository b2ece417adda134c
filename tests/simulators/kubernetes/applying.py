"""Server-side apply and the bookkeeping of managedFields (structured merge and diff)."""

import json
from datetime import UTC, datetime
from typing import Any

from tests.simulators.kubernetes import errors, fields
from tests.simulators.kubernetes.fields import Path
from tests.simulators.kubernetes.schema import ANY, Type, copied

Managers = dict[tuple[str, str, str], dict[str, Any]]


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def managers_of(document: dict | None) -> Managers:
    """By (manager, operation, subresource): `fields`, `apiVersion`, `time`."""
    found: Managers = {}
    for entry in ((document or {}).get("metadata") or {}).get("managedFields") or ():
        key = (entry.get("manager", ""), entry.get("operation", "Update"), entry.get("subresource", ""))
        found[key] = {
            "fields": fields.decode(entry.get("fieldsV1") or {}),
            "apiVersion": entry.get("apiVersion", ""),
            "time": entry.get("time", ""),
        }
    return found


def write_managers(document: dict, managers: Managers) -> None:
    entries = []
    for (manager, operation, subresource), held in sorted(
        managers.items(), key=lambda item: (item[0][1], item[1]["time"], item[0][0])
    ):
        if not held["fields"]:
            continue
        entry = {
            "manager": manager,
            "operation": operation,
            "apiVersion": held["apiVersion"],
            "time": held["time"],
            "fieldsType": "FieldsV1",
            "fieldsV1": fields.encode(held["fields"]),
        }
        if subresource:
            entry["subresource"] = subresource
        entries.append(entry)
    document["metadata"]["managedFields"] = entries
    if not entries:
        del document["metadata"]["managedFields"]


def updated(old: dict | None, new: dict, kind: Type, resource, manager: str, subresource: str = "") -> None:
    """Note in `new` that `manager` made it of `old` by create, update or patch."""
    managers = managers_of(old)
    changed, removed = fields.changes(old or {}, new, kind)
    changed, removed = _scoped(changed, subresource), _scoped(removed, subresource)
    key = (manager, "Update", subresource)
    for other, held in managers.items():
        if other != key:
            held["fields"] = held["fields"] - changed - _with_below(held["fields"], removed)
    mine = managers.setdefault(key, {"fields": set(), "apiVersion": resource.api_version, "time": now()})
    before = set(mine["fields"])
    mine["fields"] = (mine["fields"] - _with_below(mine["fields"], removed)) | changed
    if mine["fields"] != before:
        mine["time"] = now()
    write_managers(new, managers)


def _scoped(paths: set[Path], subresource: str) -> set[Path]:
    if subresource == "status":
        return paths
    return {path for path in paths if path[0] != "f:status"}


def _with_below(held: set[Path], removed: set[Path]) -> set[Path]:
    """Those of `held` that are, or lie below, one of `removed`."""
    return {path for path in held if any(path[:depth] in removed for depth in range(1, len(path) + 1))}


def apply(
    live: dict | None,
    config: dict,
    kind: Type,
    resource,
    manager: str,
    *,
    force: bool = False,
    subresource: str = "",
) -> dict:
    """The object that `live` becomes, its managedFields written. Raises the 409 of conflicts."""
    managers = managers_of(live)
    key = (manager, "Apply", subresource)
    last = managers[key]["fields"] if key in managers else set()
    applied = fields.owned(config, kind)
    base = copied(live) if live else {}
    base.get("metadata", {}).pop("managedFields", None)
    merged = merge(base, config, kind)
    others = {held: entry for held, entry in managers.items() if held != key}
    merged = _pruned(merged, kind, last, applied, [entry["fields"] for entry in others.values()])
    changed, removed = fields.changes(base, merged, kind)
    conflicts = {held: entry["fields"] & changed for held, entry in others.items()}
    conflicts = {held: paths for held, paths in conflicts.items() if paths}
    if conflicts and not force:
        raise _conflict(conflicts, managers)
    for held, entry in others.items():
        entry["fields"] = entry["fields"] - conflicts.get(held, set()) - _with_below(entry["fields"], removed)
    same = key in managers and applied == last and not changed and not removed
    managers[key] = {
        "fields": applied,
        "apiVersion": resource.api_version,
        "time": managers[key]["time"] if same else now(),
    }
    write_managers(merged, managers)
    return merged


def _pruned(merged: dict, kind: Type, last: set[Path], applied: set[Path], others: list[set[Path]]) -> dict:
    """Without what the manager applied before, applies no more, and nobody else owns."""
    if not last - applied:
        return merged
    kept: set[Path] = set()
    for held in [applied, *others]:
        for path in held:
            kept.update(path[:depth] for depth in range(1, len(path) + 1))
    gone: set[Path] = set()
    for path in last:
        gone.add(path)
        gone.update(path[:depth] for depth in range(1, len(path)) if path[depth - 1].startswith("f:"))
    gone -= kept
    gone -= fields.UNOWNED
    return fields.remove(merged, kind, gone)


def merge(live: Any, config: Any, kind: Type) -> Any:
    """`config` laid over `live`; lists that are associative or sets keep the items of both."""
    if isinstance(live, dict) and isinstance(config, dict) and not kind.atomic:
        result = dict(live)
        for name, value in config.items():
            result[name] = merge(live[name], value, kind.child(name)) if name in live else copied(value)
        return result
    if (
        isinstance(live, list)
        and isinstance(config, list)
        and kind.shape == "list"
        and kind.relation != "atomic"
    ):
        return _merge_lists(live, config, kind)
    return copied(config)


def _merge_lists(live: list, config: list, kind: Type) -> list:
    before = {kind.item_key(item, index): item for index, item in enumerate(live)}
    after = {kind.item_key(item, index): item for index, item in enumerate(config)}
    merged = {
        key: merge(before[key], item, kind.element or ANY)
        if kind.relation == "map" and key in before
        else item
        for key, item in after.items()
    }
    left, right, result = list(before), list(after), []
    shared = [key for key in right if key in before]
    while left or right:
        if left and right and left[0] == right[0]:
            left.pop(0)
        elif left and left[0] not in after:
            # What is only in the live list keeps its place before what is new.
            result.append(before[left.pop(0)])
            continue
        elif left and shared and left[0] != shared[0]:
            left.pop(0)
            continue
        key = right.pop(0) if right else left.pop(0)
        if key in shared:
            shared.remove(key)
        if key in merged:
            result.append(merged.pop(key))
    return [copied(item) for item in result]


def _conflict(conflicts: dict[tuple[str, str, str], set[Path]], managers: Managers) -> errors.StatusError:
    causes, told = [], []
    for held in sorted(conflicts):
        name = _told(held, managers[held])
        paths = sorted(fields.written(path) for path in conflicts[held])
        causes += [
            {"reason": "FieldManagerConflict", "message": f"conflict with {name}", "field": path}
            for path in paths
        ]
        told.append((name, paths))
    if len(causes) == 1:
        name, paths = told[0]
        message = f"Apply failed with 1 conflict: conflict with {name}: {paths[0]}"
    else:
        lines = []
        for name, paths in told:
            lines += [f"conflicts with {name}:", *(f"- {path}" for path in paths)]
        message = f"Apply failed with {len(causes)} conflicts: " + "\n".join(lines)
    return errors.StatusError(409, "Conflict", message, {"causes": causes})


def _told(held: tuple[str, str, str], entry: dict) -> str:
    manager, operation, subresource = held
    text = json.dumps(manager)
    if subresource:
        text += f" with subresource {json.dumps(subresource)}"
    if operation == "Update":
        text += f" using {entry['apiVersion']}"
        if entry["time"]:
            text += f" at {entry['time']}"
    return text
