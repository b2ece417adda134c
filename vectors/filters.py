"""The filter language, compiled to one SQL/JSON path.

A filter is a JSON object: `{"genre": {"$in": ["drama", "comedy"]}, "year": {"$gte": 2019}}`. Fields of
one object are joined by and; a dot goes into nested objects; a bare value means $eq. The whole filter
becomes the parameter of `metadata @@ $n::jsonpath`, so the statement's text never depends on it, and the
GIN index (jsonb_path_ops) serves its equalities.

Meaning of the operators:
- $eq, $in compare type and value; numbers exactly. A list in the metadata matches when an element does.
- $ne, $nin are their negation: they match points that lack the field.
- $gt $gte $lt $lte compare numbers with numbers and texts with texts (by code point); nothing else matches.
- $exists: true matches when the field is there, null included.
- null equals only a null that is there.
- A path goes through a list of objects into each of them.
"""

import json
import math

from controlplane.errors import InvalidError
from vectors import needs

DEPTH_MOST = 16
CONDITIONS_MOST = 1000
VALUES_MOST = 10_000
PATH_MOST = 512
ORDER = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
OPERATORS = ("$eq", "$ne", *ORDER, "$in", "$nin", "$exists", "$and", "$or", "$not")
INDEXED = ("$eq", "$in", "$and")


def invalid(message: str, field: str) -> InvalidError:
    return InvalidError(message, code="invalid_filter", field=field)


class Compiler:
    """Compiles one filter; counts conditions so that a body cannot become a plan of any size.

    Negations are carried down to single conditions (`holds` false compiles what is not to hold). Of a
    negated conjunction, `!(a && !(b))`, PostgreSQL's GIN index would read that b is needed, and lose rows
    that only lack a.
    """

    def __init__(self):
        self.conditions = 0
        self.values = 0

    def count(self, field: str, values: int = 1) -> None:
        self.conditions += 1
        self.values += values
        if self.conditions > CONDITIONS_MOST or self.values > VALUES_MOST:
            raise invalid(
                f"A filter takes up to {CONDITIONS_MOST} conditions and {VALUES_MOST} values in all.", field
            )

    def group(self, filter, field: str, depth: int, holds: bool = True) -> str:
        """A predicate for an object of conditions, joined by and."""
        if depth > DEPTH_MOST:
            raise invalid(f"A filter nests up to {DEPTH_MOST} deep.", field)
        if not isinstance(filter, dict):
            raise invalid('A filter is an object of fields, such as {"year": {"$gte": 2019}}.', field)
        if not filter:
            raise invalid("An empty condition; leave the filter out to match everything.", field)
        return join(
            "&&" if holds else "||",
            [self.entry(key, value, f"{field}.{key}", depth, holds) for key, value in filter.items()],
        )

    def entry(self, key: str, value, field: str, depth: int, holds: bool) -> str:
        if key in ("$and", "$or"):
            if not isinstance(value, list) or not value:
                raise invalid(f"{key} takes a list of one or more filters.", field)
            self.count(field, 0)
            parts = [self.group(part, f"{field}[{at}]", depth + 1, holds) for at, part in enumerate(value)]
            return join("&&" if (key == "$and") is holds else "||", parts)
        if key == "$not":
            self.count(field, 0)
            return self.group(value, field, depth + 1, not holds)
        if key.startswith("$"):
            raise invalid(f"No such operator: {key[:40]}. Use {', '.join(OPERATORS)}.", field)
        return self.condition(path(key, field), value, field, depth + 1, holds)

    def condition(self, where: str, value, field: str, depth: int, holds: bool) -> str:
        """A predicate for what is asked of one field."""
        if depth > DEPTH_MOST:
            raise invalid(f"A filter nests up to {DEPTH_MOST} deep.", field)
        if not isinstance(value, dict):
            self.count(field)
            return said(f"exists({where} ? (@ == {literal(value, field)}))", holds)
        if not value:
            raise invalid('An empty condition; give an operator, such as {"$eq": "x"}.', field)
        return join(
            "&&" if holds else "||",
            [
                self.operator(where, name, item, f"{field}.{name}", depth, holds)
                for name, item in value.items()
            ],
        )

    def operator(self, where: str, name: str, value, field: str, depth: int, holds: bool) -> str:
        if name in ("$eq", "$ne"):
            self.count(field)
            return said(f"exists({where} ? (@ == {literal(value, field)}))", (name == "$eq") is holds)
        if name in ("$in", "$nin"):
            if not isinstance(value, list):
                raise invalid(f"{name} takes a list of values.", field)
            self.count(field, len(value))
            if not value:
                return "(1 == 1)" if (name == "$nin") is holds else "(1 == 0)"
            tests = join("||", [f"@ == {literal(item, f'{field}[{at}]')}" for at, item in enumerate(value)])
            return said(f"exists({where} ? {tests})", (name == "$in") is holds)
        if name in ORDER:
            self.count(field)
            if isinstance(value, bool) or not isinstance(value, int | float | str):
                raise invalid(f"{name} takes a number or a text.", field)
            return said(f"exists({where} ? (@ {ORDER[name]} {literal(value, field)}))", holds)
        if name == "$exists":
            self.count(field)
            if not isinstance(value, bool):
                raise invalid("$exists takes true or false.", field)
            return said(f"exists({where})", value is holds)
        if name == "$not":
            self.count(field, 0)
            if not isinstance(value, dict):
                raise invalid('$not of a field takes its operators, such as {"$not": {"$gt": 5}}.', field)
            return self.condition(where, value, field, depth + 1, not holds)
        raise invalid(f"No such operator: {name[:40]}. Use {', '.join(OPERATORS)}.", field)


