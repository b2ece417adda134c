"""Segments: an index is partial indexes over ranges of epochs, and rows written since are read exactly.

Every write stamps its rows with the collection's epoch of the moment, so a row that changes leaves the range
of the index it was in. A build closes the epoch and makes an index of the rows up to it; what is written
meanwhile and after lies behind it. Ranges cover all epochs whatever indexes there are, so a query that
knows of an older set of indexes, or of one that was dropped, is slower and never wrong.

`index_built` of a collection is {type, m, ..., parts: [{name, first, last, rows}, ...], efs}: parts in order
of their epochs, without gaps, the first from 0. A part without `last` is an index of all rows, as they
were made before rows had an epoch; nothing is unindexed then.
"""

from typing import NamedTuple

# While writes go on the rows that no index covers are what costs queries most, so they are indexed by
# themselves, with the newest parts that are no more than this share of them. A query looks into each part:
# with PARTS_MOST of them all but the first become one, and with the first when they outgrow it.
TAKEN_ALONG = 0.5
PARTS_MOST = 5
# Rows an hour's worth of inserting one by one, and of building, take: (rows a second). Measured on 2 cores
# at 384 dimensions; only their ratio counts.
INSERTED_PER_SECOND, BUILT_PER_SECOND = 400, 3000


class Part(NamedTuple):
    """A partial index: its name, the epochs it covers, and the rows there were when it was built."""

    name: str
    first: int
    last: int | None
    rows: int


class Span(NamedTuple):
    """A range of epochs of a query (None: unbounded), read exactly or through the index that covers it."""

    first: int | None
    last: int | None
    exact: bool

    def condition(self) -> str:
        """SQL to be joined to other conditions by AND; the predicate of the part's index, word by word."""
        if self.last is None:
            return f" AND epoch >= {self.first}" if self.first is not None else ""
        return f" AND {covered(self.first, self.last)}"


def covered(first: int, last: int) -> str:
    """SQL of the rows of a range of epochs."""
    return f"epoch <= {last}" if first == 0 else f"epoch BETWEEN {first} AND {last}"


def parts_of(index_built: dict | None) -> tuple[Part, ...]:
    """The parts of an index, oldest first; none when there is no index."""
    if not index_built:
        return ()
    if "parts" not in index_built:
        return (Part(index_built["name"], 0, None, index_built.get("rows", 0)),)
    return tuple(Part(**part) for part in index_built["parts"])


def unindexed_from(parts: tuple[Part, ...]) -> int | None:
    """The first epoch that no part covers; None when all rows are covered."""
    if not parts:
        return 0
    return None if parts[-1].last is None else parts[-1].last + 1


def with_part(parts: tuple[Part, ...], new: Part) -> tuple[Part, ...] | None:
    """The parts with a new one in the place of those it covers; None when it does not fit between the others.

    It does not when another build has covered its range, or part of it, meanwhile.
    """
    before = tuple(part for part in parts if part.last is not None and part.last < new.first)
    after = tuple(part for part in parts if part.first > new.last)
    between = parts[len(before) : len(parts) - len(after)]
    if any(part.last is not None and (part.first < new.first or part.last > new.last) for part in between):
        return None
    if new.first and (not before or before[-1].last != new.first - 1):
        return None
    return (*before, new, *after)


class Merge(NamedTuple):
    """What to do about rows outside the first part: build one index of `start`'s part and all newer rows, or
    move the newer rows into the first part's range, where they are inserted into its index one by one."""

    start: int
    drain: bool


def merge_due(parts: tuple[Part, ...], unindexed: int, least: int, quiet: bool) -> Merge | None:
    """What is to be merged now; None when nothing is.

    `unindexed`: rows that no part covers; `least`: how many are left alone while writes go on; `quiet`:
    nothing was written for a while, so that everything may go into one index.
    """
    if not parts or parts[-1].last is None:
        return None
    if quiet:
        newer = unindexed + sum(part.rows for part in parts[1:])
        if not newer:
            return Merge(1, True) if parts[1:] else None
        inserting = newer / INSERTED_PER_SECOND
        return Merge(0, inserting < (parts[0].rows + newer) / BUILT_PER_SECOND)
    if unindexed < least:
        return None
    start, newer = len(parts), unindexed
    while start and parts[start - 1].rows <= TAKEN_ALONG * newer:
        start -= 1
        newer += parts[start].rows
    if start >= PARTS_MOST:
        newer = unindexed + sum(part.rows for part in parts[1:])
        start = 0 if parts[0].rows < newer else 1
    return Merge(start, False)
