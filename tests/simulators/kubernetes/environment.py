"""A container's environment and command line, resolved as the kubelet does."""

import base64
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.simulators.kubernetes import quantities

REPOSITORY = Path(__file__).resolve().parents[3]
_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_.-][A-Za-z0-9_.-]*)\)")


class Missing(Exception):
    """A secret, config map or key that a container needs is not there; the kubelet's words."""


def _held(store, key: str, kind: str, namespace: str, name: str, entry: str, optional: bool) -> str | None:
    document = store.get(key, namespace, name)
    if document is None:
        if optional:
            return None
        raise Missing(f'{kind.lower()} "{name}" not found')
    data = document.get("data") or {}
    if entry not in data:
        if optional:
            return None
        raise Missing(f"couldn't find key {entry} in {kind} {namespace}/{name}")
    return base64.b64decode(data[entry]).decode() if kind == "Secret" else data[entry]


def _field(pod: dict, path: str) -> str:
    if match := re.match(r"metadata\.(labels|annotations)\['(.*)'\]$", path):
        return (pod["metadata"].get(match[1]) or {}).get(match[2], "")
    if path == "status.hostIP":
        return (pod.get("status") or {}).get("hostIP", "")
    node: object = pod
    for part in path.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return "" if node is None else str(node)


def _resource(container: dict, source: dict) -> str:
    kind, _, name = source["resource"].partition(".")
    value = ((container.get("resources") or {}).get(kind) or {}).get(name, "0")
    divisor = quantities.parse(source.get("divisor") or "1") or 1
    amount = quantities.parse(value) / divisor
    return str(-int(-amount // 1))


def expanded(text: str, env: Mapping[str, str]) -> str:
    """`$(NAME)` replaced where the name is known; `$$` is a dollar."""
    return _REFERENCE.sub(lambda m: "$" if m[0] == "$$" else env.get(m[1], m[0]), text)


def resolve(store, pod: dict, container: dict) -> dict[str, str]:
    """The environment of a container. Raises Missing."""
    namespace = pod["metadata"]["namespace"]
    env: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        for field, key, kind in (
            ("secretRef", "secrets", "Secret"),
            ("configMapRef", "configmaps", "ConfigMap"),
        ):
            if field not in source:
                continue
            document = store.get(key, namespace, source[field]["name"])
            if document is None:
                if source[field].get("optional"):
                    continue
                raise Missing(f'{kind.lower()} "{source[field]["name"]}" not found')
            for entry, value in (document.get("data") or {}).items():
                text = base64.b64decode(value).decode() if kind == "Secret" else value
                env[source.get("prefix", "") + entry] = text
    for variable in container.get("env", ()):
        source = variable.get("valueFrom")
        if not source:
            env[variable["name"]] = expanded(variable.get("value", ""), env)
            continue
        value: str | None = ""
        if ref := source.get("secretKeyRef"):
            value = _held(
                store, "secrets", "Secret", namespace, ref["name"], ref["key"], ref.get("optional", False)
            )
        elif ref := source.get("configMapKeyRef"):
            value = _held(
                store,
                "configmaps",
                "ConfigMap",
                namespace,
                ref["name"],
                ref["key"],
                ref.get("optional", False),
            )
        elif ref := source.get("fieldRef"):
            value = _field(pod, ref["fieldPath"])
        elif ref := source.get("resourceFieldRef"):
            value = _resource(container, ref)
        if value is not None:
            env[variable["name"]] = value
    return env


def command_line(container: dict, env: Mapping[str, str], port: int) -> list[str]:
    """The container's command as it runs here: `manage.py` is this repository's, and listens on `port`.

    An image's entry point is not known here: arguments alone are arguments of `manage.py`.
    """
    words = [expanded(word, env) for word in (*container.get("command", ()), *container.get("args", ()))]
    at = next((i for i, word in enumerate(words) if word.rpartition("/")[2] == "manage.py"), None)
    if at is None and container.get("command"):
        if words[0].rpartition("/")[2] in ("python", "python3"):
            words[0] = sys.executable
        return words
    arguments = words if at is None else words[at + 1 :]
    if arguments[:1] == ["api"] or not arguments:
        arguments = [
            "api",
            *_without(arguments[1:], "--host", "--port"),
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ]
    return [sys.executable, str(REPOSITORY / "manage.py"), *arguments]


def _without(words: list[str], *options: str) -> list[str]:
    kept, skip = [], False
    for word in words:
        if skip:
            skip = False
        elif word in options:
            skip = True
        elif word.partition("=")[0] not in options:
            kept.append(word)
    return kept
