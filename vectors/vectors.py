"""Vectors as PostgreSQL's binary form of pgvector's `vector`, and back.

The form: dimension (int16), 0 (int16), then that many float32, all big endian.
"""

import binascii
import math
import struct
import sys
from array import array

import pybase64

from controlplane.errors import InvalidError

# Squares, and squares of differences, of vectors within these bounds stay within float32.
NORM_LEAST = 1e-18
NORM_MOST = 1e18
# What a batch is staged as, and a vector's form as JSON.
STAGED = "vector"
SHOWN = "embedding::text"
DIMENSION_MOST = 16_000
# From here on a number rounds to more than half precision holds.
HALF_MOST = 65_520.0

_packers: dict[int, struct.Struct] = {}
_bare: dict[int, tuple[struct.Struct, bytes]] = {}


def packer(dimension: int) -> struct.Struct:
    """The struct of a vector of this dimension."""
    found = _packers.get(dimension)
    if found is None:
        found = _packers[dimension] = struct.Struct(f">HH{dimension}f")
    return found


def header(dimension: int) -> bytes:
    """The four bytes before the float32."""
    return struct.pack(">HH", dimension, 0)


def wrong_dimension(got: int, dimension: int, field: str) -> InvalidError:
    return InvalidError(
        f"The vector has {got} dimensions, the collection {dimension}: send {dimension} numbers.",
        code="wrong_dimension",
        field=field,
    )


def pack(values: list[float], dimension: int, field: str) -> bytes:
    """The binary form of a list of numbers; InvalidError names `field`."""
    if len(values) != dimension:
        raise wrong_dimension(len(values), dimension, field)
    try:
        return packer(dimension).pack(dimension, 0, *values)
    except (OverflowError, struct.error):
        raise InvalidError(
            "Numbers of a vector must fit a 32-bit float.", code="not_finite", field=field
        ) from None


def packed(values: tuple[float, ...], dimension: int) -> bytes:
    """The binary form of as many numbers as there are dimensions; struct.error, OverflowError."""
    known = _bare.get(dimension)
    if known is None:
        known = _bare[dimension] = struct.Struct(f">{dimension}f"), header(dimension)
    return known[1] + known[0].pack(*values)


def floats(text: str, field: str) -> array:
    """Big-endian float32 from base64 of little-endian ones (numpy: `base64.b64encode(v.astype('<f4'))`)."""
    try:
        raw = pybase64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidError("This is not base64 of float32 values.", code="not_base64", field=field) from None
    if len(raw) % 4:
        raise InvalidError(
            "The bytes are not a whole number of little-endian float32 values.",
            code="not_base64",
            field=field,
        )
    values = array("f", raw)
    if sys.byteorder == "little":
        values.byteswap()
    return values


def pack_base64(text: str, dimension: int, field: str) -> bytes:
    """The binary form of base64 float32; InvalidError names `field`."""
    values = floats(text, field)
    if len(values) != dimension:
        raise wrong_dimension(len(values), dimension, field)
    return header(dimension) + values.tobytes()


def pack_block(text: str, count: int, dimension: int, field: str) -> list[bytes]:
    """The binary forms of `count` vectors in one base64 block; InvalidError names `field`."""
    values = floats(text, field)
    if len(values) != count * dimension:
        raise InvalidError(
            f"The block holds {len(values)} numbers; {count} ids of {dimension} dimensions need"
            f" {count * dimension}.",
            code="wrong_dimension",
            field=field,
        )
    raw = values.tobytes()
    head = header(dimension)
    size = dimension * 4
    return [head + raw[start : start + size] for start in range(0, count * size, size)]


def unpack(packed: bytes) -> tuple[float, ...]:
    """The numbers of a binary form."""
    dimension = (len(packed) - 4) // 4
    return packer(dimension).unpack(packed)[2:]


def wire(packed: bytes) -> bytes:
    """The float32 of a binary form as they are sent in base64."""
    values = array("f", packed[4:])
    if sys.byteorder == "little":
        values.byteswap()
    return values.tobytes()


def sound_sql(metric: str) -> str:
    """SQL of whether `embedding` is of a size float32 can square, and not zero under cosine: in C, which
    costs a hundredth of Python's way."""
    least = NORM_LEAST if metric == "cosine" else 0
    return f"vector_norm(embedding) BETWEEN {least} AND {NORM_MOST:.0f}"


def check(packed: bytes, metric: str, field: str) -> None:
    """InvalidError unless the vector is finite, of a size float32 can square, and not zero under cosine."""
    check_norm(math.hypot(*unpack(packed)), metric, field)


def check_half(packed: bytes, field: str) -> None:
    """InvalidError when a number is too large for an index of half precision."""
    if max(map(abs, unpack(packed))) >= HALF_MOST:
        raise InvalidError(
            f"This collection's index is of half precision, for numbers below {HALF_MOST:.0f}:"
            " scale the vector, or build the index with precision vector.",
            code="out_of_range",
            field=field,
        )


def check_values(values: list[float], metric: str, field: str) -> None:
    """The same of numbers that are packed."""
    check_norm(math.hypot(*values), metric, field)


def check_norm(norm: float, metric: str, field: str) -> None:
    """The same of a vector's norm."""
    if not math.isfinite(norm):
        raise InvalidError("A vector must not hold NaN or infinite values.", code="not_finite", field=field)
    if norm > NORM_MOST:
        raise InvalidError(
            f"The vector is too long (norm {norm:.3g}); scale it below {NORM_MOST:.0e}.",
            code="out_of_range",
            field=field,
        )
    if metric == "cosine" and norm < NORM_LEAST:
        raise InvalidError(
            "A zero vector has no direction, so no cosine distance: leave it out, or use metric l2 or ip.",
            code="zero_vector",
            field=field,
        )
