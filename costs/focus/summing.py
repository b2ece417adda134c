"""Sums of a batch of judged rows by what they have in common, exact to the last digit."""

from collections import defaultdict
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from costs.focus.columns import COSTS
from costs.focus.judging import PERIOD

DAY, RECORDS = "day", "records"
# Amounts of this many digits cannot overflow the sum of a batch.
_FITTING = r"^[+-]?[0-9]{1,12}(\.[0-9]{0,18})?([eE]-[0-9]{1,2})?$"
_EXACT = pa.decimal128(38, 18)


def summed(table: pa.Table, dimensions: tuple[str, ...]) -> pa.Table:
    """A row for each billing month, day of charge, and values of dimensions and tags; costs as text."""
    keys = {
        PERIOD: table.column(PERIOD),
        DAY: pc.utf8_slice_codeunits(table.column("ChargePeriodStart"), 0, 10),
    }
    for name in (*dimensions, "Tags"):
        keys[name] = table.column(name) if name in table.column_names else pa.nulls(len(table), pa.string())
    try:
        costs = {name: _exact(table.column(name)) for name in COSTS}
    except pa.ArrowInvalid:
        return _slowly(keys, table)
    found = pa.table(keys | costs).group_by(list(keys), use_threads=False)
    found = found.aggregate([*((name, "sum") for name in COSTS), ([], "count_all")])
    return pa.table(
        {name: found.column(name) for name in keys}
        | {name: found.column(f"{name}_sum").cast(pa.string()) for name in COSTS}
        | {RECORDS: found.column("count_all")}
    )


def _exact(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts as decimals; ArrowInvalid when some have more digits than fit."""
    if not pc.all(pc.match_substring_regex(texts, _FITTING)).as_py():
        raise pa.ArrowInvalid("too many digits")
    return texts.cast(_EXACT)


def _slowly(keys: dict, table: pa.Table) -> pa.Table:
    sums: dict = defaultdict(lambda: [Decimal(0)] * len(COSTS))
    counts: dict = defaultdict(int)
    columns = [column.to_pylist() for column in keys.values()]
    amounts = [[Decimal(value) for value in table.column(name).to_pylist()] for name in COSTS]
    for key, *values in zip(zip(*columns, strict=True), *amounts, strict=True):
        sums[key] = [known + value for known, value in zip(sums[key], values, strict=True)]
        counts[key] += 1
    made = {name: pa.array([key[place] for key in sums], pa.string()) for place, name in enumerate(keys)}
    for place, name in enumerate(COSTS):
        made[name] = pa.array([f"{values[place]:f}" for values in sums.values()], pa.string())
    return pa.table(made | {RECORDS: pa.array(list(counts.values()), pa.int64())})
