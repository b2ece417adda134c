"""Secrets at rest: MultiFernet, so that a key can be rotated without downtime."""

import json
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import models

UNREADABLE = (
    "A stored secret cannot be decrypted: put the key that wrote it back into AINDUS_ENCRYPTION_KEYS."
)


@lru_cache(maxsize=4)
def _fernet(keys: tuple[str, ...]) -> MultiFernet:
    try:
        return MultiFernet([Fernet(key) for key in keys])
    except ValueError as error:
        raise ImproperlyConfigured(f"AINDUS_ENCRYPTION_KEYS holds a key that is not valid: {error}") from None


def _current() -> MultiFernet:
    return _fernet(tuple(settings.ENCRYPTION_KEYS))


def encrypt(value) -> str:
    """Any JSON value as an encrypted token."""
    return _current().encrypt(json.dumps(value).encode()).decode()


def decrypt(token: str):
    """The value of a token; ImproperlyConfigured when no key of this installation wrote it."""
    try:
        return json.loads(_current().decrypt(token.encode()))
    except InvalidToken:
        raise ImproperlyConfigured(UNREADABLE) from None


def is_current(token: str) -> bool:
    """Whether the newest key wrote the token; False also for what no key can read."""
    try:
        Fernet(settings.ENCRYPTION_KEYS[0]).decrypt(token.encode())
    except InvalidToken:
        return False
    return True


def rotate(token: str) -> str:
    """The same content under the newest key; ImproperlyConfigured when no key can read it."""
    try:
        return _current().rotate(token.encode()).decode()
    except InvalidToken:
        raise ImproperlyConfigured(UNREADABLE) from None


class Secrets(dict):
    """A mapping whose text form never shows its values."""

    def __repr__(self):
        return f"Secrets({', '.join(sorted(self))})"

    __str__ = __repr__


class SecretsField(models.TextField):
    """A mapping of secrets, encrypted in the database, a `Secrets` in Python."""

    def from_db_value(self, value, expression, connection):
        return Secrets(decrypt(value)) if value else Secrets()

    def to_python(self, value):
        return Secrets(value or {})

    def get_prep_value(self, value):
        return encrypt(dict(value)) if value else ""

    def value_to_string(self, obj):
        return self.get_prep_value(self.value_from_object(obj))
