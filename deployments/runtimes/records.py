"""What our processes' log lines are made of, wherever they are kept: a time, a level, a text."""

import re
from datetime import UTC, datetime

HEADER = re.compile(
    rb"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3})Z (DEBUG|INFO|WARNING|ERROR|CRITICAL) ", re.MULTILINE
)
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
LONGEST_TEXT_BYTES = 64 * 1024


def header_time(text: bytes) -> datetime:
    """The time of a header."""
    return datetime.fromisoformat(text.decode()).replace(tzinfo=UTC)


def parsed(raw: bytes) -> tuple[datetime | None, str, bytes]:
    """(time, level, text) of a record; neither time nor level where it does not begin with a header."""
    match = HEADER.match(raw)
    if match is None:
        return None, "", raw.rstrip(b"\n")
    return header_time(match[1]), match[2].decode(), raw[match.end() :].rstrip(b"\n")


class Wanted:
    """What a caller asked for."""

    def __init__(self, *, since=None, until=None, search: str = "", level: str = ""):
        self.since, self.until = since, until
        self.search = search.lower()
        self.needle = self.search.encode() if self.search.isascii() else b""
        level = level.upper()
        self.levels = LEVELS[LEVELS.index(level) :] if level in LEVELS else LEVELS

    def may_be_in(self, block: bytes) -> bool:
        """False when no record of the block can match the search; spares parsing it."""
        return not self.needle or self.needle in block.lower()

    def matches(self, at: datetime | None, level: str, text: str) -> bool:
        """Lines without a level (a traceback at the start, say) pass every level."""
        if level and level not in self.levels:
            return False
        if at and ((self.since and at < self.since) or (self.until and at > self.until)):
            return False
        return self.search in text.lower()
