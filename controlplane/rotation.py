"""Every stored secret of every app: read as it is stored, and written again under the newest key."""

from collections.abc import Iterator
from typing import NamedTuple

from django.apps import apps
from django.db import models
from django.db.models.functions import Cast

from controlplane import crypto


class StoredSecret(NamedTuple):
    """One row's encrypted field."""

    model: type[models.Model]
    field: str
    pk: object
    token: str

    def __str__(self):
        return f"{self.model._meta.label}.{self.field} of {self.pk}"


def stored_secrets() -> Iterator[StoredSecret]:
    """All encrypted values that are not empty, as tokens."""
    for model in apps.get_models():
        for field in model._meta.concrete_fields:
            if isinstance(field, crypto.SecretsField):
                rows = _raw(model, field.name).exclude(raw="").values_list("pk", "raw")
                for pk, token in rows.iterator(chunk_size=500):
                    yield StoredSecret(model, field.name, pk, token)


def _raw(model, field: str):
    return model._base_manager.annotate(raw=Cast(field, models.TextField()))


def rotate_stored_secrets() -> tuple[int, int]:
    """Re-encrypt what an older key wrote; (rotated, current already). Safe to interrupt and call again."""
    rotated = current = 0
    for secret in stored_secrets():
        if crypto.is_current(secret.token):
            current += 1
            continue
        fresh = models.Value(crypto.rotate(secret.token), output_field=models.TextField())
        # Only if nobody wrote it meanwhile: who did has used the newest key.
        _raw(secret.model, secret.field).filter(pk=secret.pk, raw=secret.token).update(
            **{secret.field: fresh}
        )
        rotated += 1
    return rotated, current
