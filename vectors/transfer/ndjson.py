"""NDJSON: a point a line, `{id, namespace?, vector | vector_b64, content?, metadata?}`.

An export ends with a line `{"export": {"points": n, "checksum": "..."}}`, by which an import knows that it
has read all of it. Files may be put together: each such line speaks of what came since the one before.
"""

import base64
from collections.abc import Iterator

import msgspec
import orjson

from controlplane.errors import InvalidError, ProblemError
from vectors import batches, bodies, vectors
from vectors.streams import LINE_BYTES_MOST, Line, lines_of
from vectors.transfer.chunks import CHUNK_BYTES, CHUNK_ROWS, Chunk, Row, problem_of

MEDIA_TYPE = "application/x-ndjson"
MANIFEST = b'{"export":'
BOM = b"\xef\xbb\xbf"


class Manifest(msgspec.Struct, kw_only=True):
    """What an export says of itself; `after` when it went on from there, `error` when it broke off."""

    points: int = 0
    checksum: str | None = None
    after: list[str] | None = None
    error: dict | None = None


class ManifestLine(msgspec.Struct):
    export: Manifest


class Reader:
    """Chunks of an NDJSON source from a place `{line, offset}` on."""

    rows_total = None

    def __init__(self, source, params: dict, collection):
        self.source = source
        self.namespace = params["namespace"]
        self.dimension, self.form = collection.dimension, collection.form

    def chunks(self, at: dict) -> Iterator[Chunk]:
        before, begin = at.get("line", 0), at.get("offset", 0)
        items: list[tuple[int, bytes | None]] = []
        size, number, last = 0, before, begin
        for number, (raw, end) in enumerate(lines_of(self.source.reader(begin)), before + 1):
            manifest = None
            if number == 1 and raw is not None:
                raw = raw.removeprefix(BOM)
            if raw is not None and raw.startswith(MANIFEST):
                manifest = raw
            elif raw is None or raw.strip():
                items.append((number, raw))
                size += len(raw or b"")
            last = begin + end
            if len(items) >= CHUNK_ROWS or size >= CHUNK_BYTES or manifest is not None:
                yield self.chunk(items, number, last, manifest)
                items, size = [], 0
        yield self.chunk(items, number, last, None)

    def chunk(self, items, number: int, offset: int, manifest: bytes | None) -> Chunk:
        made = Chunk({"line": number, "offset": offset}, offset)
        found: list[tuple[int, Line]] = []
        for line, raw in items:
            try:
                if raw is None:
                    raise InvalidError(f"A line has up to {LINE_BYTES_MOST} bytes.", code="too_large")
                point = bodies.decode(Line, raw)
                if "\0" in (point.namespace or ""):
                    raise InvalidError("Texts must not hold the character NUL.", field="namespace")
                found.append((line, point))
            except ProblemError as error:
                made.wrong.append(problem_of(line, None, error))
        try:
            self.add(made, found)
        except InvalidError:
            made.rows = []
            for item in found:
                try:
                    self.add(made, [item])
                except InvalidError as error:
                    made.wrong.append(problem_of(item[0], item[1].id, error))
        if manifest is not None:
            try:
                made.manifest = msgspec.to_builtins(bodies.decode(ManifestLine, manifest).export)
            except ProblemError as error:
                made.wrong.append(problem_of(number, None, error))
        return made

    def add(self, made: Chunk, found: list[tuple[int, Line]]) -> None:
        """Rows of lines, all or, with an InvalidError, none."""
        batch = batches.batch_from_points([point for _, point in found], self.dimension, self.form)
        rows = [
            Row(
                line,
                self.namespace if point.namespace is None else point.namespace,
                *(point.id, batch.packed(at), point.content, batch.metadata[at]),
            )
            for at, (line, point) in enumerate(found)
        ]
        made.rows += rows


def line_of(row: tuple, how: str, form=vectors) -> bytes:
    """The line of a stored point (namespace, id, vector in binary, content, metadata, all as bytes).

    `how` is b64 (little-endian float32, or packed bits, in base64), list, or none; `form`: vectors, or bits.
    """
    namespace, point_id, packed, content, metadata = row
    point = {"id": point_id.decode(), "namespace": namespace.decode()}
    if how == "b64":
        point["vector_b64"] = base64.b64encode(form.wire(packed)).decode()
    elif how == "list":
        point["vector"] = form.unpack(packed)
    if content is not None:
        point["content"] = content.decode()
    point["metadata"] = orjson.Fragment(metadata)
    return orjson.dumps(point, option=orjson.OPT_APPEND_NEWLINE)


def manifest_line(**manifest) -> bytes:
    """The last line of an export."""
    return orjson.dumps({"export": manifest}, option=orjson.OPT_APPEND_NEWLINE)
