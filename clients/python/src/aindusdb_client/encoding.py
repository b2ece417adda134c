"""Vectors and points as the wire takes them: base64 of little-endian float32, blocks, lines.

NumPy arrays are recognised by what they can do; NumPy itself is not imported.
"""

import base64
import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from aindusdb_client.models import Point

FLOAT32_BYTES = 4


@runtime_checkable
class Array(Protocol):
    """What is used of a NumPy array."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def astype(self, dtype: str) -> Any: ...

    def tobytes(self) -> bytes: ...


Vector = Sequence[float] | Array | bytes
PointLike = Point | Mapping[str, Any] | tuple[Any, ...]


def packed(vector: Vector) -> bytes:
    """A vector's bytes; ValueError for an array that is not one vector."""
    if isinstance(vector, bytes | bytearray | memoryview):
        return bytes(vector)
    if isinstance(vector, Array):
        if len(vector.shape) != 1:
            raise ValueError(f"A vector has one axis, this array {len(vector.shape)}.")
        return bytes(vector.astype("<f4").tobytes())
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def base64_of(vector: Vector) -> str:
    """A vector as `vector_b64` takes it."""
    return base64.b64encode(packed(vector)).decode("ascii")


def rows_of(vectors: Sequence[Vector] | Array) -> Iterator[bytes]:
    """Each row's bytes of a two-dimensional array, or of a sequence of vectors."""
    if isinstance(vectors, Array):
        if len(vectors.shape) != 2:
            raise ValueError(f"Vectors are an array of two axes, this one has {len(vectors.shape)}.")
        data = memoryview(vectors.astype("<f4").tobytes())
        size = vectors.shape[1] * FLOAT32_BYTES
        return (bytes(data[at : at + size]) for at in range(0, len(data), size)) if size else iter(())
    return (packed(vector) for vector in vectors)


def point_of(given: PointLike) -> Point:
    """A point of what stands for one: a Point, a mapping of its fields, or (id, vector[, metadata])."""
    if isinstance(given, Point):
        return given
    if isinstance(given, Mapping):
        known = {"id", "vector", "content", "metadata", "namespace", "score", "scores"}
        unknown = set(given) - known
        if unknown:
            raise ValueError(f"A point has no {', '.join(sorted(map(str, unknown)))}.")
        return Point(**given)
    if isinstance(given, tuple) and len(given) in (2, 3):
        return Point(given[0], given[1], metadata=given[2] if len(given) == 3 else None)
    raise TypeError(f"This is no point: {type(given).__name__}.")


@dataclass(slots=True)
class Batch:
    """Points that are sent together, as a block."""

    namespace: str = ""
    ids: list[str] = field(default_factory=list)
    vectors: list[bytes] = field(default_factory=list)
    contents: list[str | None] = field(default_factory=list)
    metadata: list[dict[str, Any] | None] = field(default_factory=list)
    size: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, point: Point, vector: bytes, size: int) -> None:
        """Put a point to the others."""
        self.ids.append(point.id)
        self.vectors.append(vector)
        self.contents.append(point.content)
        self.metadata.append(point.metadata)
        self.size += size

    def body(self) -> dict[str, Any]:
        """The body of the upsert."""
        found: dict[str, Any] = {
            "namespace": self.namespace,
            "ids": self.ids,
            "vectors_b64": base64.b64encode(b"".join(self.vectors)).decode("ascii"),
        }
        if any(content is not None for content in self.contents):
            found["contents"] = self.contents
        if any(self.metadata):
            found["metadata"] = [item or {} for item in self.metadata]
        return found


def batches(
    points: Iterable[PointLike], *, namespace: str, most_points: int, most_bytes: int
) -> Iterator[Batch]:
    """Points in the order given, together up to a number and a size, those of each namespace apart."""
    batch = Batch(namespace)
    for given in points:
        point = point_of(given)
        if point.vector is None:
            raise ValueError(f"The point {point.id!r} has no vector.")
        space = namespace if point.namespace is None else point.namespace
        vector = packed(point.vector)
        size = size_of(point, vector)
        full = len(batch) >= most_points or batch.size + size > most_bytes
        # In a block all vectors are of one length; the server shall say which is right.
        other = space != batch.namespace or len(vector) != len(batch.vectors[0]) if len(batch) else False
        if len(batch) and (full or other):
            yield batch
            batch = Batch()
        batch.namespace = space
        batch.add(point, vector, size)
    if len(batch):
        yield batch


def size_of(point: Point, vector: bytes) -> int:
    """About the bytes that a point takes in a body."""
    size = len(vector) * 4 // 3 + len(point.id) + 16
    if point.content is not None:
        size += len(point.content.encode("utf-8", "surrogatepass")) + 3
    if point.metadata:
        size += _json_bytes(point.metadata)
    return size


def _json_bytes(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass")) + 3
    if isinstance(value, Mapping):
        return 2 + sum(_json_bytes(key) + _json_bytes(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return 2 + sum(map(_json_bytes, value))
    return 24


def line_of(given: PointLike) -> dict[str, Any]:
    """A point as a line of a stream."""
    point = point_of(given)
    found: dict[str, Any] = {"id": point.id}
    if point.vector is not None:
        found["vector_b64"] = base64_of(point.vector)
    for name in ("content", "metadata", "namespace"):
        value = getattr(point, name)
        if value is not None:
            found[name] = value
    return found


def with_packed_vector(value: Mapping[str, Any]) -> dict[str, Any]:
    """A change or a query with its vector as the wire takes it."""
    found = dict(value)
    if found.get("vector") is not None:
        found["vector_b64"] = base64_of(found.pop("vector"))
    return found
