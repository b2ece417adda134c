"""The logs of a target: those of its replicas, merged in time order, with one cursor for all of them."""

import asyncio
import base64
import binascii
import heapq
import itertools
import json
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db.models import Q

from controlplane.errors import InvalidError, NotFoundError, UnavailableError
from controlplane.threads import in_database
from deployments.errors import NotFound, ProviderError
from deployments.models import LIVE_REPLICA, Replica, ReplicaStatus, Target
from deployments.providers.base import provider_for
from deployments.runtimes.base import LogLine, Runtime, runtime_for
from deployments.runtimes.workload import Workload, WorkloadRuntime
from deployments.workloads import workload_of
from worker.engine import database_now

MOST_REPLICAS = 50
MOST_LINES = 50_000
PODS_AT_ONCE = 8
# A line is written at most this long after the time it carries.
LATENESS = timedelta(seconds=5)
KEEP_ALIVE_SECONDS = 15.0
LONGEST_PAUSE_SECONDS = 2.0
BEGINNING = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class LogPage:
    """Lines in time order; `cursor` goes on after them, `more` tells that there are some already.

    `problems` is {replica id: message} of replicas whose log could not be read; the others' is here.
    """

    lines: list[LogLine]
    cursor: str
    more: bool
    problems: dict[str, str]


@dataclass(frozen=True)
class _Place:
    """How far one replica's log was read: after `cursor`, and, when set, all there was until `checked`."""

    cursor: str = ""
    checked: datetime | None = None


def _encode(places: dict[str, _Place]) -> str:
    plain = {
        replica: [place.cursor, place.checked.isoformat() if place.checked else ""]
        for replica, place in places.items()
    }
    return base64.urlsafe_b64encode(json.dumps(plain, separators=(",", ":")).encode()).decode().rstrip("=")


def _time(text: str) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if text else None


def _decode(cursor: str) -> dict[str, _Place]:
    try:
        plain = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        return {str(replica): _Place(str(at), _time(checked)) for replica, (at, checked) in plain.items()}
    except (ValueError, TypeError, AttributeError, binascii.Error):
        raise InvalidError("This is not a cursor that the logs gave.", field="cursor") from None


def replicas_with_logs(
    target: Target,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    replica: str | None = None,
) -> list[Replica]:
    """Replicas whose logs are kept and may have lines of the range, the newest MOST_REPLICAS of them."""
    rows = Replica.objects.filter(target=target)
    if replica:
        try:
            return [rows.get(pk=replica)]
        except (Replica.DoesNotExist, ValidationError):
            raise NotFoundError(f"{target.name} has no replica {replica[:60]}.") from None
    kept = database_now() - timedelta(hours=settings.REPLICA_KEEP_HOURS)
    ended_after = max(kept, since) if since else kept
    # With a pod that is gone its log is gone as well.
    left = Q(stopped_at__gte=ended_after) & ~(Q(status=ReplicaStatus.STOPPED) & ~Q(pod_uid=""))
    rows = rows.filter(Q(status__in=LIVE_REPLICA) | left)
    if until:
        rows = rows.filter(created_at__lte=until)
    return list(rows.order_by("-pk")[:MOST_REPLICAS])[::-1]


def target_logs(
    target: Target,
    since: datetime | None = None,
    until: datetime | None = None,
    search: str = "",
    level: str = "",
    replica: str | None = None,
    cursor: str = "",
    limit: int = 500,
    previous: bool = False,
) -> LogPage:
    """The newest `limit` lines of the range, oldest first; with a cursor the next ones after it.

    `level` is the least one shown; `previous` reads the containers that ended before those that run now. The
    filters must stay the same while a cursor is used. InvalidError for a cursor that is none, NotFoundError
    for a replica that is not the target's, UnavailableError when no log at all can be read.
    """
    limit = max(1, min(limit, MOST_LINES))
    places = _decode(cursor) if cursor else {}
    replicas = replicas_with_logs(target, since=since, until=until, replica=replica)
    checked = database_now()
    asked: list[tuple[Replica, dict]] = []
    for row in replicas:
        place = places.get(row.pk, _Place())
        begin = since
        if place.checked:
            begin = max(since or BEGINNING, place.checked - LATENESS)
        # A runtime gives the newest lines where it has no cursor; what follows begins with the oldest.
        most = MOST_LINES if cursor and not place.cursor else limit
        asked.append(
            (
                row,
                {
                    "since": begin,
                    "until": until,
                    "search": search,
                    "level": level,
                    "cursor": place.cursor,
                    "limit": most,
                },
            )
        )
    runtime = runtime_for(provider_for(target.provider).runtime)
    if isinstance(runtime, WorkloadRuntime):
        read, problems = _read_pods(runtime, target, asked, previous=previous, is_chosen=bool(replica))
    elif previous:
        raise InvalidError(
            "Replicas of this target are processes: one that ended is a replica of its own, with a log.",
            field="previous",
        )
    else:
        read, problems = _read_processes(runtime, asked)
    if problems and not read:
        raise UnavailableError(f"The logs cannot be read: {next(iter(problems.values()))}")
    merged = _merged(read)
    shown = merged[:limit] if cursor else merged[-limit:]
    # Without a cursor the newest lines are shown, and what is older is passed over.
    taken = {line.replica_id: line.cursor for line in (shown if cursor else merged)}
    left = {line.replica_id for line in merged[limit:]} if cursor else set()
    full = {pk for pk, lines in read.items() if cursor and len(lines) >= limit}
    for pk in read:
        at = taken.get(pk, places.get(pk, _Place()).cursor)
        is_done = pk not in left and pk not in full
        places[pk] = _Place(at, checked if is_done else places.get(pk, _Place()).checked)
    return LogPage(shown, _encode(places), bool(left or full), problems)


