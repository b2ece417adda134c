"""Label and field selectors, as text in a query and as objects in a spec."""

import re
from typing import Any

from tests.simulators.kubernetes import errors

_SET = re.compile(r"^\s*([\w./-]+)\s+(in|notin)\s*\(([^)]*)\)\s*$")
_EQUALS = re.compile(r"^\s*([\w./-]+)\s*(==|=|!=)\s*([\w.-]*)\s*$")
_EXISTS = re.compile(r"^\s*(!?)\s*([\w./-]+)\s*$")
Requirement = tuple[str, str, tuple[str, ...]]


def parse(text: str) -> list[Requirement]:
    """`a=b,c in (d,e),!f` as (key, In | NotIn | Exists | DoesNotExist, values)."""
    found: list[Requirement] = []
    for part in re.split(r",(?![^(]*\))", text or ""):
        if not part.strip():
            continue
        if match := _SET.match(part):
            operator = "In" if match[2] == "in" else "NotIn"
            found.append((match[1], operator, tuple(value.strip() for value in match[3].split(","))))
        elif match := _EQUALS.match(part):
            found.append((match[1], "NotIn" if match[2] == "!=" else "In", (match[3],)))
        elif match := _EXISTS.match(part):
            found.append((match[2], "DoesNotExist" if match[1] else "Exists", ()))
        else:
            raise errors.bad_request(
                f"unable to parse requirement: found '{part.strip()}', expected: identifier"
            )
    return found


def of(selector: dict | None) -> list[Requirement]:
    """The requirements of a LabelSelector object."""
    selector = selector or {}
    found = [(key, "In", (value,)) for key, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or ():
        found.append((expression["key"], expression["operator"], tuple(expression.get("values") or ())))
    return found


def matches(requirements: list[Requirement], labels: dict[str, str] | None) -> bool:
    labels = labels or {}
    for key, operator, values in requirements:
        held = key in labels
        fits = {
            "In": held and labels[key] in values,
            "NotIn": not held or labels[key] not in values,
            "Exists": held,
            "DoesNotExist": not held,
        }[operator]
        if not fits:
            return False
    return True


_FIELDS = {
    "pods": (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
    "events": (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
    "secrets": ("type",),
    "namespaces": ("status.phase",),
    "nodes": ("spec.unschedulable",),
    "jobs": ("status.successful",),
    "replicasets": ("status.replicas",),
}


def parse_fields(text: str, plural: str) -> list[tuple[str, bool, str]]:
    """`a.b=c,d!=e` as (path, equal, value). Raises the 400 of a field the resource cannot be selected by."""
    found = []
    for part in (text or "").split(","):
        if not part.strip():
            continue
        match = re.match(r"^([\w.]+)(==|!=|=)(.*)$", part.strip())
        if not match:
            raise errors.bad_request(f"invalid selector: '{part}'; can't understand '{part}'")
        if match[1] not in ("metadata.name", "metadata.namespace", *_FIELDS.get(plural, ())):
            raise errors.bad_request(f"field label not supported: {match[1]}")
        found.append((match[1], match[2] != "!=", match[3]))
    return found


def matches_fields(requirements: list[tuple[str, bool, str]], document: dict) -> bool:
    return all((_text(document, path) == value) == equal for path, equal, value in requirements)


def _text(document: dict, path: str) -> str:
    node: Any = document
    for part in path.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    if path == "source" and isinstance(node, dict):
        node = node.get("component")
    if isinstance(node, bool):
        return str(node).lower()
    return "" if node is None else str(node)
