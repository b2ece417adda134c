"""What a filter needs of single fields: conditions without which it cannot hold.

They follow from a filter but do not stand for it: `{"year": {"$gte": 2019}}` needs a year from 2019 on, or a
list. Declared fields make conditions of them that an index serves (`vectors/fields.py`).
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Need:
    """A field's value, or one in a list on its way, is one of `values`, or from `low` to `high` (both in it).

    `kind`: number, text (by code point), boolean, or moment (days of UTC as YYYY-MM-DD).
    """

    field: str
    kind: str
    low: object = None
    high: object = None
    values: tuple | None = None


@dataclass(frozen=True, slots=True)
class Every:
    """All parts are needed."""

    parts: tuple


@dataclass(frozen=True, slots=True)
class Some:
    """At least one of the parts is needed."""

    parts: tuple


Needs = Need | Every | Some


def kind_of(value) -> str | None:
    """The kind of a filter's value; None for null and what is no scalar."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else None


def one_of(field: str, values) -> Need | None:
    """The need of a field that equals one of the values; None when they are of several kinds."""
    kinds = {kind_of(value) for value in values}
    if len(kinds) != 1 or kinds == {None}:
        return None
    return Need(field, kinds.pop(), values=tuple(values))


def bounded(field: str, sign: str, value, kind: str | None = None) -> Need | None:
    """The need of a field that is > >= < or <= a value."""
    kind = kind or kind_of(value)
    if kind is None:
        return None
    return Need(field, kind, low=value) if sign[0] == ">" else Need(field, kind, high=value)


def every_need(parts) -> Needs | None:
    """All that are needed; ranges of one field become one."""
    found: list[Needs] = []
    ranges: dict[tuple[str, str], Need] = {}
    for part in parts:
        for one in part.parts if isinstance(part, Every) else (part,):
            if isinstance(one, Need) and one.values is None:
                key = (one.field, one.kind)
                ranges[key] = _met(ranges[key], one) if key in ranges else one
            elif one is not None:
                found.append(one)
    found += ranges.values()
    if not found:
        return None
    return found[0] if len(found) == 1 else Every(tuple(found))


def _met(a: Need, b: Need) -> Need:
    """The range of values that are in both."""
    lows = [need.low for need in (a, b) if need.low is not None]
    highs = [need.high for need in (a, b) if need.high is not None]
    return replace(a, low=max(lows, default=None), high=min(highs, default=None))


def some_need(parts) -> Needs | None:
    """One of the parts is needed; None, nothing at all, when that is all that one of them needs."""
    found = list(parts)
    if not found or any(part is None for part in found):
        return None
    return found[0] if len(found) == 1 else Some(tuple(found))
