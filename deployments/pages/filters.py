"""Filters on metadata as forms give them, and the fields that a form may suggest."""

import json

from controlplane.errors import InvalidError, ProblemError
from controlplane.pages.forms import field_errors
from deployments.target_api import TargetApi

SAMPLED = 100
MOST_FIELDS = 60
MOST_VALUES = 8
LONGEST_VALUE = 60
TYPES = {bool: "boolean", int: "number", float: "number", str: "text"}


def filter_of(text: str) -> dict:
    """{"filter": ...} of what was typed, {} when nothing was; InvalidError."""
    text = text.strip()
    if not text:
        return {}
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InvalidError(f"This is not JSON: {error}.", field="filter") from None
    if not isinstance(found, dict):
        raise InvalidError('A filter is an object, such as {"section": "net"}.', field="filter")
    return {"filter": found} if found else {}


def at_fields(error: ProblemError, known, names: dict | None = None) -> dict:
    """{field of the form: message}: `filter.year` and `vector[3]` belong to the field that they begin with.

    `names` has what the target calls a field and the form calls otherwise; what is none of `known` is under
    `form`.
    """
    found: dict = {}
    for key, text in field_errors(error).items():
        name = (names or {}).get(key, key)
        head = name.partition("[")[0].partition(".")[0]
        name = name if name in known else head if head in known else "form"
        found[name] = f"{found[name]} {text}" if name in found else text
    return found


def suggestions(api: TargetApi, collection: dict) -> list[dict]:
    """[{name, type, values}]: the declared fields, then those of the first points, with values they hold."""
    found: dict[str, dict] = {}
    for one in collection.get("fields") or []:
        kind = "text" if one["type"] in ("keyword", "datetime") else one["type"]
        found[one["name"]] = {"name": one["name"], "type": kind, "values": {}}
    points = api.scroll(collection["name"], limit=SAMPLED, include=["metadata"])["points"]
    for point in points:
        for name, value in _leaves(point.get("metadata") or {}):
            kind = TYPES.get(type(value))
            if kind is None or (name not in found and len(found) >= MOST_FIELDS):
                continue
            known = found.setdefault(name, {"name": name, "type": kind, "values": {}})
            if len(known["values"]) < MOST_VALUES and len(str(value)) <= LONGEST_VALUE:
                known["values"][json.dumps(value)] = value
    return [{**one, "values": list(one["values"].values())} for one in found.values()]


def _leaves(value, path: str = ""):
    """(dotted path, value) of everything in metadata that is no object; of lists their elements."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, path)
    elif path:
        yield path, value
