"""Batches of points: what callers send, as rows in the binary form of PostgreSQL's COPY."""

import struct

import orjson

from controlplane.errors import InvalidError
from vectors import bits, vectors
from vectors.kinds import METRICS
from vectors.points import METADATA_BYTES_MOST

COPY_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_TAIL = b"\xff\xff"
NULL = b"\xff\xff\xff\xff"
LENGTH = struct.Struct(">i").pack


class Batch:
    """Points in the making, as parallel lists. A vector is packed when its row is made, which is while the
    database reads the rows before it."""

    def __init__(self, *, ids, vectors, contents, metadata, places, dimension=0, form=vectors):
        self.ids: list[str] = ids
        # In binary, or as numbers of which there are as many as dimensions.
        self.vectors: list[bytes | list[float]] = vectors
        self.contents: list[str | None] = contents
        self.metadata: list[bytes] = metadata
        # How to name the parts of point n in an error: (vector, metadata, content, id).
        self.places = places
        self.dimension = dimension
        self.form = form

    def packed(self, at: int) -> bytes:
        """The vector of point n in binary; InvalidError."""
        vector = self.vectors[at]
        if type(vector) is bytes:
            return vector
        return self.form.pack(vector, self.dimension, self.places(at)["vector"])


def batch_from_points(points, dimension: int, form=vectors) -> Batch:
    """A batch of `{id, vector | vector_b64, content?, metadata?}`; `form`: vectors, or bits.

    A vector may be in binary already, see `vectors/gradual.py`.
    """
    found = []
    for at, point in enumerate(points):
        values = point.vector
        if (values is None) == (point.vector_b64 is None):
            raise InvalidError(
                "A point has vector or vector_b64, one of the two.",
                code="required",
                field=f"points[{at}].vector",
            )
        if values is None:
            values = form.pack_base64(point.vector_b64, dimension, f"points[{at}].vector_b64")
        elif type(values) is bytes:
            if len(values) != 4 + 4 * dimension:
                raise vectors.wrong_dimension(len(values) // 4 - 1, dimension, f"points[{at}].vector")
        elif len(values) != dimension:
            raise vectors.wrong_dimension(len(values), dimension, f"points[{at}].vector")
        found.append(values)
    return Batch(
        ids=[point.id for point in points],
        vectors=found,
        contents=[point.content for point in points],
        metadata=[bytes(point.metadata) for point in points],
        places=lambda at: {name: f"points[{at}].{name}" for name in ("vector", "metadata", "content", "id")},
        dimension=dimension,
        form=form,
    )


def batch_from_block(block, dimension: int, form=vectors) -> Batch:
    """A batch of `{ids, vectors_b64, contents?, metadata?}`; `form`: vectors, or bits."""
    count = len(block.ids)
    for name in ("contents", "metadata"):
        values = getattr(block, name)
        if values is not None and len(values) != count:
            raise InvalidError(
                f"There are {count} ids and {len(values)} {name}: send as many.",
                code="wrong_length",
                field=name,
            )
    return Batch(
        ids=block.ids,
        vectors=form.pack_block(block.vectors_b64, count, dimension, "vectors_b64"),
        contents=block.contents if block.contents is not None else [None] * count,
        metadata=[bytes(item) for item in block.metadata] if block.metadata is not None else [b""] * count,
        places=lambda at: {
            "vector": f"vectors_b64[{at}]",
            "metadata": f"metadata[{at}]",
            "content": f"contents[{at}]",
            "id": f"ids[{at}]",
        },
    )


def order(batch: Batch) -> list[int]:
    """Which points are written, by their ids' order: of equal ids the last."""
    last: dict[str, int] = {}
    for at, point_id in enumerate(batch.ids):
        if "\0" in point_id:
            raise InvalidError("An id must not hold the character NUL.", field=batch.places(at)["id"])
        last[point_id] = at
    return [last[point_id] for point_id in sorted(last)]


def row(batch: Batch, at: int, fields: int, more: bytes = b"") -> bytes:
    """Point n as a row of so many fields: id, embedding, content, metadata, and `more`; InvalidError."""
    key = batch.ids[at].encode()
    content = batch.contents[at]
    if content is None:
        text = NULL
    else:
        if "\0" in content:
            raise InvalidError("Content must not hold the character NUL.", field=batch.places(at)["content"])
        content = content.encode()
        text = LENGTH(len(content)) + content
    packed = batch.packed(at)
    metadata = batch.metadata[at]
    if metadata[:1] != b"{":
        metadata = _object_or_empty(metadata, batch.places(at)["metadata"])
    elif len(metadata) > METADATA_BYTES_MOST:
        raise InvalidError(
            f"Metadata of a point holds up to {METADATA_BYTES_MOST} bytes.",
            code="too_large",
            field=batch.places(at)["metadata"],
        )
    return b"".join(
        (
            *(fields.to_bytes(2, "big"), LENGTH(len(key)), key),
            *(LENGTH(len(packed)), packed, text),
            *(LENGTH(len(metadata) + 1), b"\1", metadata, more),
        )
    )


def _object_or_empty(raw: bytes, field: str) -> bytes:
    if not raw or raw == b"null":
        return b"{}"
    if raw[:1] != b"{":
        raise InvalidError('Metadata is an object, such as {"genre": "drama"}.', code="invalid", field=field)
    return raw


def check(batch: Batch) -> None:
    """InvalidError when a point cannot be made a row of."""
    for at in order(batch):
        row(batch, at, 4)


def fault(batch: Batch, chosen, metric: str, half: bool = False) -> InvalidError | None:
    """What the database would refuse of points of a batch: the first and its part; None when all is well."""
    form = bits if METRICS[metric].form == "bit" else vectors
    for at in chosen:
        places = batch.places(at)
        try:
            packed = batch.packed(at)
            form.check(packed, metric, places["vector"])
            if half:
                vectors.check_half(packed, places["vector"])
        except InvalidError as found:
            return found
        raw = batch.metadata[at]
        problem = ""
        if b"\\u0000" in raw:
            problem = "Texts in metadata must not hold the character NUL (\\u0000)."
        else:
            try:
                orjson.loads(raw or b"{}")
            except orjson.JSONDecodeError as wrong:
                problem = f"This metadata is not JSON that can be kept: {wrong}."
        if problem:
            return InvalidError(problem, code="invalid_metadata", field=places["metadata"])
    return None
