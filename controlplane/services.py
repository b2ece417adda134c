"""Use cases of keys of the REST API."""

import hashlib
import secrets
from datetime import datetime

from django.db import IntegrityError, transaction
from django.utils import timezone

from controlplane import actors, audit
from controlplane.errors import ConflictError, InvalidError
from controlplane.models import ApiKey, Project
from controlplane.validation import clean

KEY_PREFIX = "ak_"
KEY_BYTES = 32
SHOWN_CHARACTERS = 10


def api_key_digest(key: str) -> str:
    """What is stored of a key. It is random and long, so a fast hash cannot be searched."""
    return hashlib.sha256(key.encode()).hexdigest()


def api_key_create(
    *, project: Project, name: str, role: str, created_by: str, expires_at: datetime | None = None
) -> tuple[ApiKey, str]:
    """A new key and its text, which is told this once; InvalidError or ConflictError (name taken)."""
    if expires_at is not None and expires_at <= timezone.now():
        raise InvalidError("The key would have expired already; give a time to come.", field="expires_at")
    text = KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)
    key = ApiKey(
        project=project,
        name=name.strip(),
        role=role,
        prefix=text[:SHOWN_CHARACTERS],
        digest=api_key_digest(text),
        created_by=created_by,
        expires_at=expires_at,
    )
    clean(key)
    try:
        with transaction.atomic():
            key.save(force_insert=True)
            audit.record(
                project=project,
                actor=created_by,
                action="api_key.create",
                subject=key.pk,
                detail={"name": key.name, "role": key.role, "prefix": key.prefix},
            )
    except IntegrityError:
        raise ConflictError(
            f"A key named {name} is in use in {project.name}; revoke it or choose another name.",
            code="name_taken",
            field="name",
        ) from None
    return key, text


def api_key_revoke(*, key: ApiKey, revoked_by: str) -> ApiKey:
    """End a key at once; revoking it again changes nothing."""
    now = timezone.now()
    with transaction.atomic():
        if ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=now):
            audit.record(
                project=key.project,
                actor=revoked_by,
                action="api_key.revoke",
                subject=key.pk,
                detail={"name": key.name, "prefix": key.prefix},
            )
    actors.forget()
    key.refresh_from_db()
    return key
