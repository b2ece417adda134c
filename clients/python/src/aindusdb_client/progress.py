"""How far a load is: what a callback is told, and a bar for terminals."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO

BAR_CELLS = 24
REDRAWN_SECONDS = 0.1
# A load that is over sooner is not worth a bar.
SHOWN_AFTER_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Status:
    """Rows and bytes done, of how many where that is known, and the seconds since the start."""

    rows: int = 0
    rows_total: int | None = None
    bytes: int = 0
    bytes_total: int | None = None
    seconds: float = 0.0
    ended: bool = False

    @property
    def share(self) -> float | None:
        """The part that is done, 0 to 1; None when the whole is not known."""
        for done, total in ((self.rows, self.rows_total), (self.bytes, self.bytes_total)):
            if total:
                return min(done / total, 1.0)
        return None

    @property
    def rows_per_second(self) -> float:
        """The rate so far."""
        return self.rows / self.seconds if self.seconds > 0 else 0.0

    @property
    def bytes_per_second(self) -> float:
        """The rate so far."""
        return self.bytes / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """The time that is left at the rate so far; None while it cannot be told."""
        share = self.share
        return self.seconds * (1 / share - 1) if share else None


Progress = Callable[[Status], None]


class ProgressBar:
    """Draws a load's progress on one line of a terminal; silent where the stream is none.

    rows      [############------------]  50 %  12,000 of 24,000 rows  4,011/s  3 s left
    """

    def __init__(self, label: str = "", stream: TextIO | None = None) -> None:
        self.label = label
        self.stream = sys.stderr if stream is None else stream
        self.shown = False
        self.drawn_at = 0.0
        try:
            self.silent = not self.stream.isatty()
        except (AttributeError, ValueError):
            self.silent = True

    def __call__(self, status: Status) -> None:
        """Draw, if it is time to."""
        now = time.monotonic()
        due = now - self.drawn_at >= REDRAWN_SECONDS and status.seconds >= SHOWN_AFTER_SECONDS
        if self.silent or not (due or (status.ended and self.shown)):
            return
        self.drawn_at, self.shown = now, not status.ended
        self.stream.write(f"\r\x1b[K{self.text(status)}" + ("\n" if status.ended else ""))
        self.stream.flush()

    def text(self, status: Status) -> str:
        """The line for a status."""
        parts = [self.label] if self.label else []
        share = status.share
        if share is not None:
            full = round(share * BAR_CELLS)
            parts.append(f"[{'#' * full}{'-' * (BAR_CELLS - full)}] {share:4.0%}".replace("%", " %"))
        if status.rows or status.rows_total or not status.bytes:
            of = f" of {status.rows_total:,}" if status.rows_total is not None else ""
            parts.append(f"{status.rows:,}{of} rows")
            parts.append(f"{status.rows_per_second:,.0f}/s")
        else:
            of = f" of {size(status.bytes_total)}" if status.bytes_total is not None else ""
            parts.append(f"{size(status.bytes)}{of}")
            parts.append(f"{size(status.bytes_per_second)}/s")
        if status.ended:
            parts.append(f"in {duration(status.seconds)}")
        elif status.seconds_left is not None:
            parts.append(f"{duration(status.seconds_left)} left")
        return "  ".join(parts)


class Meter:
    """Adds up what is done and tells a callback."""

    def __init__(
        self,
        progress: Progress | bool | None,
        *,
        label: str = "",
        rows_total: int | None = None,
        bytes_total: int | None = None,
    ) -> None:
        self.progress: Progress | None
        if progress is True:
            self.progress = ProgressBar(label)
        else:
            self.progress = progress or None
        self.rows_total, self.bytes_total = rows_total, bytes_total
        self.rows = self.bytes = 0
        self.started = time.monotonic()

    def status(self, *, ended: bool = False) -> Status:
        """How far it is."""
        seconds = time.monotonic() - self.started
        return Status(self.rows, self.rows_total, self.bytes, self.bytes_total, seconds, ended)

    def add(self, *, rows: int = 0, bytes: int = 0) -> None:
        """Note what was done now."""
        self.rows += rows
        self.bytes += bytes
        if self.progress:
            self.progress(self.status())

    def end(self) -> None:
        """Tell that nothing follows."""
        if self.progress:
            self.progress(self.status(ended=True))


def size(count: float) -> str:
    """Bytes for people: 1.5 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            break
        count /= 1024
    return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"


def duration(seconds: float) -> str:
    """Seconds for people: 42 s, 3:07 min, 2:05 h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d} h"
