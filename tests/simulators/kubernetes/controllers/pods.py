"""What the controllers of pods share: whose a pod is, how it fares, how one is made of a template."""

import hashlib
from datetime import UTC, datetime
from typing import Any

import orjson

from tests.simulators.kubernetes.schema import copied

_SAFE = "bcdfghjklmnpqrstvwxz2456789"


def owner_of(document: dict) -> dict | None:
    """The owner reference of its controller."""
    for reference in document["metadata"].get("ownerReferences", ()):
        if reference.get("controller"):
            return reference
    return None


def owned(store, key: str, owner: dict) -> list[dict]:
    """Those objects of the owner's namespace that it controls."""
    uid = owner["metadata"]["uid"]
    return [
        document
        for document in store.find(key, owner["metadata"]["namespace"])
        if (owner_of(document) or {}).get("uid") == uid
    ]


def reference(owner: dict) -> dict:
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def from_template(owner: dict, template: dict, **meta: Any) -> dict:
    """A pod of `template` that belongs to `owner`."""
    given = template.get("metadata") or {}
    made = {
        "metadata": {
            "namespace": owner["metadata"]["namespace"],
            "labels": dict(given.get("labels") or {}),
            "annotations": dict(given.get("annotations") or {}),
            "ownerReferences": [reference(owner)],
            **meta,
        },
        "spec": copied(template["spec"]),
    }
    if given.get("finalizers"):
        made["metadata"]["finalizers"] = given["finalizers"]
    return made


def condition(document: dict, kind: str) -> dict | None:
    return next(
        (c for c in (document.get("status") or {}).get("conditions") or () if c["type"] == kind), None
    )


def is_active(pod: dict) -> bool:
    phase = (pod.get("status") or {}).get("phase")
    return phase not in ("Succeeded", "Failed") and not pod["metadata"].get("deletionTimestamp")


def is_ready(pod: dict) -> bool:
    found = condition(pod, "Ready")
    return bool(found and found["status"] == "True")


def available_in(pod: dict, min_ready_seconds: int, speed: float) -> float | None:
    """Seconds of the cluster's clock until a ready pod counts as available: 0 now, None not ready."""
    if not is_ready(pod):
        return None
    if not min_ready_seconds:
        return 0.0
    since = datetime.fromisoformat(condition(pod, "Ready")["lastTransitionTime"].replace("Z", "+00:00"))
    passed = (datetime.now(UTC) - since).total_seconds() * speed
    return max(0.0, min_ready_seconds - passed)


def template_hash(template: dict, collisions: int = 0) -> str:
    """A pod-template-hash, in the alphabet of the real ones."""
    text = orjson.dumps([template, collisions], option=orjson.OPT_SORT_KEYS)
    number, found = int.from_bytes(hashlib.sha256(text).digest()[:8], "big"), ""
    for _ in range(10):
        number, rest = divmod(number, len(_SAFE))
        found += _SAFE[rest]
    return found


def with_condition(
    conditions: list[dict],
    kind: str,
    status: str,
    reason: str,
    message: str,
    now: str,
    *,
    updates: bool = False,
) -> list[dict]:
    """The conditions with one set; its transition time kept when the status is the same."""
    before = next((c for c in conditions if c["type"] == kind), None)
    made = {"type": kind, "status": status}
    if updates:
        made["lastUpdateTime"] = now
    made["lastTransitionTime"] = now
    made |= {"reason": reason, "message": message}
    if before:
        if before["status"] == status:
            made["lastTransitionTime"] = before.get("lastTransitionTime", now)
        if all(before.get(key) == made[key] for key in ("status", "reason", "message")):
            return conditions
    return [*(c for c in conditions if c["type"] != kind), made]
