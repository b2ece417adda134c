"""Long lists of values in a filter, looked up instead of gone through.

A SQL/JSON path compares a row's value with each of a list's in turn: with thousands of them a row costs a
millisecond. PostgreSQL keeps an array of constants as a hash table, so `$in` and `$nin` of a field are put
beside the path as a condition on the field's value, which means the same of a scalar: equality of jsonb is
that of the path. What is no scalar (a list, or a list of objects on the way to the field) is left to the
path, which the condition falls back on row by row. Only conditions that all must hold are put beside it, and
none on a field with a number in its name, which would be a place in a list.
"""

import re
from dataclasses import dataclass

from vectors import filters
from vectors.clauses import Clause, Joined, Path, text_array

# Shorter lists are gone through faster.
LEAST_VALUES = 24
NUMBER = re.compile(r"\s*[-+]?[0-9]+\s*")


@dataclass(frozen=True, slots=True)
class OneOf:
    """The field is, or with `holds` false is not, one of the values; missing fields are not."""

    field: str
    values: tuple
    holds: bool
    indexed = False
    needs = None

    def sql(self, first: int) -> tuple[str, list[bytes]]:
        place, values, path = (f"${at}" for at in range(first, first + 3))
        value = f"(metadata #> {place}::text[])"
        found = (
            f"(CASE WHEN jsonb_typeof({value}) IN ('string', 'number', 'boolean', 'null')"
            f" THEN {value} = ANY({values}::jsonb[]) ELSE metadata @@ {path}::jsonpath END)"
        )
        text = filters.compile({self.field: {"$in": list(self.values)}})
        return (found if self.holds else f"NOT {found}"), [
            text_array(self.field.split(".")),
            text_array([filters.literal(value, self.field) for value in self.values]),
            text.encode(),
        ]


def looked_up(clause: Clause | None, least: int = LEAST_VALUES) -> Clause | None:
    """A clause that means the same, without lists of at least so many values to go through; itself when it
    has none.

    Unlike the clause it is not for the GIN index.
    """
    if isinstance(clause, Joined):
        parts = tuple(looked_up(part, least) for part in clause.parts)
        return clause if parts == clause.parts else Joined(clause.operator, parts)
    if not isinstance(clause, Path) or clause.filter is None:
        return clause
    rest, lists = apart(clause.filter, least)
    if not lists:
        return clause
    if rest:
        lists.append(Path(filters.compile(rest), zoned=clause.zoned))
    return lists[0] if len(lists) == 1 else Joined("AND", tuple(lists))


def values_in(clause: Clause | None) -> int:
    """How many values the long lists of a clause from `looked_up` have."""
    if isinstance(clause, Joined):
        return sum(values_in(part) for part in clause.parts)
    return len(clause.values) if isinstance(clause, OneOf) else 0


def apart(filter: dict, least: int) -> tuple[dict, list[OneOf]]:
    """A filter that compiles without its long lists, and these; without any, the filter itself."""
    rest, lists = {}, []
    for key, value in filter.items():
        if key == "$and":
            kept = []
            for part in value:
                remaining, found = apart(part, least)
                lists += found
                if remaining:
                    kept.append(remaining)
            if kept:
                rest[key] = kept
        elif not key.startswith("$") and isinstance(value, dict):
            left, numbered = {}, any(map(NUMBER.fullmatch, key.split(".")))
            for name, item in value.items():
                if name in ("$in", "$nin") and len(item) >= least and not numbered:
                    lists.append(OneOf(key, tuple(item), name == "$in"))
                else:
                    left[name] = item
            if left:
                rest[key] = left
        else:
            rest[key] = value
    return rest, lists
