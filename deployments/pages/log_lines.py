"""Log lines of all replicas of a target in the order of their times, from its runtime."""

import base64
import heapq
import json
from dataclasses import dataclass
from datetime import UTC, datetime

from deployments.errors import ProviderError
from deployments.models import LIVE_REPLICA
from deployments.providers.base import provider_for
from deployments.runtimes.base import runtime_for

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
GONE_REPLICAS = 3


@dataclass(frozen=True)
class Line:
    replica: str
    at: datetime | None
    level: str
    text: str
    cursor: str

    @property
    def key(self) -> str:
        """Names the line in an address."""
        stamp = f"{self.at.timestamp():.3f}" if self.at else "0"
        return f"l{stamp.replace('.', '')}-{abs(hash((self.replica, self.text))) % 100000}"


def _runtime(target):
    return runtime_for(provider_for(target.provider).runtime)


def _replicas(target, wanted) -> list[str]:
    rows = target.replicas.order_by("-pk")
    if wanted["replica"]:
        return [pk for pk in rows.values_list("pk", flat=True)[:200] if pk == wanted["replica"]]
    live = list(rows.filter(status__in=LIVE_REPLICA).values_list("pk", flat=True))
    gone = rows.exclude(status__in=LIVE_REPLICA).values_list("pk", flat=True)[:GONE_REPLICAS]
    return [*live, *gone]


def _read(runtime, replica_id, wanted, cursor, limit) -> list[Line]:
    found = runtime.logs(
        replica_id,
        since=None if cursor else wanted["since"],
        search=wanted["q"],
        level=wanted["level"],
        cursor=cursor,
        limit=limit,
    )
    return [Line(line.replica_id, line.at, line.level, line.text, line.cursor) for line in found]


def newest(target, wanted: dict, limit: int) -> tuple[list[Line], str, str]:
    """(the newest lines, oldest first; a cursor to go on after them; why there are none)."""
    try:
        runtime = _runtime(target)
    except KeyError:
        return [], "", "This target's runtime gives no logs."
    merged, cursors = [], {}
    for replica_id in _replicas(target, wanted):
        try:
            found = _read(runtime, replica_id, wanted, "", limit)
        except (ProviderError, OSError) as error:
            return [], "", f"The logs of {replica_id} cannot be read: {error}"
        if found:
            cursors[replica_id] = found[-1].cursor
            merged.append(found)
    lines = list(heapq.merge(*merged, key=lambda line: line.at or EARLIEST))
    return lines[-limit:], pack(cursors), ""


def after(target, wanted: dict, cursor: str, limit: int) -> tuple[list[Line], str, str]:
    """The lines that came since the cursor; a replica that is new is read from its start."""
    try:
        runtime = _runtime(target)
    except KeyError:
        return [], cursor, ""
    cursors = unpack(cursor)
    merged = []
    for replica_id in _replicas(target, wanted):
        if (
            replica_id not in cursors
            and not target.replicas.filter(pk=replica_id, status__in=LIVE_REPLICA).exists()
        ):
            continue
        try:
            found = _read(runtime, replica_id, wanted, cursors.get(replica_id, ""), limit)
        except (ProviderError, OSError):
            continue
        if found:
            cursors[replica_id] = found[-1].cursor
            merged.append(found)
    lines = list(heapq.merge(*merged, key=lambda line: line.at or EARLIEST))
    return lines[-limit:], pack(cursors), ""


def pack(cursors: dict) -> str:
    """The replicas' cursors as one text for an address."""
    return base64.urlsafe_b64encode(json.dumps(cursors).encode()).decode()


def unpack(text: str) -> dict:
    try:
        found = json.loads(base64.urlsafe_b64decode(text))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
