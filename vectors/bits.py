"""Bit vectors as PostgreSQL's binary form of `bit`, and back; the same functions as `vectors/vectors.py` has.

The form: how many bits (int32), then their bytes, the first bit the highest of the first byte. On the wire
they are a list of 0 and 1, or base64 of those bytes (NumPy: `base64.b64encode(numpy.packbits(bits))`).
"""

import binascii
import struct

import pybase64

from controlplane.errors import InvalidError
from vectors.vectors import wrong_dimension

# What a batch is staged as, and a vector's form as JSON.
STAGED = "varbit"
SHOWN = "'[' || array_to_string(string_to_array(embedding::text, NULL), ',') || ']'"
LENGTH = struct.Struct(">I").pack
_DIGITS = {0: "0", 1: "1"}
_VALUES = tuple(tuple(byte >> shift & 1 for shift in range(7, -1, -1)) for byte in range(256))


def size(dimension: int) -> int:
    """The bytes of so many bits."""
    return (dimension + 7) // 8


def pack(values: list[float], dimension: int, field: str) -> bytes:
    """The binary form of a list of 0 and 1; InvalidError names `field`."""
    if len(values) != dimension:
        raise wrong_dimension(len(values), dimension, field)
    try:
        digits = "".join([_DIGITS[value] for value in values])
    except (KeyError, TypeError):
        raise InvalidError(
            "A bit vector holds the numbers 0 and 1 alone.", code="not_a_bit", field=field
        ) from None
    length = size(dimension)
    return LENGTH(dimension) + int(digits.ljust(8 * length, "0"), 2).to_bytes(length, "big")


def raw(text: str, field: str) -> bytes:
    try:
        return pybase64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidError("This is not base64 of packed bits.", code="not_base64", field=field) from None


def pack_base64(text: str, dimension: int, field: str) -> bytes:
    """The binary form of base64 of packed bits; InvalidError names `field`."""
    found = raw(text, field)
    if len(found) != size(dimension):
        raise InvalidError(
            f"The vector has {len(found)} bytes; {dimension} bits are {size(dimension)}.",
            code="wrong_dimension",
            field=field,
        )
    return LENGTH(dimension) + found


def pack_block(text: str, count: int, dimension: int, field: str) -> list[bytes]:
    """The binary forms of `count` vectors in one base64 block, each of whole bytes; InvalidError."""
    found, length = raw(text, field), size(dimension)
    if len(found) != count * length:
        raise InvalidError(
            f"The block holds {len(found)} bytes; {count} ids of {dimension} bits need {count * length}.",
            code="wrong_dimension",
            field=field,
        )
    head = LENGTH(dimension)
    return [head + found[start : start + length] for start in range(0, count * length, length)]


def unpack(packed: bytes) -> tuple[int, ...]:
    """The bits of a binary form."""
    values = [bit for byte in packed[4:] for bit in _VALUES[byte]]
    return tuple(values[: int.from_bytes(packed[:4], "big")])


def wire(packed: bytes) -> bytes:
    """The bytes of a binary form as they are sent in base64."""
    return packed[4:]


def check(packed: bytes, metric: str, field: str) -> None:
    """Any bits can be kept."""


def check_values(values: list[float], metric: str, field: str) -> None:
    """Any bits can be asked for."""
