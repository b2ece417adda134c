"""Counters of requests, shared by the worker processes of one replica.

The parent makes one anonymous shared mapping before it forks; each worker counts in a slot of its own, and
whichever worker is scraped sums all slots. A worker that replaces a dead one goes on in the dead one's
slot, so that counters never go back.
"""

import mmap
import os
import threading
import time
from bisect import bisect_left

from controlplane.errors import ProblemError
from vectors import database
from vectors.collections import COUNTED_BYTES_MOST, ROWS, exact_counts, table_of
from vectors.endpoints import ROUTES

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
STATUSES = ("2xx", "3xx", "4xx", "5xx")
NAMES = (
    *(route.name for methods in ROUTES.values() for route in methods.values()),
    *("health", "ready", "metrics", "pinecone", "qdrant", "other"),
)
PLACES = {name: place for place, name in enumerate(NAMES)}
OTHER = PLACES["other"]
PER_ROUTE = len(STATUSES) + len(BUCKETS) + 2
# Numbers before the routes: the pid that counts here, requests in flight, those that wait for a thread, and
# counts of what was refused or slow.
HEAD = {name: place for place, name in enumerate(("pid", "in_flight", "waiting", "shed", "limited", "slow"))}
SLOT = len(HEAD) + PER_ROUTE * len(NAMES)
SLOTS = 65
GAUGES_SECONDS = 10.0


