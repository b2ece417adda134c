"""The types of the objects, read from Kubernetes' own definitions (those that kubernetes-validate carries).

A `Type` says how a value merges: fields, maps, associative lists with their keys, sets, atoms.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import orjson

from tests.simulators.kubernetes import quantities

META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_FOLDER = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
# The schema's defaults of list keys, which the definitions do not carry.
_KEY_DEFAULTS = {"protocol": "TCP"}


class Type:
    """`shape` is scalar, struct, map, list or any; `relation` of lists is map, set or atomic."""

    __slots__ = (
        "atomic",
        "element",
        "fields",
        "keys",
        "merge_key",
        "open",
        "relation",
        "required",
        "retain_keys",
        "scalar",
        "shape",
        "strategic",
    )

    def __init__(self, shape: str = "any"):
        self.shape = shape
        self.fields: dict[str, Type] = {}
        self.element: Type | None = None
        self.keys: tuple[str, ...] = ()
        self.relation = "atomic"
        self.atomic = False
        self.scalar = ""
        self.required: tuple[str, ...] = ()
        self.merge_key = ""
        self.strategic = False
        self.retain_keys = False
        self.open = False

    def child(self, name: str) -> "Type":
        """The type of a field or of a map's value; ANY where it is not declared."""
        return self.fields.get(name) or self.element or ANY

    def item_key(self, item: Any, index: int = 0) -> str:
        """The path element of an item of an associative list or a set, as fieldsV1 writes it."""
        if self.relation == "set":
            return "v:" + json.dumps(item, separators=(",", ":"))
        found = {key: item.get(key, _KEY_DEFAULTS.get(key)) for key in self.keys if isinstance(item, dict)}
        found = {key: value for key, value in found.items() if value is not None}
        if not found:
            return f"i:{index}"
        return "k:" + json.dumps(found, separators=(",", ":"), sort_keys=True)


ANY = Type()


def _json_type(node: dict) -> str:
    kind = node.get("type", "")
    if isinstance(kind, list):
        kind = next((word for word in kind if word != "null"), "")
    return kind


