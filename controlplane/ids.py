"""Prefixed, time-sortable identifiers.

An id reads `op_01k9...`: a short prefix for the kind of thing, and the 26 characters of a UUIDv7 in
lower-case Crockford base 32. Text order is creation order. The database stores the UUID alone.
"""

import os
import threading
import time
import uuid

from django.core import exceptions
from django.db import models

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
VALUES = {character: value for value, character in enumerate(ALPHABET)}

_lock = threading.Lock()
_last = 0


def uuid7() -> uuid.UUID:
    """A UUIDv7 (RFC 9562) that never goes back within one process.

    The 12 bits below the millisecond carry its fraction, so ids made by one process sort in the order
    they were made.
    """
    global _last
    with _lock:
        now = time.time_ns()
        milliseconds, rest = divmod(now, 1_000_000)
        stamp = (milliseconds << 12) | (rest * 4096 // 1_000_000)
        stamp = max(stamp, _last + 1)
        _last = stamp
    random = int.from_bytes(os.urandom(8), "big") & (2**62 - 1)
    value = (stamp >> 12) << 80 | 0x7 << 76 | (stamp & 0xFFF) << 64 | 0b10 << 62 | random
    return uuid.UUID(int=value)


def encode(prefix: str, value: uuid.UUID) -> str:
    """The text form of a UUID: `prefix_` and 26 characters."""
    number = value.int
    characters = []
    for _ in range(26):
        characters.append(ALPHABET[number & 31])
        number >>= 5
    return f"{prefix}_{''.join(reversed(characters))}"


def decode(prefix: str, text: str) -> uuid.UUID:
    """The UUID of a text form; ValueError when it is not one of this prefix."""
    head, separator, tail = text.rpartition("_")
    if not separator or head != prefix or len(tail) != 26:
        raise ValueError(f"not an id that starts with {prefix}_: {text[:60]!r}")
    number = 0
    for character in tail:
        value = VALUES.get(character)
        if value is None:
            raise ValueError(f"not an id that starts with {prefix}_: {text[:60]!r}")
        number = number << 5 | value
    if number >> 128:
        raise ValueError(f"not an id that starts with {prefix}_: {text[:60]!r}")
    return uuid.UUID(int=number)


def new(prefix: str) -> str:
    """A fresh id of this prefix."""
    return encode(prefix, uuid7())


class IdField(models.UUIDField):
    """A primary key that is a `uuid` in PostgreSQL and a prefixed text in Python."""

    description = "Prefixed, time-sortable id"

    def __init__(self, prefix: str, **kwargs):
        self.prefix = prefix
        kwargs.setdefault("primary_key", True)
        kwargs.setdefault("editable", False)
        super().__init__(**kwargs)

    def deconstruct(self):
        name, path, args, kwargs = super().deconstruct()
        return name, path, [self.prefix, *args], kwargs

    def get_default(self):
        return new(self.prefix) if self.primary_key else None

    def has_default(self):
        return self.primary_key

    def from_db_value(self, value, expression, connection):
        return None if value is None else encode(self.prefix, value)

    def to_python(self, value):
        if value is None or (isinstance(value, str) and value.startswith(f"{self.prefix}_")):
            if value is not None:
                try:
                    decode(self.prefix, value)
                except ValueError as error:
                    raise exceptions.ValidationError(str(error), code="invalid") from error
            return value
        if isinstance(value, uuid.UUID):
            return encode(self.prefix, value)
        raise exceptions.ValidationError(f"not an id that starts with {self.prefix}_", code="invalid")

    def get_prep_value(self, value):
        return models.Field.get_prep_value(self, value)

    def get_db_prep_value(self, value, connection, prepared=False):
        if value is None or isinstance(value, uuid.UUID):
            return value
        try:
            return decode(self.prefix, str(value))
        except ValueError as error:
            raise exceptions.ValidationError(str(error), code="invalid") from error

    def formfield(self, **kwargs):
        return models.Field.formfield(self, **kwargs)
