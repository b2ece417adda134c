"""Rows of any version of FOCUS, judged and brought into the columns of 1.2.

Everything is done by column, as text: an amount passes from the file to PostgreSQL's numeric digit by digit.
Only values that repeat (times, currencies, tags) are read one by one, each once.
"""

import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

from costs.focus.columns import BY_NAME, COLUMNS, DECIMAL, EXTRA, JSON, RENAMED, TIME
from costs.focus.problems import Problem, UnreadableFileError

NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$"
CURRENCY = re.compile(r"[A-Z]{3}\Z")
# Columns that a file may leave out or empty, because another one tells it.
FILLED_FROM = {"PublisherName": "ProviderName", "InvoiceIssuerName": "ProviderName"}
PERIOD = "billing_period"
_FOLDED = {name.lower(): name for name in BY_NAME} | {old.lower(): new for old, new in RENAMED.items()}


class Mapping:
    """Which column of a file is which of FOCUS 1.2, and which are none; UnreadableFileError if some lack."""

    def __init__(self, names: list[str]):
        self.of: dict[str, str] = {}
        self.extra: list[str] = []
        exact = {name for name in names if name in BY_NAME}
        for name in names:
            column = name if name in BY_NAME else RENAMED.get(name) or _FOLDED.get(name.lower())
            if column and column not in self.of and (name == column or column not in exact):
                self.of[column] = name
            else:
                self.extra.append(name)
        missing = [
            column.name
            for column in COLUMNS
            if column.mandatory
            and not column.nullable
            and column.name not in self.of
            and column.name not in FILLED_FROM
        ]
        if missing:
            raise UnreadableFileError(
                f"The file lacks {', '.join(missing)}, which every version of FOCUS has."
                if len(missing) < 8
                else "This is no FOCUS file: it has next to none of the columns of one."
            )


class Judged:
    """Good rows in FOCUS columns, as text for COPY, with `billing_period`; what is wrong with the others."""

    def __init__(self, table: pa.Table, problems: list[Problem]):
        self.table, self.problems = table, problems


def judge(table: pa.Table, mapping: Mapping, line_of: Callable[[int], int]) -> Judged:
    """Judge rows; `line_of` is asked for the lines of broken ones only."""
    found: list[Problem] = []
    bad: set[int] = set()

    def wrong(rows, column: str, reason: str, values=None):
        for row in rows:
            bad.add(row)
            value = values[row].as_py() if values is not None else None
            shown = "" if value is None else str(value)
            found.append(Problem(line_of(row), column, reason.format(shown[:100]), shown))

    arrays = {column: _plain(table.column(name)) for column, name in mapping.of.items()}
    for column, other in FILLED_FROM.items():
        filler = _text(arrays[other])
        mine = arrays.get(column)
        arrays[column] = filler if mine is None else pc.coalesce(_text(mine), filler)
    made: dict[str, pa.Array] = {}
    for column in COLUMNS:
        array = arrays.get(column.name)
        if array is None:
            continue
        if column.type == TIME:
            made[column.name] = _times(array, column.name, wrong)
        elif column.type == JSON:
            made[column.name] = _objects(array, column.name, wrong)
        elif column.type == DECIMAL:
            made[column.name] = _numbers(array, column.name, wrong)
        else:
            made[column.name] = _texts(array, column, wrong)
        if not column.nullable and column.mandatory and made[column.name].null_count:
            empty = pc.indices_nonzero(made[column.name].is_null()).to_pylist()
            told = {problem.column for problem in found}
            lines = {(problem.line, problem.column) for problem in found} if column.name in told else set()
            empty = [row for row in empty if not lines or (line_of(row), column.name) not in lines]
            wrong(empty, column.name, "is empty, which it may not be")
    _currencies(made["BillingCurrency"], wrong)
    extra = _extra(table, mapping.extra)
    if extra is not None:
        made[EXTRA] = extra
    made[PERIOD] = _months(made["BillingPeriodStart"])
    good = pa.table(made)
    if bad:
        good = good.filter(pa.array([row not in bad for row in range(good.num_rows)]))
    return Judged(good, sorted(found, key=lambda problem: (problem.line, problem.column)))


