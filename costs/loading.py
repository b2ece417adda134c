"""Judged rows into the tables of their loads, by COPY."""

import io

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
from django.db import connection

from costs.focus.judging import PERIOD
from costs.records import load_name, quoted


def periods_of(table: pa.Table) -> list[str]:
    """The billing months of judged rows, as 2026-11-01."""
    return sorted(pc.unique(table.column(PERIOD)).to_pylist())


def copy_rows(table: pa.Table, load_ids: dict[str, int]) -> None:
    """Write judged rows, each to the load of its billing month; in the caller's transaction."""
    periods = periods_of(table)
    for period in periods:
        part = table if len(periods) == 1 else table.filter(pc.equal(table.column(PERIOD), period))
        copy_to(load_name(load_ids[period]), part, load_ids[period])


def copy_sums(sums: pa.Table, load_ids: dict[str, int]) -> None:
    """Write the sums of a batch, from which its loads' roll-ups are made; in the caller's transaction."""
    for period in periods_of(sums):
        part = sums.filter(pc.equal(sums.column(PERIOD), period)).drop_columns([PERIOD])
        copy_to("costs_partial", part, load_ids[period])


def copy_to(name: str, table: pa.Table, load_id: int) -> None:
    """Write judged rows to a table; columns without any value are left to their default, NULL."""
    table = table.select([one for one in table.column_names if table.column(one).null_count < len(table)])
    table = table.append_column("load_id", pa.array([load_id] * len(table), pa.int64()))
    with connection.cursor() as cursor:
        statement = f"COPY {name} ({quoted(table.column_names)}) FROM STDIN (FORMAT csv)"
        with cursor.copy(statement) as copy:
            for piece in as_csv(table):
                copy.write(piece)


def as_csv(table: pa.Table):
    """Rows as the CSV that COPY reads: text in quotes, null without."""
    for batch in table.to_batches(max_chunksize=8192):
        buffer = io.BytesIO()
        arrow_csv.write_csv(
            batch, buffer, arrow_csv.WriteOptions(include_header=False, quoting_style="needed")
        )
        yield buffer.getbuffer()


def counts_of(table: pa.Table) -> dict[str, int]:
    """How many judged rows each billing month has."""
    return {one["values"]: one["counts"] for one in pc.value_counts(table.column(PERIOD)).to_pylist()}
