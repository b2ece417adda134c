"""Declared fields: metadata fields with an index of their own, and how it narrows what a filter reads.

A filter means the same whether its fields are declared or not: its path predicate is always evaluated. What a
filter needs of single fields is known (`vectors/needs.py`). A need of a declared field becomes a condition on
an expression over the metadata, the field's key, which a btree index holds. The condition is wider than the
need wherever the key cannot tell: rows with a list on the field's way, and times in an unusual form, have the
greatest key, and that one is always asked for as well.

No expression can fail, whatever the metadata: numbers are cut to what a float8 holds, texts to a prefix.
"""

import datetime
import hashlib
import uuid
from dataclasses import dataclass

from psycopg import sql

from controlplane.errors import InvalidError
from vectors import filters, needs
from vectors.clauses import Clause, Joined, text_array

FIELDS_MOST = 64
# Characters of a text that its key holds.
PREFIX_MOST = 64
# Numbers nearer to zero, and farther from it, have the key of zero and of this bound.
LEAST, GREATEST = 1e-300, 1e300
LAST = chr(0x10FFFF)
# The condition on a key is asked for when at most this share of the rows match: above, evaluating it costs
# more than the rows that it spares.
NARROWED_SHARE_MOST = 0.3
# Times that have a key of their own, in the order of their days; all others have the greatest.
DAY = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ]|$)"


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of declared field: its key's SQL type, the greatest key, and which needs it serves."""

    name: str
    sql_type: str
    last: str
    serves: tuple[str, ...]

    def key(self, path: str) -> str:
        """SQL of the key of a value that is no list, from the SQL of the value's place."""
        value = f"metadata #> {path}"
        if self.name == "number":
            number = f"({value})::numeric"
            return (
                f"WHEN jsonb_typeof({value}) = 'number' THEN CASE WHEN abs({number}) < {LEAST} THEN 0::float8"
                f" ELSE least(greatest({number}, -{GREATEST}), {GREATEST})::float8 END"
            )
        if self.name == "boolean":
            return f"WHEN jsonb_typeof({value}) = 'boolean' THEN (({value})::boolean)::int"
        text = f"metadata #>> {path}"
        if self.name == "datetime":
            return (
                f"WHEN jsonb_typeof({value}) = 'string' THEN CASE WHEN ({text}) ~ '{DAY}'"
                f" THEN left({text}, {PREFIX_MOST}) ELSE '{LAST}' END"
            )
        return f"WHEN jsonb_typeof({value}) = 'string' THEN left({text}, {PREFIX_MOST})"

    def parameter(self, value) -> str:
        """The key of a filter's value, in text form."""
        if self.name == "number":
            number = float(value)
            return repr(0.0 if abs(number) < LEAST else max(min(number, GREATEST), -GREATEST))
        if self.name == "boolean":
            return str(int(value))
        return value[:PREFIX_MOST]


KINDS = {
    kind.name: kind
    for kind in (
        Kind("keyword", "text", LAST, ("text",)),
        Kind("number", "float8", "NaN", ("number",)),
        Kind("boolean", "int", "2", ("boolean",)),
        Kind("datetime", "text", LAST, ("text", "moment")),
    )
}


@dataclass(frozen=True, slots=True)
class Declared:
    """A declared field that an index serves, or is to serve."""

    name: str
    kind: Kind
    expression: str

    def index_name(self, collection_id: uuid.UUID) -> str:
        """The index's name: another one for another field, type or expression."""
        digest = hashlib.sha256(f"{self.name}\0{self.expression}".encode()).hexdigest()[:16]
        return f"f_{collection_id.hex}_{digest}"


def declared(name: str, type: str) -> Declared:
    """The declaration of a field by its dotted name and type."""
    kind = KINDS[type]
    parts = name.split(".")
    place = sql.Literal(text_array(parts).decode()).as_string() + "::text[]"
    ways, way = [], "$"
    for part in parts:
        way += f".{filters.quoted(part, name)}"
        ways.append(f'{way}.type() == "array"')
    lists = sql.Literal(filters.join("||", ways)).as_string()
    expression = (
        f"CASE WHEN metadata @@ {lists}::jsonpath THEN '{kind.last}'::{kind.sql_type} {kind.key(place)} END"
    )
    if kind.sql_type == "text":
        expression = f'({expression}) COLLATE "C"'
    return Declared(name, kind, expression)