def _plain(column: pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks else pa.array([], array.type)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    return array


def _text(array: pa.Array) -> pa.Array:
    """An array of scalars as text; empty text and NULL as null."""
    if pa.types.is_nested(array.type):
        return pa.array(
            [None if one is None else json.dumps(one, default=str) for one in array.to_pylist()], pa.string()
        )
    if not pa.types.is_string(array.type):
        if pa.types.is_boolean(array.type):
            array = array.cast(pa.string())
        array = array.cast(pa.string())
    empty = pc.is_in(array, value_set=pa.array(["", "NULL"]), skip_nulls=True)
    return pc.if_else(empty, pa.scalar(None, pa.string()), array) if pc.any(empty).as_py() else array


def _texts(array: pa.Array, column, wrong) -> pa.Array:
    texts = _text(array)
    holding = pc.match_substring(texts, "\0")
    if pc.any(holding).as_py():
        wrong(pc.indices_nonzero(holding).to_pylist(), column.name, "holds a NUL character")
    if column.allowed:
        outside = pc.and_(pc.is_valid(texts), pc.invert(pc.is_in(texts, value_set=pa.array(column.allowed))))
        if pc.any(outside).as_py():
            told = ", ".join(column.allowed)
            wrong(
                pc.indices_nonzero(outside).to_pylist(),
                column.name,
                "'{}' is not one of " + told.replace("{", "{{").replace("}", "}}"),
                texts,
            )
    return texts


def _numbers(array: pa.Array, name: str, wrong) -> pa.Array:
    exact = pa.types.is_integer(array.type) or pa.types.is_decimal(array.type)
    texts = _text(array)
    if exact:
        return texts
    matches = pc.match_substring_regex(texts, NUMBER)
    if not pc.all(matches, skip_nulls=True).as_py():
        trimmed = pc.utf8_trim_whitespace(texts)
        matches = pc.match_substring_regex(trimmed, NUMBER)
        rows = pc.indices_nonzero(pc.invert(matches)).to_pylist()
        wrong(rows, name, "'{}' is not a number", texts)
        texts = trimmed
    return texts


def _times(array: pa.Array, name: str, wrong) -> pa.Array:
    if pa.types.is_timestamp(array.type) or pa.types.is_date(array.type):
        coded = array.dictionary_encode()
    else:
        coded = _text(array).dictionary_encode()
    texts: list[str | None] = []
    broken: dict[int, str] = {}
    for place, value in enumerate(coded.dictionary.to_pylist()):
        text = _time_text(value)
        texts.append(text)
        if text is None:
            broken[place] = str(value)
    if broken:
        places = pc.is_in(coded.indices, value_set=pa.array(list(broken), coded.indices.type))
        rows = pc.indices_nonzero(places).to_pylist()
        values = pa.array(coded.dictionary.cast(pa.string())).take(coded.indices)
        wrong(rows, name, "'{}' is not a time, such as 2026-11-01T00:00:00Z", values)
    return pa.array(texts, pa.string()).take(coded.indices)


@lru_cache(maxsize=20_000)
def _time_text(value) -> str | None:
    """A time as PostgreSQL reads it, in UTC; None for what is no time."""
    at = _time(value)
    return at and at.isoformat(" ")


def _time(value) -> datetime | None:
    if isinstance(value, datetime):
        at = value
    elif isinstance(value, date):
        at = datetime(value.year, value.month, value.day)
    else:
        text = str(value).strip()
        if text.endswith(" UTC"):
            text = text[:-4] + "Z"
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            return None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    return at if 1970 <= at.year < 3000 else None


def _objects(array: pa.Array, name: str, wrong) -> pa.Array:
    if pa.types.is_nested(array.type):
        values = array.to_pylist()
        return pa.array([None if one is None else _dumped(_pairs(one)) for one in values], pa.string())
    coded = _text(array).dictionary_encode()
    texts: list[str | None] = []
    broken = []
    for place, value in enumerate(coded.dictionary.to_pylist()):
        found = _object(value)
        texts.append(None if found is None else _dumped(found))
        if found is None:
            broken.append(place)
    if broken:
        places = pc.is_in(coded.indices, value_set=pa.array(broken, coded.indices.type))
        wrong(
            pc.indices_nonzero(places).to_pylist(),
            name,
            "'{}' is not a JSON object",
            coded.dictionary.take(coded.indices),
        )
    return pa.array(texts, pa.string()).take(coded.indices)


def _object(text: str) -> dict | None:
    for candidate in (text, "{" + text + "}"):
        try:
            found = json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, list):
            try:
                found = _pairs(found)
            except (TypeError, KeyError, ValueError):
                return None
        return found if isinstance(found, dict) and "\\u0000" not in json.dumps(found) else None
    return None