class Counters:
    """The slots: doubles in shared memory."""

    def __init__(self, slots: int = SLOTS):
        self.slots = slots
        self.memory = mmap.mmap(-1, slots * SLOT * 8)
        self.numbers = memoryview(self.memory).cast("d")
        self.lock = threading.Lock()
        self.base = -1

    def claim(self) -> None:
        """Take a slot for this process: a free one, or one whose process has died."""
        pid = os.getpid()
        for slot in range(self.slots):
            base = slot * SLOT
            owner = int(self.numbers[base])
            if owner and owner != pid and _alive(owner):
                continue
            self.numbers[base] = pid
            self.numbers[base + HEAD["in_flight"]] = self.numbers[base + HEAD["waiting"]] = 0
            # Two that claim at once: the later writer keeps it, the other looks on.
            time.sleep(0.005)
            if int(self.numbers[base]) == pid:
                self.base = base
                return
        self.base = (self.slots - 1) * SLOT

    def begin(self) -> None:
        with self.lock:
            self.numbers[self.base + 1] += 1

    def note(self, name: str, by: float = 1) -> None:
        """Add to one of the numbers before the routes."""
        with self.lock:
            self.numbers[self.base + HEAD[name]] += by

    def end(self, name: str, status: int, seconds: float) -> None:
        """Count a finished request."""
        base, numbers = self.base, self.numbers
        at = base + len(HEAD) + PLACES.get(name, OTHER) * PER_ROUTE
        bucket = at + len(STATUSES) + bisect_left(BUCKETS, seconds)
        with self.lock:
            numbers[base + 1] -= 1
            numbers[at + min(max(status // 100 - 2, 0), 3)] += 1
            numbers[bucket] += 1
            numbers[at + PER_ROUTE - 1] += seconds

    def total(self, offset: int) -> float:
        return sum(self.numbers[slot * SLOT + offset] for slot in range(self.slots))

    def pids(self) -> list[int]:
        return [pid for slot in range(self.slots) if (pid := int(self.numbers[slot * SLOT])) and _alive(pid)]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def resident_bytes(pid: int) -> int:
    """Resident memory of a process; 0 when it has gone."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:  # noqa: PTH123
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


_gauges: tuple[float, list] = (0.0, [])


def collection_gauges() -> list[tuple[str, int, int, int, float | None]]:
    """(name, points, bytes, 1 when an index serves, recall) of every collection, up to 10 s old."""
    global _gauges
    if _gauges[0] > time.monotonic():
        return _gauges[1]
    with database.pool().connection() as connection:
        rows = connection.db.execute(
            f"SELECT c.name, {ROWS},"
            " pg_total_relation_size(r.oid), (c.index_built IS NOT NULL)::int, c.id, pg_table_size(r.oid),"
            " (SELECT recall FROM vectors_recall WHERE collection_id = c.id AND asked IS NULL"
            " ORDER BY at DESC LIMIT 1) FROM vectors_collection c"
            " JOIN pg_class r ON r.relnamespace = 'vectors_data'::regnamespace"
            " AND r.relname = 'p_' || replace(c.id::text, '-', '') ORDER BY c.name"
        ).fetchall()
        small = {row[0]: table_of(row[4]) for row in rows if row[5] <= COUNTED_BYTES_MOST}
        counts = exact_counts(connection, small)
    found = [(row[0], counts.get(row[0], row[1]), row[2], row[3], row[6]) for row in rows]
    _gauges = (time.monotonic() + GAUGES_SECONDS, found)
    return found


def text(counters: Counters) -> bytes:
    """Prometheus text of all workers' counters and the collections' gauges."""
    lines = [
        "# HELP aindusdb_api_requests_total Requests answered, by route and class of status.",
        "# TYPE aindusdb_api_requests_total counter",
    ]
    totals = [counters.total(len(HEAD) + at) for at in range(PER_ROUTE * len(NAMES))]
    for name, place in PLACES.items():
        for at, status in enumerate(STATUSES):
            count = totals[place * PER_ROUTE + at]
            if count:
                lines.append(f'aindusdb_api_requests_total{{route="{name}",status="{status}"}} {count:.0f}')
    lines += [
        "# HELP aindusdb_api_request_duration_seconds Time from the request's head to its answer.",
        "# TYPE aindusdb_api_request_duration_seconds histogram",
    ]
    for name, place in PLACES.items():
        start = place * PER_ROUTE + len(STATUSES)
        counts = totals[start : start + len(BUCKETS) + 1]
        if not any(counts):
            continue
        so_far = 0.0
        for most, count in zip((*BUCKETS, "+Inf"), counts, strict=True):
            so_far += count
            lines.append(
                f'aindusdb_api_request_duration_seconds_bucket{{route="{name}",le="{most}"}} {so_far:.0f}'
            )
        seconds = totals[place * PER_ROUTE + PER_ROUTE - 1]
        lines.append(f'aindusdb_api_request_duration_seconds_sum{{route="{name}"}} {seconds:.6f}')
        lines.append(f'aindusdb_api_request_duration_seconds_count{{route="{name}"}} {so_far:.0f}')
    lines += [
        "# HELP aindusdb_api_requests_in_flight Requests being answered.",
        "# TYPE aindusdb_api_requests_in_flight gauge",
        f"aindusdb_api_requests_in_flight {max(counters.total(HEAD['in_flight']), 0):.0f}",
        "# HELP aindusdb_api_requests_waiting Requests that wait for a thread.",
        "# TYPE aindusdb_api_requests_waiting gauge",
        f"aindusdb_api_requests_waiting {max(counters.total(HEAD['waiting']), 0):.0f}",
        "# HELP aindusdb_api_workers Worker processes.",
        "# TYPE aindusdb_api_workers gauge",
        f"aindusdb_api_workers {len(counters.pids())}",
        "# HELP aindusdb_api_resident_memory_bytes Resident memory of all worker processes.",
        "# TYPE aindusdb_api_resident_memory_bytes gauge",
        f"aindusdb_api_resident_memory_bytes {sum(map(resident_bytes, counters.pids()))}",
    ]
    noted = (
        ("shed", "Requests refused at once because too many waited; counted nowhere else."),
        ("limited", "Requests refused because their key had asked too often."),
        ("slow", "Queries slower than AINDUS_SLOW_QUERY_MS."),
    )
    for name, help_text in noted:
        metric = f"aindusdb_api_{'queries' if name == 'slow' else 'requests'}_{name}_total"
        lines.append(f"# HELP {metric} {help_text}")
        lines.append(f"# TYPE {metric} counter")
        lines.append(f"{metric} {counters.total(HEAD[name]):.0f}")
    try:
        rows = collection_gauges()
        up = 1
    except ProblemError:
        rows, up = [], 0
    lines += [
        "# HELP aindusdb_api_database_up Whether the database answered this scrape.",
        "# TYPE aindusdb_api_database_up gauge",
        f"aindusdb_api_database_up {up}",
    ]
    gauges = (
        ("points", "Points in the collection, by PostgreSQL's statistics."),
        ("bytes", "Size of the collection on disk, indexes included."),
        ("indexed", "1 when an index serves the collection's queries."),
        ("recall", "Recall of the newest measurement at the default recall."),
    )
    for at, (gauge, help_text) in enumerate(gauges, 1):
        lines.append(f"# HELP aindusdb_api_collection_{gauge} {help_text}")
        lines.append(f"# TYPE aindusdb_api_collection_{gauge} gauge")
        lines += [
            f'aindusdb_api_collection_{gauge}{{collection="{row[0]}"}} {row[at]}'
            for row in rows
            if row[at] is not None
        ]
    return ("\n".join(lines) + "\n").encode()
