"""Reports and records as files: CSV, Parquet, and FOCUS 1.2."""

import csv
import io
from collections.abc import Iterator
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal

from django.db import connection

from costs.focus.columns import COLUMNS, DECIMAL, EXTRA, JSON, TIME
from costs.models import CostLoad
from costs.records import load_name
from costs.reports import Query, Row

# Of one chunk of an export: pages of a load's table.
PAGES = 1024
# Parquet's decimals have a fixed scale: beyond it digits are rounded.
PARQUET_PLACES = 18
HEADER = [*(column.name for column in COLUMNS), EXTRA]


def report_file(query: Query, rows: list[Row], format: str) -> bytes:
    """A report as a file: its groups, its day, currency, amount and records."""
    head = [*query.group, *(["day"] if query.step else []), "currency", "amount", "records"]
    table = [
        [
            *row.keys.values(),
            *([row.day] if query.step else []),
            row.currency,
            row.amount,
            row.records,
        ]
        for row in rows
    ]
    if format == "csv":
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(head)
        writer.writerows([_plain(value) for value in line] for line in table)
        return text.getvalue().encode()
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"day": pa.date32(), "amount": pa.decimal128(38, PARQUET_PLACES), "records": pa.int64()}
    arrays = []
    for place, name in enumerate(head):
        values = [_fixed(line[place]) if name == "amount" else line[place] for line in table]
        arrays.append(pa.array(values, types.get(name, pa.string())))
    sink = io.BytesIO()
    pq.write_table(pa.table(arrays, names=head), sink)
    return sink.getvalue()


def _plain(value):
    """A cell: amounts digit by digit, and no text that a spreadsheet would take for a formula."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t"):
        return f"'{value}"
    return value


def _fixed(value: Decimal | None) -> Decimal | None:
    return value and value.quantize(Decimal(1).scaleb(-PARQUET_PLACES), ROUND_HALF_EVEN)


def focus_chunks(project, since: date, until: date, format: str) -> Iterator[bytes]:
    """Records of billing months from `since` to before `until` as a FOCUS 1.2 file, chunk by chunk.

    Each chunk is read by itself, so that a slow reader holds neither memory nor a connection.
    """
    loads = list(
        CostLoad.objects.filter(
            source__project=project, live=True, billing_period__gte=since, billing_period__lt=until
        )
        .order_by("billing_period", "pk")
        .values_list("pk", flat=True)
    )
    if format == "csv":
        yield (",".join(HEADER) + "\n").encode()
        for load in loads:
            yield from _pieces(load, _csv_piece)
        return
    yield from _parquet(loads)


def _pieces(load: int, read) -> Iterator:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_relation_size(to_regclass(%s)) / 8192", [load_name(load)])
        pages = cursor.fetchone()[0] or 0
    for first in range(0, pages, PAGES):
        piece = read(load, first)
        if piece:
            yield piece


def _selected(load: int, first: int) -> str:
    """The records of some pages of a load, times as FOCUS writes them."""
    columns = []
    for column in COLUMNS:
        sql = f'"{column.name}"'
        if column.type == TIME:
            sql = f"to_char({sql} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
        columns.append(f'{sql} AS "{column.name}"')
    return (
        f'SELECT {", ".join(columns)}, "{EXTRA}" FROM {load_name(load)}'
        f" WHERE ctid >= '({first},0)' AND ctid < '({first + PAGES},0)'"
    )


def _csv_piece(load: int, first: int) -> bytes:
    with connection.cursor() as cursor, cursor.copy(f"COPY ({_selected(load, first)}) TO STDOUT CSV") as copy:
        return b"".join(bytes(part) for part in copy)


def _parquet(loads: list[int]) -> Iterator[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    of = {DECIMAL: pa.decimal128(38, PARQUET_PLACES), TIME: pa.timestamp("us", "UTC")}
    schema = pa.schema([(column.name, of.get(column.type, pa.string())) for column in COLUMNS])
    schema = schema.append(pa.field(EXTRA, pa.string()))

    def read(load: int, first: int):
        names = [f'"{column.name}"' + ("::text" if column.type == JSON else "") for column in COLUMNS]
        with connection.cursor() as cursor:
            cursor.execute(
                f'SELECT {", ".join(names)}, "{EXTRA}"::text FROM {load_name(load)}'
                f" WHERE ctid >= '({first},0)' AND ctid < '({first + PAGES},0)'"
            )
            rows = cursor.fetchall()
        if not rows:
            return None
        arrays = []
        for place, column in enumerate(schema):
            values = [row[place] for row in rows]
            if pa.types.is_decimal(column.type):
                values = [_fixed(value) for value in values]
            arrays.append(pa.array(values, column.type))
        return pa.table(arrays, schema=schema)

    sink = _Sink()
    with pq.ParquetWriter(pa.PythonFile(sink, mode="w"), schema) as writer:
        for load in loads:
            for table in _pieces(load, read):
                writer.write_table(table)
                yield sink.taken()
    yield sink.taken()


class _Sink(io.RawIOBase):
    """What was written since somebody took it; its place counts all that ever was."""

    def __init__(self):
        self._parts: list[bytes] = []
        self._place = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def write(self, data) -> int:
        self._parts.append(bytes(data))
        self._place += len(data)
        return len(data)

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)