def _pairs(value) -> dict:
    """A map as an object: pairs, or structs of key and value, are how Parquet and BigQuery hold one."""
    if isinstance(value, dict):
        return value
    found = {}
    for one in value:
        key, held = (one["key"], one["value"]) if isinstance(one, dict) else one
        found[str(key)] = held
    return found


def _dumped(value: dict) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _currencies(array: pa.Array, wrong) -> None:
    strange = [one for one in pc.unique(array).to_pylist() if one is not None and not CURRENCY.match(one)]
    if strange:
        rows = pc.indices_nonzero(pc.is_in(array, value_set=pa.array(strange))).to_pylist()
        wrong(rows, "BillingCurrency", "'{}' is not an ISO 4217 code", array)


def _months(starts: pa.Array) -> pa.Array:
    """The first day of each billing period's month, as text."""
    return pc.binary_join_element_wise(pc.utf8_slice_codeunits(starts, 0, 8), "01", "")


def _extra(table: pa.Table, names: list[str]) -> pa.Array | None:
    """What no version of FOCUS knows, as a JSON object a row; null where a row has none of it."""
    if not names:
        return None
    parts = []
    for name in names:
        array = _plain(table.column(name))
        if pa.types.is_nested(array.type):
            parts.append((name, _text(array)))
            continue
        number = pa.types.is_integer(array.type) or pa.types.is_floating(array.type)
        texts = _text(array)
        parts.append((name, texts if number and not _odd(texts) else _json_strings(texts)))
    fields = [
        pc.binary_join_element_wise(pa.scalar(json.dumps(name, ensure_ascii=False)), texts, ":")
        for name, texts in parts
        if texts.null_count < len(texts)
    ]
    if not fields:
        return None
    inner = pc.binary_join_element_wise(*fields, ",", null_handling="skip")
    nothing = pc.equal(inner, "")
    objects = pc.binary_join_element_wise("{", inner, "}", "")
    return pc.if_else(nothing, pa.scalar(None, pa.string()), objects)


def _odd(texts: pa.Array) -> bool:
    return not pc.all(pc.match_substring_regex(texts, NUMBER), skip_nulls=True).as_py()


def _json_strings(texts: pa.Array) -> pa.Array:
    """Texts as JSON strings."""
    if pc.any(pc.match_substring_regex(texts, r"[\x00-\x1f]")).as_py():
        values = texts.to_pylist()
        return pa.array(
            [None if one is None else json.dumps(one.replace("\0", "\ufffd")) for one in values], pa.string()
        )
    escaped = pc.replace_substring(pc.replace_substring(texts, "\\", "\\\\"), '"', '\\"')
    return pc.binary_join_element_wise('"', escaped, '"', "")
