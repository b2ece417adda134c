"""Qdrant's filters, compiled to clauses: paths of the same kind as this API's own filters compile to.

Meaning, as the vendor's: `must` all, `should` at least one when there are any, `must_not` none. A condition
on a key holds when one of its values does, so a list matches by its elements. `match.except` wants a value
that is there and none of those listed. `is_empty` holds for a key that is missing, null or an empty list;
`is_null` for a null that is there. `nested` wants one element that meets the whole filter.
"""

import datetime
import re
import uuid
from dataclasses import replace

from controlplane.errors import InvalidError
from vectors import clauses, filters, needs
from vectors.clauses import Clause, Ids, Path
from vectors.compat.dialects import NotServedError
from vectors.filters import DEPTH_MOST, Compiler, invalid, join, literal, quoted

RANGE = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
SERVED = "match (value, any, except), range, is_empty, is_null, nested, has_id, must, should and must_not"
# A key's parts: a quoted name or a plain one, then [] or [n] any number of times.
PART = re.compile(r'(?:"([^"]+)"|([^."\[\]]+))((?:\[\d*\])*)(?:\.|\Z)')
UINT = re.compile(r"(?:0|[1-9][0-9]{0,19})\Z")


def id_text(given, field: str) -> str:
    """The text that an id is stored as: an unsigned integer's digits, a UUID in its usual form."""
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < 2**64:
        return str(given)
    if isinstance(given, str):
        try:
            return str(uuid.UUID(given))
        except ValueError:
            pass
    raise invalid_id(given, field)


def invalid_id(given, field: str) -> InvalidError:
    return InvalidError(
        f"{str(given)[:60]!r} is no point id: ids are unsigned integers or UUIDs.",
        code="invalid_id",
        field=field,
    )


def id_given(given, field: str) -> str:
    """The text of an id that is asked for: as stored, or any text that another client stored."""
    if isinstance(given, str) and "\0" not in given:
        try:
            return str(uuid.UUID(given))
        except ValueError:
            return given
    return id_text(given, field)


def id_value(text: str) -> int | str:
    """The id in its original type."""
    return int(text) if UINT.match(text) and int(text) < 2**64 else text


def path(key: str, root: str, field: str) -> str:
    """The path of a key such as `country.cities[].name`, from the root `$` or `@`."""
    if not isinstance(key, str) or not key or len(key) > filters.PATH_MOST:
        raise invalid(f"A key has 1 to {filters.PATH_MOST} characters.", field)
    made, at = root, 0
    while at < len(key):
        part = PART.match(key, at)
        if part is None or (part.end() == len(key) and key.endswith(".")):
            raise invalid(f"This is no key: {key[:60]!r}.", field)
        made += f".{quoted(part[1] or part[2], field)}{part[3].replace('[]', '[*]')}"
        at = part.end()
    return made