class Schemas:
    """The definitions of one Kubernetes version, and the types made of them."""

    def __init__(self, version: str):
        self.definitions = _definitions(version)
        self._made: dict[str, Type] = {}
        self._by_kind: dict[tuple[str, str, str], str] = _kinds(version)
        self._custom: dict[tuple[str, str, str], Type] = {}
        self.custom_schemas: dict[tuple[str, str, str], dict] = {}

    def definition_name(self, group: str, version: str, kind: str) -> str:
        return self._by_kind.get((group, version, kind), "")

    def of(self, resource) -> Type:
        """The type of a resource's objects."""
        key = (resource.group, resource.version, resource.kind)
        if key in self._custom:
            return self._custom[key]
        name = self._by_kind.get(key)
        return self.named(name) if name else self._wrapped({"type": "object"})

    def named(self, name: str) -> Type:
        if name not in self._made:
            self._made[name] = made = Type()
            self._fill(made, self.definitions[name], name)
        return self._made[name]

    def add_custom(self, group: str, version: str, kind: str, schema: dict | None) -> None:
        schema = schema or {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        self.custom_schemas[(group, version, kind)] = schema
        self._custom[(group, version, kind)] = self._wrapped(schema)

    def _wrapped(self, schema: dict) -> Type:
        made = Type()
        self._fill(made, schema)
        made.shape = "struct"
        if not schema.get("properties"):
            made.open = True
        made.fields = {**made.fields, "metadata": self.named(META)}
        for name in ("apiVersion", "kind"):
            made.fields[name] = _text()
        return made

    def _fill(self, made: Type, node: dict, name: str = "") -> None:
        if "$ref" in node:
            target = self.named(node["$ref"].rpartition("/")[2])
            for slot in Type.__slots__:
                setattr(made, slot, getattr(target, slot))
            self._annotate(made, node)
            return
        if name.endswith("resource.Quantity"):
            made.shape, made.scalar = "scalar", "quantity"
            return
        if "oneOf" in node or node.get("x-kubernetes-int-or-string"):
            made.shape, made.scalar = "scalar", "int-or-string"
            return
        kind = _json_type(node)
        if kind == "object" or "properties" in node:
            self._fill_object(made, node)
        elif kind == "array":
            made.shape = "list"
            made.element = self._inline(node.get("items") or {})
        elif kind in ("string", "integer", "boolean", "number"):
            made.shape, made.scalar = "scalar", kind
        self._annotate(made, node)

    def _fill_object(self, made: Type, node: dict) -> None:
        if node.get("properties"):
            made.shape = "struct"
            made.fields = {field: self._inline(child) for field, child in node["properties"].items()}
            made.required = tuple(node.get("required", ()))
            made.open = bool(node.get("x-kubernetes-preserve-unknown-fields"))
        elif isinstance(node.get("additionalProperties"), dict):
            made.shape = "map"
            made.element = self._inline(node["additionalProperties"])

    def _inline(self, node: dict) -> Type:
        if set(node) <= {"$ref", "description"} and "$ref" in node:
            return self.named(node["$ref"].rpartition("/")[2])
        made = Type()
        self._fill(made, node)
        return made

    @staticmethod
    def _annotate(made: Type, node: dict) -> None:
        strategy = node.get("x-kubernetes-patch-strategy", "")
        if "merge" in strategy.split(","):
            made.strategic = True
            made.merge_key = node.get("x-kubernetes-patch-merge-key", "")
        if "retainKeys" in strategy:
            made.retain_keys = True
        if made.shape == "list":
            relation = node.get("x-kubernetes-list-type", "")
            if relation:
                made.relation = relation
                made.keys = tuple(node.get("x-kubernetes-list-map-keys", ()))
            elif made.strategic:
                made.relation = "map" if made.merge_key else "set"
                made.keys = (made.merge_key,) if made.merge_key else ()
        if node.get("x-kubernetes-map-type") == "atomic":
            made.atomic = True


def _text() -> Type:
    made = Type("scalar")
    made.scalar = "string"
    return made


@cache
def _definitions(version: str) -> dict[str, dict]:
    path = _FOLDER / f"v{version}.0-local" / "_definitions.json"
    return orjson.loads(path.read_bytes())["$defs"]


@cache
def _kinds(version: str) -> dict[tuple[str, str, str], str]:
    found = {}
    for name, node in _definitions(version).items():
        for gvk in node.get("x-kubernetes-group-version-kind", ()):
            if not name.endswith("List"):
                found.setdefault((gvk["group"], gvk["version"], gvk["kind"]), name)
    return found


def versions() -> list[str]:
    """The minor versions that can be simulated, oldest first."""
    found = [path.name[1:].removesuffix(".0-local") for path in _FOLDER.glob("v*.0-local")]
    return sorted(found, key=lambda text: [int(part) for part in text.split(".")])


class WrongType(ValueError):
    """A value is not of its field's type."""


def decode(value: Any, kind: Type, path: str = "", unknown: list[str] | None = None) -> Any:
    """A copy of `value` as the server keeps it: nothing undeclared, no nulls, canonical quantities.

    Paths of undeclared fields are appended to `unknown`. Raises WrongType.
    """
    if kind.shape == "scalar":
        return _decode_scalar(value, kind, path)
    if kind.shape == "list":
        if not isinstance(value, list):
            raise WrongType(f"cannot unmarshal {_name_of(value)} into Go struct field {path} of type []")
        return [
            decode(item, kind.element, f"{path}[{index}]", unknown)
            for index, item in enumerate(value)
            if item is not None
        ]
    if kind.shape == "any":
        return copied(value)
    if not isinstance(value, dict):
        raise WrongType(f"cannot unmarshal {_name_of(value)} into Go struct field {path} of type struct")
    result = {}
    for name, item in value.items():
        below = f"{path}.{name}" if path else name
        if kind.shape == "struct" and name not in kind.fields:
            if kind.open:
                result[name] = copied(item)
            elif unknown is not None:
                unknown.append(below)
            continue
        if item is None:
            continue
        child = kind.child(name)
        made = decode(item, child, below, unknown)
        # Empty lists and maps are not written by the server (omitempty); an empty struct says something.
        if made in ([], {}) and child.shape in ("list", "map"):
            continue
        result[name] = made
    return result


def _decode_scalar(value: Any, kind: Type, path: str) -> Any:
    wanted = kind.scalar
    if wanted == "quantity":
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise WrongType(
                f"cannot unmarshal {_name_of(value)} into Go struct field {path} of type Quantity"
            )
        try:
            return quantities.canonical(value)
        except ValueError as error:
            raise WrongType(f"{path}: {error}") from None
    fits = {
        "string": isinstance(value, str),
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "boolean": isinstance(value, bool),
        "number": isinstance(value, (int, float)) and not isinstance(value, bool),
        "int-or-string": isinstance(value, (int, str)) and not isinstance(value, bool),
    }[wanted]
    if wanted == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    if not fits:
        go = {"integer": "int32", "boolean": "bool"}.get(wanted, wanted)
        raise WrongType(f"json: cannot unmarshal {_name_of(value)} into Go struct field {path} of type {go}")
    return value


def _name_of(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, (int, float)):
        return "number"
    return "array" if isinstance(value, list) else "object"


def copied(value: Any) -> Any:
    """A deep copy of JSON data."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copied(item) for item in value]
    return value
