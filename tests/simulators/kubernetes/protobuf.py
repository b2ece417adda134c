"""The few protobuf messages that kubectl sends where it speaks no JSON: reviews, deletions, evictions.

Only what these messages hold is read; answers are JSON, which kubectl accepts.
"""

from typing import Any

MAGIC = b"k8s\x00"

# field number: (name, kind); a kind is text, number, flag, a message's fields, or [kind] where repeated.
_META = {1: ("name", "text"), 2: ("generateName", "text"), 3: ("namespace", "text"), 5: ("uid", "text")}
_ATTRIBUTES = {
    1: ("namespace", "text"),
    2: ("verb", "text"),
    3: ("group", "text"),
    4: ("version", "text"),
    5: ("resource", "text"),
    6: ("subresource", "text"),
    7: ("name", "text"),
}
_REVIEW_SPEC = {
    1: ("resourceAttributes", _ATTRIBUTES),
    2: ("nonResourceAttributes", {1: ("path", "text"), 2: ("verb", "text")}),
}
_DELETE = {
    1: ("gracePeriodSeconds", "number"),
    2: ("preconditions", {1: ("uid", "text"), 2: ("resourceVersion", "text")}),
    3: ("orphanDependents", "flag"),
    4: ("propagationPolicy", "text"),
    5: ("dryRun", ["text"]),
}
_MESSAGES: dict[str, dict[int, tuple[str, Any]]] = {
    "SelfSubjectAccessReview": {1: ("metadata", _META), 2: ("spec", _REVIEW_SPEC)},
    "SelfSubjectRulesReview": {1: ("metadata", _META), 2: ("spec", {1: ("namespace", "text")})},
    "SelfSubjectReview": {1: ("metadata", _META)},
    "DeleteOptions": _DELETE,
    "Eviction": {1: ("metadata", _META), 2: ("deleteOptions", _DELETE)},
    "Scale": {
        1: ("metadata", {**_META, 6: ("resourceVersion", "text")}),
        2: ("spec", {1: ("replicas", "number")}),
    },
}
_ENVELOPE = {1: ("type", {1: ("apiVersion", "text"), 2: ("kind", "text")}), 2: ("raw", "bytes")}


def decoded(body: bytes) -> dict[str, Any]:
    """The object of a protobuf body. Raises ValueError for kinds that are not known here."""
    envelope = _message(body[len(MAGIC) :], _ENVELOPE)
    kind = envelope["type"].get("kind", "")
    if kind not in _MESSAGES:
        raise ValueError(f"the simulator reads no protobuf of kind {kind}")
    return {**envelope["type"], **_message(envelope.get("raw", b""), _MESSAGES[kind])}


def _number(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _message(data: bytes, fields: dict[int, tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    at = 0
    while at < len(data):
        tag, at = _number(data, at)
        if tag & 7 == 0:
            value, at = _number(data, at)
        elif tag & 7 == 2:
            size, at = _number(data, at)
            value, at = data[at : at + size], at + size
        else:
            raise ValueError("the simulator reads no protobuf of this kind")
        name, kind = fields.get(tag >> 3, ("", ""))
        if not name:
            continue
        if isinstance(kind, list):
            found.setdefault(name, []).append(_value(value, kind[0]))
        else:
            found[name] = _value(value, kind)
    return {name: value for name, value in found.items() if value != ""}


def _value(value: Any, kind: Any) -> Any:
    if isinstance(kind, dict):
        return _message(value, kind)
    return {"text": lambda: value.decode(), "flag": lambda: bool(value)}.get(kind, lambda: value)()