class QdrantCompiler(Compiler):
    """Compiles one filter of Qdrant's; the limits are those of this API's filters."""

    def filter(self, given, field: str, root: str = "$", depth: int = 1) -> Clause | None:
        """The clause of a filter object; None when it asks nothing."""
        if depth > DEPTH_MOST:
            raise invalid(f"A filter nests up to {DEPTH_MOST} deep.", field)
        if not isinstance(given, dict):
            raise invalid("A filter is an object of must, should and must_not.", field)
        unknown = [key for key in given if key not in ("must", "should", "must_not")]
        if unknown and given[unknown[0]] is not None:
            raise NotServedError(
                f"{unknown[0][:40]!r} is not served in a filter; there are {SERVED}.", field=field
            )
        wanted = self.listed(given, "must", field, root, depth)
        possible = self.listed(given, "should", field, root, depth)
        if possible:
            wanted.append(clauses.some(possible))
        refused = self.listed(given, "must_not", field, root, depth)
        if refused:
            wanted.append(clauses.negated(clauses.some(refused)))
        return clauses.every(wanted)

    def listed(self, given: dict, name: str, field: str, root: str, depth: int) -> list[Clause | None]:
        """The conditions of one list; a condition alone stands for a list of one."""
        found = given.get(name)
        if found is None:
            return []
        many = found if isinstance(found, list) else [found]
        return [
            self.one(condition, f"{field}.{name}[{at}]", root, depth) for at, condition in enumerate(many)
        ]

    def one(self, given, field: str, root: str, depth: int) -> Clause | None:
        """The clause of one condition of any kind."""
        if not isinstance(given, dict):
            raise invalid("A condition is an object.", field)
        self.count(field, 0)
        if "has_id" in given:
            ids = given["has_id"]
            if not isinstance(ids, list) or root != "$":
                raise invalid("has_id takes a list of ids, and stands outside of nested.", field)
            self.count(field, len(ids))
            return Ids(tuple(id_given(item, f"{field}.has_id") for item in ids))
        if "nested" in given:
            nested = given["nested"]
            if not isinstance(nested, dict) or set(nested) != {"key", "filter"}:
                raise invalid("nested takes a key and a filter.", f"{field}.nested")
            where = path(nested["key"].removesuffix("[]"), root, f"{field}.nested.key") + "[*]"
            inner = self.filter(nested["filter"], f"{field}.nested.filter", "@", depth + 1)
            if inner is None:
                return Path(f"exists({where})")
            met = flattened(inner)
            return Path(f"exists({where} ? ({met.text}))", False, met.zoned)
        for name in ("is_empty", "is_null"):
            if isinstance(given.get(name), dict):
                where = path(given[name].get("key"), root, f"{field}.{name}.key")
                return Path(empty(where) if name == "is_empty" else null(where))
        if "key" in given:
            return self.field(given, field, root)
        if given.keys() & {"must", "should", "must_not"} or not given:
            return self.filter(given, field, root, depth + 1)
        raise NotServedError(
            f"{next(iter(given))[:40]!r} is not served in a filter; there are {SERVED}.", field=field
        )

    def field(self, given: dict, field: str, root: str) -> Clause:
        """All that is asked of one key."""
        where = path(given["key"], root, f"{field}.key")
        # Only a plain key is a field that can be declared, and only of the point, not of a nested element.
        plain = given["key"] if root == "$" and not set(given["key"]) & set('[]"') else None
        parts: list[Clause] = []
        for name, value in given.items():
            if name == "key" or value is None:
                continue
            place = f"{field}.{name}"
            if name == "match":
                parts.append(needing(self.match(where, value, place), plain, matched(value)))
            elif name == "range":
                parts.append(needing(self.range(where, value, place), plain, ranged(value)))
            elif name in ("is_empty", "is_null") and isinstance(value, bool):
                text = empty(where) if name == "is_empty" else null(where)
                parts.append(Path(text if value else f"!({text})"))
            else:
                raise NotServedError(
                    f"{name[:40]!r} is not served in a filter; there are {SERVED}.", field=place
                )
        if not parts:
            raise invalid("A condition on a key has a match or a range.", field)
        return clauses.every(parts)

    def match(self, where: str, value, field: str) -> Path:
        if not isinstance(value, dict) or len(value) != 1:
            raise invalid("match takes one of value, any and except.", field)
        (name, wanted), *_ = value.items()
        if name == "value":
            self.count(field)
            return Path(f"exists({where} ? (@ == {literal(wanted, field)}))", True)
        if name not in ("any", "except"):
            raise NotServedError(
                f"match.{name[:40]} is not served; there are match.value, match.any and match.except.",
                field=field,
            )
        if not isinstance(wanted, list):
            raise invalid(f"{name} takes a list of values.", field)
        self.count(field, len(wanted))
        tests = [f"@ == {literal(item, f'{field}[{at}]')}" for at, item in enumerate(wanted)]
        if name == "any":
            return Path(f"exists({where} ? {join('||', tests)})", True) if tests else Path("(1 == 0)", True)
        inner = f"!(exists(@ ? {join('||', tests)})) && " if tests else ""
        return Path(f"exists({where} ? ({inner}@ != null))")

    def range(self, where: str, value, field: str) -> Path:
        if not isinstance(value, dict):
            raise invalid("range takes gt, gte, lt and lte.", field)
        tests, zoned = [], False
        for name, limit in value.items():
            if name not in RANGE:
                raise invalid("range takes gt, gte, lt and lte.", f"{field}.{name[:40]}")
            if limit is None:
                continue
            self.count(f"{field}.{name}")
            if isinstance(limit, str):
                zoned = True
                tests.append(f"@.datetime() {RANGE[name]} {moment(limit, f'{field}.{name}')}.datetime()")
            elif isinstance(limit, bool) or not isinstance(limit, int | float):
                raise invalid("A range is of numbers, or of times in RFC 3339.", f"{field}.{name}")
            else:
                tests.append(f"@ {RANGE[name]} {literal(limit, f'{field}.{name}')}")
        if not tests:
            return Path(f"exists({where})")
        return Path(f"exists({where} ? {join('&&', tests)})", False, zoned)


def needing(path: Path, name: str | None, needed) -> Path:
    """The path with needed(name), what it needs of the field, when it is a field."""
    return path if name is None else replace(path, needs=needed(name))


def matched(value: dict):
    """What a match that compiles needs of a field."""
    if "value" in value:
        return lambda name: needs.one_of(name, [value["value"]])
    return lambda name: needs.one_of(name, value["any"]) if "any" in value else None


def ranged(value: dict):
    """What a range that compiles needs of a field."""
    limits = {sign: limit for sign, limit in value.items() if limit is not None}

    def needed(name: str) -> needs.Needs | None:
        found = []
        for sign, limit in limits.items():
            if isinstance(limit, str):
                day = instant(limit, name).date().isoformat()
                found.append(needs.bounded(name, RANGE[sign], day, "moment"))
            else:
                found.append(needs.bounded(name, RANGE[sign], limit))
        return needs.every_need(found)

    return needed


def flattened(clause: Clause) -> Path:
    """One path for a clause without ids, as inside of nested."""
    if isinstance(clause, Path):
        return clause
    if isinstance(clause, clauses.Negated):
        part = flattened(clause.part)
        return Path(f"!({part.text})", False, True)
    parts = [flattened(part) for part in clause.parts]
    sign = "&&" if clause.operator == "AND" else "||"
    return Path(join(sign, [part.text for part in parts]), False, any(part.zoned for part in parts))


def moment(text: str, field: str) -> str:
    """A time as a path's literal, in UTC; InvalidError."""
    return quoted(instant(text, field).isoformat(), field)


def instant(text: str, field: str) -> datetime.datetime:
    """A time in UTC; InvalidError."""
    try:
        parsed = datetime.datetime.fromisoformat(text)
        if parsed.tzinfo is None:
            parsed = parsed.replace(tzinfo=datetime.UTC)
        return parsed.astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        raise invalid("A range is of numbers, or of times in RFC 3339.", field) from None


def empty(where: str) -> str:
    # size() of what is no list is 1.
    return f'!(({where}.type() != "null") && ({where}.size() > 0))'


def null(where: str) -> str:
    return f"exists({where} ? (@ == null))"


def compile(given: dict | None, field: str = "filter") -> Clause | None:
    """The clause of a filter; None when there is none or it asks nothing."""
    return None if given is None else QdrantCompiler().filter(given, field)
