"""Reads the logs of pods through the API server, as records with a cursor that goes on after them.

The kubelet gives every line with its own time (`timestamps`), which never goes back within a container; a
cursor is that time and how many lines of it were read. Whole seconds are all that `sinceTime` tells apart,
so what was read already is skipped here.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from deployments.errors import NotFound, ProviderError
from deployments.runtimes.base import LogLine
from deployments.runtimes.kubernetes.client import ClusterClient, error_of
from deployments.runtimes.kubernetes.kinds import kind_named
from deployments.runtimes.records import HEADER, LONGEST_TEXT_BYTES, Wanted, parsed

# Read when the newest lines are wanted that match a search.
TAIL_LINES = 20_000
# Read from a cursor on; more when all of it was seen already.
FORWARD_BYTES = 4 << 20
FORWARD_MOST_BYTES = 64 << 20
STAMP = re.compile(rb"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) ?")


class Stamp(NamedTuple):
    """A kubelet's time: whole seconds since 1970, and nanoseconds."""

    seconds: int
    nanoseconds: int

    def text(self) -> str:
        return f"{self.seconds}.{self.nanoseconds:09d}"

    def time(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC).replace(microsecond=self.nanoseconds // 1000)


class Line(NamedTuple):
    """One line of the container: its time, which of those with this time it is (from 1), and its text."""

    stamp: Stamp
    number: int
    text: bytes


class NoPrevious(NotFound):
    """No container of this pod has ended, so there is no log of one before."""

    code = "no_previous_container"


def pod_log(
    client: ClusterClient,
    namespace: str,
    pod: str,
    *,
    container: str,
    wanted: Wanted,
    replica_id: str = "",
    cursor: str = "",
    limit: int = 500,
    previous: bool = False,
    hidden: tuple[str, ...] = (),
) -> Iterator[LogLine]:
    """The newest `limit` records that match, oldest first; with a cursor the next ones after it.

    `previous` reads the container that ended before the one that runs now. Texts of `hidden` are blotted
    out. NotFound when the pod is gone, NoPrevious, or what else the API server answers.
    """
    after = _parsed_cursor(cursor)

    def records() -> list[LogLine]:
        if after is None:
            lines = _tail(client, namespace, pod, container, wanted, limit, previous)
        else:
            lines = _forward(client, namespace, pod, container, after, previous)
        return [found for group in _groups(lines) if (found := shown(group))]

    def shown(group: list[Line]) -> LogLine | None:
        raw = b"\n".join(line.text for line in group)[:LONGEST_TEXT_BYTES]
        at, level, body = parsed(raw)
        text = body.decode(errors="replace")
        at = at or group[0].stamp.time()
        if not text or not wanted.matches(at, level, text):
            return None
        for secret in hidden:
            text = text.replace(secret, "***")
        last = group[-1]
        return LogLine(replica_id or pod, at, level, text, f"{last.stamp.text()}/{last.number}")

    found = records()
    yield from found[:limit] if after is not None else found[-limit:]


def _parsed_cursor(cursor: str) -> tuple[Stamp, int] | None:
    match = re.fullmatch(r"(\d{1,12})\.(\d{9})/(\d{1,9})", cursor)
    return (Stamp(int(match[1]), int(match[2])), int(match[3])) if match else None


def _tail(client, namespace, pod, container, wanted: Wanted, limit: int, previous: bool) -> list[Line]:
    is_plain = not (wanted.search or wanted.until) and len(wanted.levels) == 5
    query = {"tailLines": limit if is_plain else max(TAIL_LINES, limit)}
    if wanted.since:
        query["sinceTime"] = _instant(int(wanted.since.timestamp()))
    return _lines(_read(client, namespace, pod, container, query, previous))


def _forward(client, namespace, pod, container, after: tuple[Stamp, int], previous: bool) -> list[Line]:
    most = FORWARD_BYTES
    while True:
        query = {"sinceTime": _instant(after[0].seconds), "limitBytes": most}
        body = _read(client, namespace, pod, container, query, previous)
        if len(body) >= most:
            # Cut anywhere: the last line is read again when it is whole.
            body = body[: body.rfind(b"\n") + 1]
        fresh = [line for line in _lines(body) if (line.stamp, line.number) > after]
        if fresh or len(body) < most // 2 or most >= FORWARD_MOST_BYTES:
            return fresh
        most *= 4


def _read(client: ClusterClient, namespace, pod, container, query: dict, previous: bool) -> bytes:
    path = kind_named("Pod").path(namespace, pod, "log")
    query = {"container": container, "timestamps": "true", **query}
    if previous:
        query["previous"] = "true"
    status, _, body = client.send("GET", path, query=query)
    if status == 200:
        return body
    error = error_of(status, body, what=f"GET {path}")
    if previous and status == 400 and "previous terminated container" in str(error):
        raise NoPrevious(f"No container of {pod} has ended before.")
    if status == 400:
        # A container that has not started has no log; the API server tells what it waits for.
        raise ProviderError(str(error).removeprefix("The cluster refused it: "), code="no_log_yet")
    raise error


def _instant(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _lines(body: bytes) -> list[Line]:
    found: list[Line] = []
    last, number = Stamp(0, 0), 0
    for raw in body.split(b"\n"):
        match = STAMP.match(raw)
        if match is None:
            continue
        zone = b"+00:00" if match[3] == b"Z" else match[3]
        seconds = int(datetime.fromisoformat((match[1] + zone).decode()).timestamp())
        stamp = Stamp(seconds, int((match[2] or b"0").ljust(9, b"0")))
        number = number + 1 if stamp == last else 1
        last = stamp
        found.append(Line(stamp, number, raw[match.end() :]))
    return found


def _groups(lines: list[Line]) -> Iterator[list[Line]]:
    """Lines that belong together: what follows a record's first line without a header of its own."""
    group: list[Line] = []
    for line in lines:
        if group and (HEADER.match(line.text) or not HEADER.match(group[0].text)):
            yield group
            group = []
        group.append(line)
    if group:
        yield group