def said(condition: str, holds: bool) -> str:
    """A single condition, or that it does not hold."""
    return condition if holds else f"!({condition})"


def join(operator: str, parts: list[str]) -> str:
    """The parts joined in a balanced tree, so that evaluating many never goes deep."""
    while len(parts) > 1:
        pairs = [f"({a} {operator} {b})" for a, b in zip(parts[::2], parts[1::2], strict=False)]
        if len(parts) % 2:
            pairs.append(parts[-1])
        parts = pairs
    return parts[0] if parts[0].startswith(("(", "!", "exists")) else f"({parts[0]})"


def path(key: str, field: str) -> str:
    """The path of a dotted field name, every part quoted."""
    if len(key) > PATH_MOST:
        raise invalid(f"A field name has up to {PATH_MOST} characters.", field[:60])
    parts = key.split(".")
    if not all(parts):
        raise invalid("A field name has no empty part between its dots.", field)
    return "$" + "".join(f".{quoted(part, field)}" for part in parts)


def quoted(text: str, field: str) -> str:
    """A text as a path's string literal: JSON's escapes are understood there."""
    if "\0" in text:
        raise invalid("Texts must not hold the character NUL.", field)
    return json.dumps(text, ensure_ascii=False)


def literal(value, field: str) -> str:
    """A scalar as a path's literal."""
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, str):
        return quoted(value, field)
    if isinstance(value, int) and abs(value) < 10**300:
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    if isinstance(value, int | float):
        raise invalid("The number is too large.", field)
    raise invalid("Values are texts, numbers, true, false or null; use $in for several.", field)


def compile(filter: dict, field: str = "filter") -> str:
    """The SQL/JSON path predicate of a filter; InvalidError names the part that is wrong."""
    return Compiler().group(filter, field, 1)


def indexed(filter: dict) -> bool:
    """Whether the GIN index narrows the rows: some equality must hold for every match."""
    for key, value in filter.items():
        if key == "$and":
            if any(indexed(part) for part in value):
                return True
        elif key == "$or":
            if all(indexed(part) for part in value):
                return True
        elif not key.startswith("$") and (not isinstance(value, dict) or "$eq" in value or "$in" in value):
            return True
    return False


def needs_of(filter: dict) -> needs.Needs | None:
    """What a filter that compiles needs of single fields."""
    found = []
    for key, value in filter.items():
        if key == "$and":
            found.append(needs.every_need(needs_of(part) for part in value))
        elif key == "$or":
            found.append(needs.some_need(needs_of(part) for part in value))
        elif not key.startswith("$"):
            asked = value if isinstance(value, dict) else {"$eq": value}
            for name, item in asked.items():
                if name == "$eq":
                    found.append(needs.one_of(key, [item]))
                elif name == "$in":
                    found.append(needs.one_of(key, item))
                elif name in ORDER:
                    found.append(needs.bounded(key, ORDER[name], item))
    return needs.every_need(found)
