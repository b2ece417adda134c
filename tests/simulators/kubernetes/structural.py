"""Structural schemas of custom resources: a short notation for them, their defaults, and what they refuse."""

from typing import Any

from tests.simulators.kubernetes.schema import copied

_OPEN = {"x-kubernetes-preserve-unknown-fields": True}


def schema_of(shape: Any) -> dict[str, Any]:
    """An OpenAPI schema from a shape.

    - `"string"`, `"integer"`, `"number"`, `"boolean"`, `"any"`, `"int-or-string"`; `"A|B"` are the allowed
      words; `"integer=1"` has a default.
    - `{"name!": shape}` is an object whose `name` is required, `"...": True` lets it have more;
      `{"*": shape}` is a map.
    - `[shape]` is a list that is replaced whole; `("map", "key", shape)` one whose items have a key.
    """
    if isinstance(shape, str):
        return _scalar(shape)
    if isinstance(shape, list):
        return {"type": "array", "items": schema_of(shape[0]), "x-kubernetes-list-type": "atomic"}
    if isinstance(shape, tuple):
        _, key, item = shape
        return {
            "type": "array",
            "items": schema_of(item),
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": [key],
        }
    if set(shape) == {"*"}:
        return {"type": "object", "additionalProperties": schema_of(shape["*"])}
    made: dict[str, Any] = {"type": "object", "properties": {}}
    for name, below in shape.items():
        if name == "...":
            made |= _OPEN
        elif name == "=":
            made["default"] = below
        else:
            made["properties"][name.rstrip("!")] = schema_of(below)
    if required := [name[:-1] for name in shape if name.endswith("!")]:
        made["required"] = required
    return made


def _scalar(text: str) -> dict[str, Any]:
    kind, given, value = text.partition("=")
    if kind == "any":
        return dict(_OPEN)
    if kind == "int-or-string":
        return {"x-kubernetes-int-or-string": True}
    words = kind.split("|")
    made: dict[str, Any] = {"type": "string", "enum": words} if len(words) > 1 else {"type": kind}
    if given:
        made["default"] = {"integer": int, "boolean": lambda word: word == "true"}.get(kind, str)(value)
    return made


def default(schema: dict[str, Any], value: Any) -> Any:
    """Fill in the schema's defaults, in place where there is an object to fill."""
    if isinstance(value, dict):
        for name, below in (schema.get("properties") or {}).items():
            if name not in value and "default" in below:
                value[name] = copied(below["default"])
            if name in value:
                value[name] = default(below, value[name])
        more = schema.get("additionalProperties")
        if isinstance(more, dict):
            for name in value:
                value[name] = default(more, value[name])
    elif isinstance(value, list):
        return [default(schema.get("items") or {}, item) for item in value]
    return value


_TYPES = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "object": dict,
    "array": list,
}


def problems(schema: dict[str, Any], value: Any, path: str = "") -> list[tuple[str, str]]:
    """What the schema refuses, in the words of the API server."""
    kind = schema.get("type")
    if kind and not _is(value, kind):
        name = _name(value)
        return [(path, f'Invalid value: "{name}": {path} in body must be of type {kind}: "{name}"')]
    found: list[tuple[str, str]] = []
    if "enum" in schema and value not in schema["enum"]:
        words = ", ".join(f'"{word}"' for word in schema["enum"])
        found.append((path, f'Unsupported value: "{value}": supported values: {words}'))
    if "minimum" in schema and value < schema["minimum"]:
        told = f"{path} in body should be greater than or equal to {schema['minimum']}"
        found.append((path, f"Invalid value: {value}: {told}"))
    if "maximum" in schema and value > schema["maximum"]:
        told = f"{path} in body should be less than or equal to {schema['maximum']}"
        found.append((path, f"Invalid value: {value}: {told}"))
    if isinstance(value, dict):
        for name in schema.get("required", ()):
            if name not in value:
                found.append((f"{path}.{name}".lstrip("."), "Required value"))
        for name, item in value.items():
            below = (schema.get("properties") or {}).get(name) or schema.get("additionalProperties")
            if isinstance(below, dict):
                found += problems(below, item, f"{path}.{name}".lstrip("."))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found += problems(schema.get("items") or {}, item, f"{path}[{index}]")
    return found


def _is(value: Any, kind: str) -> bool:
    if kind in ("integer", "number") and isinstance(value, bool):
        return False
    return isinstance(value, _TYPES[kind])


def _name(value: Any) -> str:
    names = (
        (bool, "boolean"),
        (str, "string"),
        (int, "integer"),
        (float, "number"),
        (list, "array"),
        (dict, "object"),
    )
    return next((name for kind, name in names if isinstance(value, kind)), "null")
