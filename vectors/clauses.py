"""Conditions on points as SQL: what the filter language says of metadata, joined with conditions on ids.

A filter alone is one SQL/JSON path. A clause is a tree of such paths and of conditions on the id column;
paths side by side are joined into one, so that the tree has as few parts as its ids need. Its SQL holds
placeholders only. None is the clause that every point meets.
"""

from dataclasses import dataclass, field

from vectors import filters
from vectors.needs import Needs, every_need, some_need


@dataclass(frozen=True, slots=True)
class Path:
    """A SQL/JSON path predicate on the metadata.

    `zoned`: it compares times of day with time zones, which the operator @@ refuses to do; or it negates
    several conditions, of which the GIN index that serves @@ would read what they need amiss. `needs`: what
    it cannot hold without.
    """

    text: str
    indexed: bool = False
    zoned: bool = False
    needs: Needs | None = None
    # The filter that the path was compiled from, when it is one.
    filter: dict | None = field(default=None, compare=False)

    def sql(self, first: int) -> tuple[str, list[bytes]]:
        if self.zoned:
            return f"jsonb_path_match_tz(metadata, ${first}::jsonpath, '{{}}', true)", [self.text.encode()]
        return f"metadata @@ ${first}::jsonpath", [self.text.encode()]


@dataclass(frozen=True, slots=True)
class Ids:
    """The point's id is one of these."""

    ids: tuple[str, ...]
    indexed = True
    needs = None

    def sql(self, first: int) -> tuple[str, list[bytes]]:
        return f"id = ANY(${first}::text[])", [text_array(self.ids)]


@dataclass(frozen=True, slots=True)
class IdRange:
    """The point's id is at least `start` and, when `end` is given, below it, in code point order."""

    start: str
    end: str | None = None
    indexed = True
    needs = None

    def sql(self, first: int) -> tuple[str, list[bytes]]:
        if self.end is None:
            return f"id >= ${first}", [self.start.encode()]
        return f"(id >= ${first} AND id < ${first + 1})", [self.start.encode(), self.end.encode()]


@dataclass(frozen=True, slots=True)
class Joined:
    """Clauses joined by AND or OR."""

    operator: str
    parts: tuple

    @property
    def indexed(self) -> bool:
        return (any if self.operator == "AND" else all)(part.indexed for part in self.parts)

    @property
    def needs(self) -> Needs | None:
        return (every_need if self.operator == "AND" else some_need)(part.needs for part in self.parts)

    def sql(self, first: int) -> tuple[str, list[bytes]]:
        texts, parameters = [], []
        for part in self.parts:
            text, more = part.sql(first + len(parameters))
            texts.append(text)
            parameters += more
        return f"({f' {self.operator} '.join(texts)})", parameters


@dataclass(frozen=True, slots=True)
class Negated:
    """The clause does not hold; one that is unknown does not hold."""

    part: object
    indexed = False
    needs = None

    def sql(self, first: int) -> tuple[str, list[bytes]]:
        text, parameters = self.part.sql(first)
        return f"(NOT coalesce({text}, false))", parameters


Clause = Path | Ids | IdRange | Joined | Negated


def prefixed(prefix: str) -> Clause | None:
    """Ids that start with a text: those up to the greatest code point after it."""
    return IdRange(prefix, prefix + chr(0x10FFFF)) if prefix else None


def every(parts: list[Clause | None]) -> Clause | None:
    """All of the parts hold."""
    return _joined("AND", "&&", any, every_need, [part for part in parts if part is not None])


def some(parts: list[Clause | None]) -> Clause | None:
    """At least one of the parts holds; None among them holds always."""
    if any(part is None for part in parts):
        return None
    return _joined("OR", "||", all, some_need, parts)


def _joined(operator: str, sign: str, narrows, needing, parts: list[Clause]) -> Clause | None:
    paths = [part for part in parts if isinstance(part, Path)]
    rest = [part for part in parts if not isinstance(part, Path)]
    for zoned in (False, True):
        same = [path for path in paths if path.zoned is zoned]
        if len(same) == 1:
            rest += same
        elif same:
            text = filters.join(sign, [path.text for path in same])
            narrowed = narrows(path.indexed for path in same)
            rest.append(Path(text, narrowed, zoned, needing(path.needs for path in same)))
    if not rest:
        return None
    return rest[0] if len(rest) == 1 else Joined(operator, tuple(rest))


def negated(part: Clause | None) -> Clause:
    """The part does not hold."""
    if part is None:
        return Ids(())
    if isinstance(part, Path):
        return Path(f"!({part.text})", False, True)
    return Negated(part)


def clause_of(filter: dict | Clause) -> Clause:
    """The clause of a filter as the API takes it, or of one that is a clause already."""
    if isinstance(filter, dict):
        text = filters.compile(filter)
        return Path(text, filters.indexed(filter), needs=filters.needs_of(filter), filter=filter)
    return filter


def text_array(values) -> bytes:
    """A text[] parameter in text form."""
    quoted = [value.replace("\\", "\\\\").replace('"', '\\"') for value in values]
    return ("{" + ",".join(f'"{value}"' for value in quoted) + "}").encode()
