"""Parquet: a point a row; the vector a list of floats, the metadata JSON text, a struct or a map.

Imported only where it is needed, because pyarrow is large: by the runner's lane of transfers, and by the
process that makes one export.
"""

import base64
import datetime
import decimal
from collections.abc import Iterator

import numpy
import orjson
import pyarrow
import pyarrow.compute
import pyarrow.parquet

from controlplane.errors import InvalidError
from vectors import bits, vectors
from vectors.jobs.work import FailedError
from vectors.points import ID_MOST, NAMESPACE_MOST
from vectors.transfer.chunks import CHUNK_BYTES, CHUNK_ROWS, Chunk, Row, problem_of
from vectors.transfer.sources import File

MEDIA_TYPE = "application/vnd.apache.parquet"
# In the file's own metadata: {"points": n, "checksum": "..."}.
MANIFEST = "aindusdb.export"
BUFFER_BYTES = 4 * 2**20
GROUP_ROWS = 20_000
GROUP_BYTES = 16 * 2**20
PARTS = ("id", "namespace", "vector", "content", "metadata")
TEXT = pyarrow.string()


class Reader:
    """Chunks of a Parquet source from a place `{group, row}` on."""

    def __init__(self, source, params: dict, collection):
        self.size = source.size
        self.namespace = params["namespace"]
        self.dimension, self.bits = collection.dimension, collection.bits
        try:
            self.file = pyarrow.parquet.ParquetFile(File(source), buffer_size=BUFFER_BYTES, pre_buffer=False)
        except pyarrow.ArrowException as error:
            raise FailedError(f"This is no Parquet file that can be read: {told(error)}.") from None
        self.rows_total = self.file.metadata.num_rows
        self.names = {part: params["columns"].get(part, part) for part in PARTS}
        self.columns(params)
        self.step = max(1, min(CHUNK_ROWS, CHUNK_BYTES // (self.dimension * 4)))

    def columns(self, params: dict) -> None:
        """Find which columns there are; FailedError when one that is needed, or was named, is missing."""
        there = self.file.schema_arrow.names
        for part, name in self.names.items():
            asked = name != part
            if name not in there and (asked or part in ("id", "vector")):
                raise FailedError(
                    f"There is no column {name!r}; there are {', '.join(map(repr, there[:30]))}. Say which is"
                    f' the {part}: "columns": {{"{part}": "..."}}.'
                )
        self.names = {part: name for part, name in self.names.items() if name in there}
        taken = set(self.names.values())
        self.others = [
            name for name in there if name not in taken and params.get("other_columns") == "metadata"
        ]
        plain = all(part == name for part, name in self.names.items()) and not self.others
        kept = (self.file.metadata.metadata or {}).get(MANIFEST.encode())
        self.manifest = {"after": None, "error": None} | orjson.loads(kept) if kept and plain else None

    def chunks(self, at: dict) -> Iterator[Chunk]:
        first, done = at.get("group", 0), at.get("line", 0)
        begin = sum(self.file.metadata.row_group(group).num_rows for group in range(first))
        for group in range(first, self.file.num_row_groups):
            for chunk in self.group(group, begin, done):
                done = chunk.at["line"]
                yield chunk
            begin += self.file.metadata.row_group(group).num_rows
        last = Chunk({"group": self.file.num_row_groups, "line": self.rows_total}, self.size)
        if at.get("group", 0) < self.file.num_row_groups or not self.rows_total:
            last.manifest = self.manifest
        yield last

    def group(self, group: int, begin: int, done: int) -> Iterator[Chunk]:
        """Chunks of a row group that begins after `begin` rows of the file, without the first `done`."""
        try:
            batches = self.file.iter_batches(
                batch_size=self.step, row_groups=[group], columns=[*self.names.values(), *self.others]
            )
            for batch in batches:
                end = begin + batch.num_rows
                if end > done:
                    share = end / max(self.rows_total, 1)
                    chunk = Chunk({"group": group, "line": end}, int(self.size * share))
                    fresh = max(done - begin, 0)
                    self.fill(chunk, batch.slice(fresh), begin + fresh + 1)
                    yield chunk
                begin = end
        except pyarrow.ArrowException as error:
            raise FailedError(f"Row group {group} of the file cannot be read: {told(error)}.") from None

    def fill(self, chunk: Chunk, batch: pyarrow.RecordBatch, first: int) -> None:
        """Put the rows of a batch, of which the first has the number `first`, into a chunk."""
        count = batch.num_rows
        values = {part: batch.column(name) for part, name in self.names.items()}
        ids, namespaces, contents = (
            texts(values[part], part) if part in values else [None] * count
            for part in ("id", "namespace", "content")
        )
        packed, faults = packed_of(values["vector"], self.dimension, self.bits)
        metadata = metadata_of(
            values.get("metadata"), {name: batch.column(name) for name in self.others}, count
        )
        for at in range(count):
            namespace = self.namespace if namespaces[at] is None else namespaces[at]
            fault = faults.get(at) or key_fault(ids[at], namespace)
            if fault is not None:
                chunk.wrong.append(problem_of(first + at, ids[at], fault))
            else:
                chunk.rows.append(Row(first + at, namespace, ids[at], packed[at], contents[at], metadata[at]))


def told(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")


def key_fault(point_id: str | None, namespace: str) -> InvalidError | None:
    if not point_id or len(point_id) > ID_MOST:
        return InvalidError(f"An id has 1 to {ID_MOST} characters.", field="id")
    if len(namespace) > NAMESPACE_MOST or "\0" in namespace:
        return InvalidError(
            f"A namespace has up to {NAMESPACE_MOST} characters, none NUL.", field="namespace"
        )
    return None


def texts(values: pyarrow.Array, part: str) -> list[str | None]:
    """A column as texts: of any type of text, numbers, or dictionaries of these."""
    try:
        return values.cast(TEXT).to_pylist()
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise FailedError(f"The column of the {part} is no text: {told(error)}.") from None


def packed_of(
    values: pyarrow.Array, dimension: int, bit: bool = False
) -> tuple[list[bytes], dict[int, InvalidError]]:
    """Vectors in PostgreSQL's binary form, and what is wrong with those that are not."""
    kind = values.type
    if not (
        pyarrow.types.is_fixed_size_list(kind)
        or pyarrow.types.is_list(kind)
        or pyarrow.types.is_large_list(kind)
    ) or not (pyarrow.types.is_floating(kind.value_type) or pyarrow.types.is_integer(kind.value_type)):
        raise FailedError(f"The column of the vector is of type {kind}: it must be a list of numbers.")
    numbers = values.flatten()
    if not values.null_count and not numbers.null_count and len(numbers) == len(values) * dimension:
        lengths = pyarrow.compute.list_value_length(values)
        if pyarrow.compute.all(pyarrow.compute.equal(lengths, dimension)).as_py() is not False:
            if not bit:
                return packed_rows(numbers, len(values), dimension), {}
            digits = numbers.to_numpy(zero_copy_only=False)
            if numpy.isin(digits, (0, 1)).all():
                return packed_bits(digits, len(values), dimension), {}
    packed, faults = [], {}
    for at, value in enumerate(values):
        try:
            if not value.is_valid or any(number is None for number in value.as_py()):
                raise InvalidError("A vector must not be or hold null.", code="required", field="vector")
            packed.append((bits if bit else vectors).pack(value.as_py(), dimension, "vector"))
        except InvalidError as error:
            packed.append(b"")
            faults[at] = error
    return packed, faults


def packed_rows(numbers: pyarrow.Array, count: int, dimension: int) -> list[bytes]:
    with numpy.errstate(over="ignore"):
        # What is too large for float32 becomes infinite, which is refused with its row when it is written.
        raw = numbers.to_numpy(zero_copy_only=False).astype(">f4").tobytes()
    head, size = vectors.header(dimension), dimension * 4
    return [head + raw[begin : begin + size] for begin in range(0, count * size, size)]


def packed_bits(digits, count: int, dimension: int) -> list[bytes]:
    head = bits.LENGTH(dimension)
    rows = numpy.packbits(digits.reshape(count, dimension).astype(bool), axis=1)
    return [head + row.tobytes() for row in rows]


def metadata_of(values: pyarrow.Array | None, others: dict[str, pyarrow.Array], count: int) -> list[bytes]:
    """The JSON of each row's metadata; null and what is null in a struct or another column is left out."""
    if values is None:
        made = [b""] * count
    elif pyarrow.types.is_struct(values.type) or pyarrow.types.is_map(values.type):
        made = [json_of(dict(value)) if value is not None else b"" for value in values.to_pylist()]
    else:
        made = [(text or "").encode() for text in texts(values, "metadata")]
    if not others:
        return made
    columns = {name: column.to_pylist() for name, column in others.items()}
    merged = []
    for at, raw in enumerate(made):
        try:
            before = orjson.loads(raw or b"{}")
        except orjson.JSONDecodeError:
            before = None
        if isinstance(before, dict):
            raw = json_of(before | {name: column[at] for name, column in columns.items()})
        # What is no object is refused with its row when it is written.
        merged.append(raw)
    return merged


def json_of(value: dict) -> bytes:
    return orjson.dumps({key: part for key, part in value.items() if part is not None}, default=plain)


def plain(value):
    """A value that JSON has no form for."""
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    return str(value)


class Writer:
    """Writes pages of stored points into a file that need not be seekable."""

    def __init__(self, file, dimension: int, bit: bool):
        self.dimension, self.bit = dimension, bit
        kind = pyarrow.uint8() if bit else pyarrow.float32()
        self.schema = pyarrow.schema(
            [
                pyarrow.field("id", TEXT, nullable=False),
                pyarrow.field("namespace", TEXT, nullable=False),
                pyarrow.field("vector", pyarrow.list_(kind, dimension), nullable=False),
                pyarrow.field("content", TEXT),
                pyarrow.field("metadata", TEXT, nullable=False),
            ]
        )
        self.writer = pyarrow.parquet.ParquetWriter(
            file,
            self.schema,
            compression=dict.fromkeys(("id", "namespace", "content", "metadata"), "zstd"),
            use_dictionary=["namespace"],
            write_statistics=["id", "namespace"],
        )
        self.rows: list[tuple] = []
        self.bytes = 0

    def write(self, page: list[tuple]) -> None:
        """Take a page; a row group is written when enough have come."""
        self.rows += page
        self.bytes += sum(sum(len(part or b"") for part in row) for row in page)
        if len(self.rows) >= GROUP_ROWS or self.bytes >= GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        if not self.rows:
            return
        namespaces, point_ids, packed, contents, metadata = zip(*self.rows, strict=True)
        raw = b"".join(part[4:] for part in packed)
        if self.bit:
            rows = numpy.frombuffer(raw, numpy.uint8).reshape(len(packed), bits.size(self.dimension))
            numbers = numpy.unpackbits(rows, axis=1, count=self.dimension).reshape(-1)
        else:
            numbers = numpy.frombuffer(raw, ">f4").astype("<f4")
        columns = [
            pyarrow.array(point_ids, pyarrow.binary()).cast(TEXT),
            pyarrow.array(namespaces, pyarrow.binary()).cast(TEXT),
            pyarrow.FixedSizeListArray.from_arrays(
                pyarrow.array(numbers), type=self.schema.field("vector").type
            ),
            pyarrow.array(contents, pyarrow.binary()).cast(TEXT),
            pyarrow.array(metadata, pyarrow.binary()).cast(TEXT),
        ]
        self.writer.write_table(pyarrow.table(columns, self.schema), row_group_size=len(self.rows))
        self.rows, self.bytes = [], 0

    def close(self, manifest: dict) -> None:
        """Write what is left, and of what the file consists."""
        self.flush()
        self.writer.add_key_value_metadata({MANIFEST: orjson.dumps(manifest).decode()})
        self.writer.close()
