"""The logs of a target's pods, merged by time."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from deployments.errors import Invalid, NotFound
from deployments.runtimes.base import LogLine
from deployments.runtimes.kubernetes.client import ClusterClient, error_of
from deployments.runtimes.kubernetes.kinds import kind_named
from deployments.runtimes.kubernetes.manifests.place import APP, OWNER_LABEL, Place

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
# As our image writes; other images' lines have no level.
HEADER = re.compile(r"^(?:\S+Z )?(DEBUG|INFO|WARNING|ERROR|CRITICAL) ")
STAMP = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$")
# Of one pod, in one reading; what is older is reached by a narrower range of time.
LINES_MOST = 5000
BYTES_MOST = 4 << 20
PODS_MOST = 50
CONTAINER = "api"


@dataclass(frozen=True, order=True)
class _Line:
    stamp: str  # with nine digits, so that text order is the order of time
    pod: str
    number: int  # among the lines of this pod at this very moment
    text: str = ""

    @property
    def cursor(self) -> str:
        return f"{self.stamp}|{self.pod}|{self.number}"

    @property
    def at(self) -> datetime:
        return datetime.fromisoformat(f"{self.stamp[:26]}+00:00")


def _stamp(text: str) -> str | None:
    match = STAMP.match(text)
    if not match:
        return None
    if match[3] != "Z":
        at = datetime.fromisoformat(f"{match[1]}{match[3]}").astimezone(UTC)
        return f"{at:%Y-%m-%dT%H:%M:%S}.{(match[2] or '').ljust(9, '0')}"
    return f"{match[1]}.{(match[2] or '').ljust(9, '0')}"


def _from_cursor(cursor: str) -> _Line | None:
    parts = cursor.split("|")
    if len(parts) != 3 or not parts[2].isdigit() or len(parts[0]) != 29 or not _stamp(f"{parts[0]}Z"):
        return None
    return _Line(parts[0], parts[1], int(parts[2]))


def read_logs(
    client: ClusterClient,
    place: Place,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    search: str = "",
    level: str = "",
    cursor: str = "",
    limit: int = 500,
    previous: bool = False,
) -> Iterator[LogLine]:
    """The newest `limit` records, oldest first; with a cursor the next ones after it.

    A line without a level that follows one with a level belongs to it: a traceback stays whole.
    """
    after = _from_cursor(cursor)
    start = after.at if after else since
    selector = f"app.kubernetes.io/name={APP},{OWNER_LABEL}={place.owner}"
    pods = client.list(kind_named("Pod"), place.namespace, labels=selector)
    pods.sort(key=lambda one: one["metadata"].get("creationTimestamp") or "", reverse=True)
    names = [one["metadata"]["name"] for one in pods[:PODS_MOST]]
    with ThreadPoolExecutor(max_workers=6) as pool:
        read = list(pool.map(lambda name: _pod_lines(client, place, name, start, previous), names))
    records = sorted((record for lines in read for record in _records(lines)), key=lambda pair: pair[0])
    levels = LEVELS[LEVELS.index(level.upper()) :] if level.upper() in LEVELS else LEVELS
    hidden = [value for value in place.secrets.values.values() if len(value) > 3]
    found = []
    for line, told in records:
        if after and (line.stamp, line.pod, line.number) <= (after.stamp, after.pod, after.number):
            continue
        if (since and line.at < since) or (until and line.at > until) or (told and told not in levels):
            continue
        if search and search.lower() not in line.text.lower():
            continue
        text = line.text
        for secret in hidden:
            text = text.replace(secret, "***")
        found.append(LogLine(line.pod, line.at, told, text, line.cursor))
    yield from found[:limit] if after else found[-limit:] if limit else []


def _pod_lines(
    client: ClusterClient, place: Place, pod: str, since: datetime | None, previous: bool
) -> list[_Line]:
    query = {
        "container": CONTAINER,
        "timestamps": "true",
        "tailLines": LINES_MOST,
        "limitBytes": BYTES_MOST,
    }
    if since:
        query["sinceTime"] = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if previous:
        query["previous"] = "true"
    status, _, body = client.send(
        "GET", kind_named("Pod").path(place.namespace, pod, "log"), query=query, timeout_seconds=12
    )
    if status != 200:
        error = error_of(status, body, what=f"the log of {pod}")
        # A container that has not started, or never ended before, has none.
        if isinstance(error, Invalid | NotFound):
            return []
        raise error
    lines: list[_Line] = []
    for raw in body.decode(errors="replace").splitlines():
        head, _, text = raw.partition(" ")
        stamp = _stamp(head)
        if stamp is None:
            continue
        number = lines[-1].number + 1 if lines and lines[-1].stamp == stamp else 0
        lines.append(_Line(stamp, pod, number, text))
    return lines


def _records(lines: list[_Line]) -> list[tuple[_Line, str]]:
    """(line, level), the lines that belong to a line added to it; its cursor is that of the last."""
    found: list[tuple[_Line, str]] = []
    for line in lines:
        match = HEADER.match(line.text)
        if match is None and found and found[-1][1]:
            head, told = found[-1]
            found[-1] = (_Line(line.stamp, line.pod, line.number, f"{head.text}\n{line.text}"), told)
            continue
        text = line.text[match.end() :] if match else line.text
        found.append((_Line(line.stamp, line.pod, line.number, text), match[1] if match else ""))
    return found