def checked(given: list[dict], at: str = "fields") -> list[dict]:
    """The declarations as they are kept, by name; InvalidError."""
    if len(given) > FIELDS_MOST:
        raise InvalidError(f"Up to {FIELDS_MOST} fields can be declared.", field=at)
    seen = {}
    for place, one in enumerate(given):
        name, where = one["name"], f"{at}[{place}].name"
        if name.startswith("$"):
            raise InvalidError("A field's name does not start with $.", code="invalid_name", field=where)
        try:
            filters.path(name, where)
            name.encode()
        except UnicodeEncodeError:
            raise InvalidError("This name is no text.", code="invalid_name", field=where) from None
        if name in seen:
            raise InvalidError(f"The field {name[:60]!r} is declared twice.", field=where)
        if one["type"] not in KINDS:
            raise InvalidError(f"The type is one of {', '.join(KINDS)}.", field=f"{at}[{place}].type")
        seen[name] = {"name": name, "type": one["type"]}
    return [seen[name] for name in sorted(seen)]


@dataclass(frozen=True, slots=True)
class Narrowing:
    """A condition that the index of a declared field serves."""

    declared: Declared
    need: needs.Need
    indexed = True
    needs = None

    def sql(self, first: int) -> tuple[str, list[bytes]]:
        kind, key = self.declared.kind, f"({self.declared.expression})"
        if self.need.values is not None:
            keys = [kind.parameter(value) for value in self.need.values]
            return f"{key} = ANY(${first}::{kind.sql_type}[])", [text_array([*keys, kind.last])]
        low, high = self.bounds()
        conditions, parameters = [], []
        for sign, bound in ((">=", low), ("<=", high)):
            if bound is not None:
                conditions.append(f"{key} {sign} ${first + len(parameters)}::{kind.sql_type}")
                parameters.append(bound.encode())
        return f"({' AND '.join(conditions)} OR {key} = '{kind.last}'::{kind.sql_type})", parameters

    def bounds(self) -> tuple[str | None, str | None]:
        """The least and the greatest key that can meet the need."""
        need, kind = self.need, self.declared.kind
        if need.kind == "moment":
            # A time is told by the day where it was written, at most one off from that in UTC.
            return (
                None if need.low is None else _day(need.low, -1),
                None if need.high is None else _day(need.high, 2),
            )
        return (
            None if need.low is None else kind.parameter(need.low),
            None if need.high is None else kind.parameter(need.high),
        )


def _day(day: str, later: int) -> str:
    """The day so many days later; what is before or behind all days when there is none."""
    try:
        return (datetime.date.fromisoformat(day) + datetime.timedelta(later)).isoformat()
    except OverflowError:
        return "" if later < 0 else LAST


def narrowing(needed: needs.Needs | None, fields: dict[str, Declared]) -> Clause | None:
    """What the needs of a clause ask of the declared fields, as a clause; None when that is nothing."""
    if needed is None or not fields:
        return None
    if isinstance(needed, needs.Need):
        field = fields.get(needed.field)
        if field is None or needed.kind not in field.kind.serves:
            return None
        return Narrowing(field, needed)
    parts = [narrowing(part, fields) for part in needed.parts]
    if isinstance(needed, needs.Some):
        return Joined("OR", tuple(parts)) if all(parts) else None
    parts = [part for part in parts if part is not None]
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else Joined("AND", tuple(parts))


def narrowed(clause: Clause, needed: needs.Needs | None, fields: dict[str, Declared], share: float) -> Clause:
    """The clause, with the condition that indexes of declared fields serve when few rows (a share) match;
    `needed`: what the clause needs."""
    if share > NARROWED_SHARE_MOST:
        return clause
    found = narrowing(needed, fields)
    return clause if found is None else Joined("AND", (found, clause))
