"""The audit log: append-only (a trigger holds that), each entry carrying the hash of the one before it."""

import hashlib
import json
import re
from typing import NamedTuple

from django.db import connection, transaction
from django.utils import timezone

from controlplane.models import AuditEntry, Project

GENESIS = "0" * 64
# Any constant: the advisory lock that makes writers of the chain wait for one another.
CHAIN_LOCK = 0x41554449
# What PostgreSQL's jsonb and text refuse: NUL, and halves of a surrogate pair.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class Verified(NamedTuple):
    """What `verify` found: how many entries it read, and the first that is wrong."""

    entries: int
    broken_at: int | None
    reason: str


def _storable(value):
    """A JSON value in the form in which jsonb gives it back, so that its hash can be made again."""
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            return str(value)
        return int(value) if value.is_integer() else value
    if isinstance(value, dict):
        return {_storable(str(key)): _storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(item) for item in value]
    if value is None or isinstance(value, bool | int):
        return value
    return _storable(str(value))


def _digest(entry: AuditEntry) -> str:
    body = {
        "at": entry.at.isoformat(timespec="microseconds"),
        "project": entry.project_id,
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "detail": _storable(entry.detail),
        "request_id": entry.request_id,
    }
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256((entry.previous_hash + text).encode()).hexdigest()


def lock_chain() -> None:
    """Wait for every other writer of the log; held until the caller's transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CHAIN_LOCK])


def record(
    *,
    project: Project | None,
    actor: str,
    action: str,
    subject: str,
    detail: dict | None = None,
    request_id: str = "",
) -> AuditEntry:
    """Append an entry in the caller's transaction.

    Holds the chain's lock until that transaction ends: call it late, after the rows it tells of are locked.
    """
    with transaction.atomic():
        lock_chain()
        newest = AuditEntry.objects.order_by("-sequence").values_list("hash", flat=True).first()
        entry = AuditEntry(
            at=timezone.now(),
            project=project,
            actor=_storable(actor)[:200],
            action=_storable(action)[:100],
            subject=_storable(str(subject))[:200],
            detail=_storable(detail or {}),
            request_id=_storable(request_id)[:64],
            previous_hash=newest or GENESIS,
        )
        entry.hash = _digest(entry)
        entry.save(force_insert=True)
        return entry


def verify() -> Verified:
    """Read the whole chain; `broken_at` is the sequence of the first entry that was changed or cut."""
    expected = GENESIS
    count = 0
    for entry in AuditEntry.objects.order_by("sequence").iterator(chunk_size=2000):
        count += 1
        if entry.previous_hash != expected:
            return Verified(count, entry.sequence, "the entry before it is missing or another one")
        if _digest(entry) != entry.hash:
            return Verified(count, entry.sequence, "its content was changed after it was written")
        expected = entry.hash
    return Verified(count, None, "")
