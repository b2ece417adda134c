"""The four kinds of patch but server-side apply: JSON, merge and strategic merge."""

from typing import Any

from tests.simulators.kubernetes import errors
from tests.simulators.kubernetes.schema import ANY, Type, copied

JSON = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return copied(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge_patch(result.get(name), value)
    return result


def json_patch(target: Any, operations: list) -> Any:
    """RFC 6902. Raises the server's 422 where an operation does not fit."""
    document = {"root": copied(target)}
    for operation in operations:
        document = _operate(document, operation)
    return document["root"]


def _refused(message: str) -> errors.StatusError:
    return errors.StatusError(
        422, "Invalid", f"the server rejected our request due to an error in our request: {message}"
    )


def _operate(document: dict, operation: dict) -> dict:
    kind, pointer = operation.get("op"), operation.get("path", "")
    if kind in ("move", "copy"):
        value = copied(_read(document, operation["from"]))
        if kind == "move":
            _write(document, operation["from"], "remove", None)
        _write(document, pointer, "add", value)
    elif kind == "test":
        if _read(document, pointer) != operation.get("value"):
            raise _refused(f"testing path {pointer} failed")
    elif kind in ("add", "remove", "replace"):
        _write(document, pointer, kind, copied(operation.get("value")))
    else:
        raise errors.bad_request(f"Unexpected kind: {kind}")
    return document


def _parts(pointer: str) -> list[str]:
    return ["root", *(part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:])]


def _step(node: Any, part: str, pointer: str) -> Any:
    try:
        return node[int(part)] if isinstance(node, list) else node[part]
    except (KeyError, IndexError, ValueError, TypeError):
        raise _refused(f"doc is missing path: {pointer}: missing value") from None


def _read(document: dict, pointer: str) -> Any:
    node: Any = document
    for part in _parts(pointer):
        node = _step(node, part, pointer)
    return node


def _write(document: dict, pointer: str, kind: str, value: Any) -> None:
    *above, last = _parts(pointer)
    node: Any = document
    for part in above:
        node = _step(node, part, pointer)
    if isinstance(node, list):
        if last == "-" and kind == "add":
            node.append(value)
            return
        if not last.isdigit() or int(last) > len(node) - (kind != "add"):
            raise _refused(f"{kind} operation does not apply: doc is missing path: {pointer}")
        if kind == "add":
            node.insert(int(last), value)
        elif kind == "remove":
            node.pop(int(last))
        else:
            node[int(last)] = value
        return
    if kind != "add":
        _step(node, last, pointer)
    if kind == "remove":
        del node[last]
    else:
        node[last] = value


def strategic_patch(target: Any, patch: Any, kind: Type) -> Any:
    """A strategic merge patch: lists with a merge key are merged by it, the `$` directives followed."""
    if not isinstance(patch, dict):
        return copied(patch)
    if patch.get("$patch") == "replace":
        return {name: copied(value) for name, value in patch.items() if name != "$patch"}
    if patch.get("$patch") == "delete":
        return {}
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if name == "$retainKeys":
            result = {key: item for key, item in result.items() if key in value}
        elif name.startswith("$deleteFromPrimitiveList/"):
            field = name.partition("/")[2]
            result[field] = [item for item in result.get(field, []) if item not in value]
    for name, value in patch.items():
        if name.startswith("$"):
            continue
        child = kind.child(name)
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            result[name] = strategic_patch(result.get(name), value, child)
        elif isinstance(value, list) and child.strategic and isinstance(result.get(name), list):
            result[name] = _merge_list(result[name], value, child)
        elif isinstance(value, list):
            result[name] = [_cleaned(item) for item in value if not _is_deletion(item)]
        else:
            result[name] = value
    for name, order in patch.items():
        if name.startswith("$setElementOrder/"):
            field = name.partition("/")[2]
            if isinstance(result.get(field), list):
                result[field] = _ordered(result[field], order, kind.child(field))
    return result


def _is_deletion(item: Any) -> bool:
    return isinstance(item, dict) and item.get("$patch") == "delete"


def _cleaned(item: Any) -> Any:
    return strategic_patch(None, item, ANY) if isinstance(item, dict) else item


def _merge_list(target: list, patch: list, kind: Type) -> list:
    if any(isinstance(item, dict) and item.get("$patch") == "replace" for item in patch):
        return [_cleaned(item) for item in patch if item != {"$patch": "replace"}]
    key = kind.merge_key
    if not key:
        return [*target, *(item for item in patch if item not in target)]
    result = list(target)
    for item in patch:
        where = next((i for i, held in enumerate(result) if held.get(key) == item.get(key)), None)
        if _is_deletion(item):
            if where is not None:
                result.pop(where)
        elif where is None:
            result.append(strategic_patch(None, item, kind.element or ANY))
        else:
            result[where] = strategic_patch(result[where], item, kind.element or ANY)
    return result


def _ordered(items: list, order: list, kind: Type) -> list:
    key = kind.merge_key
    names = [entry.get(key) if key and isinstance(entry, dict) else entry for entry in order]

    def place(item: Any) -> int:
        name = item.get(key) if key and isinstance(item, dict) else item
        return names.index(name) if name in names else len(names)

    return sorted(items, key=place)