Read = dict[str, list[LogLine]]


def _read_processes(runtime: Runtime, asked: list[tuple[Replica, dict]]) -> tuple[Read, dict[str, str]]:
    """({replica id: lines}, {replica id: why its log could not be read})."""
    read: Read = {}
    problems: dict[str, str] = {}
    for row, query in asked:
        try:
            read[row.pk] = list(itertools.islice(runtime.logs(row.pk, **query), query["limit"]))
        except (ProviderError, OSError) as error:
            problems[row.pk] = str(error)
    return read, problems


def _read_pods(
    runtime: WorkloadRuntime,
    target: Target,
    asked: list[tuple[Replica, dict]],
    *,
    previous: bool,
    is_chosen: bool,
) -> tuple[Read, dict[str, str]]:
    """The same of pods, several at once; a pod that is gone, or has no log before, is told when chosen."""
    read: Read = {}
    problems: dict[str, str] = {}
    try:
        workload = workload_of(target, ())
    except ProviderError as error:
        return {}, {row.pk: str(error) for row, _ in asked} or {"": str(error)}
    unreachable: list[ProviderError] = []

    def one(entry: tuple[Replica, dict]) -> list[LogLine] | ProviderError:
        if unreachable:
            return unreachable[0]
        try:
            return _of_pod(runtime, workload, *entry, previous=previous)
        except ProviderError as error:
            if error.code == "cluster_unreachable":
                unreachable.append(error)
            return error

    with ThreadPoolExecutor(max_workers=PODS_AT_ONCE) as pool:
        for (row, _), found in zip(asked, pool.map(one, asked), strict=True):
            if not isinstance(found, ProviderError):
                read[row.pk] = found
            elif isinstance(found, NotFound) or found.code == "no_log_yet":
                # There is nothing to read, which is no failure.
                read[row.pk] = []
                if is_chosen or not isinstance(found, NotFound):
                    problems[row.pk] = str(found)
            else:
                problems[row.pk] = str(found)
    return read, problems


def _of_pod(
    runtime: WorkloadRuntime, workload: Workload, row: Replica, query: dict, *, previous: bool
) -> list[LogLine]:
    lines = runtime.logs(workload, row.handle.get("pod", ""), previous=previous, **query)
    return [replace(line, replica_id=row.pk) for line in itertools.islice(lines, query["limit"])]


def _merged(read: dict[str, list[LogLine]]) -> list[LogLine]:
    """Lines of all replicas by time; a line without one stays behind the line before it."""
    runs = []
    for number, lines in enumerate(read.values()):
        at, run = BEGINNING, []
        for place, line in enumerate(lines):
            at = max(at, line.at or at)
            run.append((at, number, place, line))
        runs.append(run)
    return [line for *_, line in heapq.merge(*runs, key=lambda entry: entry[:3])]


async def follow(
    target: Target,
    *,
    cursor: str = "",
    seconds: float = 300.0,
    poll_seconds: float = 0.5,
    keep_alive_seconds: float = KEEP_ALIVE_SECONDS,
    **filters,
) -> AsyncIterator[LogPage]:
    """Pages of lines as they are written, for `seconds`; then the reader goes on with the last cursor.

    The first page comes at once, empty or not; later ones when there are lines, and an empty one every
    `keep_alive_seconds` so that a dead connection is noticed. `filters` are those of `target_logs`. While
    nothing is written the pauses grow to 2 s.
    """
    deadline = time.monotonic() + seconds
    pause, told = poll_seconds, time.monotonic()
    page = await in_database(target_logs, target, cursor=cursor, **filters)
    yield page
    while (left := deadline - time.monotonic()) > 0:
        if not page.more:
            await asyncio.sleep(min(pause, left))
        page = await in_database(target_logs, target, cursor=page.cursor, **filters)
        if page.lines:
            pause = poll_seconds
        else:
            pause = min(pause * 1.5, max(poll_seconds, LONGEST_PAUSE_SECONDS))
        if page.lines or time.monotonic() - told >= keep_alive_seconds:
            told = time.monotonic()
            yield page
