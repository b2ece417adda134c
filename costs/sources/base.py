"""What a source is: it tells which billing months it has, and gives each as FOCUS files.

A source is made for one reading from its configuration and credentials, keeps nothing and imports no model.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Protocol

from worker.handlers import StepError

Read = Callable[[int], bytes]


class SourceError(StepError):
    """The source cannot be read."""

    code = "source_failed"


@dataclass(frozen=True)
class File:
    """A file of a month: its name, and a function that opens it for reading."""

    name: str
    open: Callable[[], Read]


@dataclass(frozen=True)
class Month:
    """A billing month as a source has it now.

    `version` is a text that changes when what the source would give changes; None when it cannot know without
    giving it. `totals` is {currency: the provider's own total of BilledCost, as text}; None for none.
    """

    month: date
    files: tuple[File, ...]
    version: str | None
    totals: Mapping[str, str] | None = None


class Source(Protocol):
    """How one kind of source is read."""

    label: str
    config_schema: Mapping[str, Any]
    credentials_schema: Mapping[str, Any]

    def months(self, since: date, wanted: Callable[[date], bool]) -> list[Month]:
        """The billing months from `since` on that it has; those not `wanted` need no files or totals."""


@dataclass(frozen=True)
class Stored:
    """An object in a store: its key, a text that changes with its content, its size and time."""

    key: str
    version: str
    size: int
    modified: datetime


DATA = re.compile(r"\.(csv|csv\.gz|gz|parquet)\Z", re.IGNORECASE)
# AWS: BILLING_PERIOD=2026-11; Azure: 20261101-20261130; others: 2026-11, 2026/11 or 202611.
MONTHS = (
    re.compile(r"billing_period=(?P<year>20\d\d)-(?P<month>\d\d)", re.IGNORECASE),
    re.compile(r"(?:\A|[/_-])(?P<year>20\d\d)(?P<month>\d\d)01-20\d{6}(?:[/_.-]|\Z)"),
    re.compile(r"(?:\A|[/_=-])(?P<year>20\d\d)[/_-]?(?P<month>0[1-9]|1[0-2])(?:[/_.-]|\Z)"),
)


def month_of(key: str) -> date | None:
    """The billing month that an export's key tells of."""
    for pattern in MONTHS:
        if (found := pattern.search(key)) and 1 <= int(found["month"]) <= 12:
            return date(int(found["year"]), int(found["month"]), 1)
    return None


def exported_months(
    objects: Iterable[Stored], since: date, opened: Callable[[Stored], Read], totals=None
) -> list[Month]:
    """The months of a FOCUS export in a store.

    An export that keeps its runs writes each into a folder of its own: the newest one is the month.
    """
    by_month: dict[date, dict[str, list[Stored]]] = {}
    for one in objects:
        month = month_of(one.key)
        if month is None or month < since or not one.size or not DATA.search(one.key):
            continue
        folder = one.key.rpartition("/")[0]
        by_month.setdefault(month, {}).setdefault(folder, []).append(one)
    found = []
    for month, folders in sorted(by_month.items()):
        newest = max(folders.values(), key=lambda of: (max(one.modified for one in of), of[0].key))
        newest.sort(key=lambda one: one.key)
        files = tuple(File(one.key, lambda one=one: opened(one)) for one in newest)
        version = " ".join(f"{one.key}:{one.version}" for one in newest)
        found.append(Month(month, files, version, totals(month) if totals else None))
    return found


def rows_file(name: str, rows: Callable[[], Iterator[Mapping[str, Any]]]) -> File:
    """A file made of rows with FOCUS columns, as CSV, while it is read."""
    return File(name, lambda: _reader(_lines(rows())))


def _lines(rows: Iterator[Mapping[str, Any]]) -> Iterator[bytes]:
    text = io.StringIO(newline="")
    writer = None
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(text, list(row), lineterminator="\n", restval="")
            writer.writeheader()
        writer.writerow({name: "" if value is None else value for name, value in row.items()})
        if text.tell() > 2**16:
            yield text.getvalue().encode()
            text.seek(0)
            text.truncate()
    yield text.getvalue().encode()


@dataclass
class _Reader:
    pieces: Iterator[bytes]
    rest: bytes = field(default=b"")

    def __call__(self, size: int) -> bytes:
        while not self.rest:
            piece = next(self.pieces, None)
            if piece is None:
                return b""
            self.rest = piece
        given, self.rest = self.rest[:size], self.rest[size:]
        return given


def _reader(pieces: Iterator[bytes]) -> Read:
    return _Reader(pieces)


def following(month: date) -> date:
    """The first day of the month after a month's."""
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def months_between(since: date, until: date) -> list[date]:
    """The months from one to another, both included."""
    found, month = [], since.replace(day=1)
    while month <= until:
        found.append(month)
        month = following(month)
    return found
