"""Idempotency-Key on POST: the same key and body are carried out once and answered alike.

The work and its remembered answer are committed in one transaction under an advisory lock on the key. After a
crash there is neither, so the key is free to be sent again. Answers that changed nothing (4xx, 5xx) are not
remembered: once the cause is mended, the same key may be used.
"""

import hashlib
import json
from datetime import timedelta

from django.db import connection, transaction
from django.http import HttpResponse
from django.utils import timezone
from rest_framework.renderers import JSONRenderer

from controlplane.crypto import decrypt, encrypt
from controlplane.errors import ConflictError, InvalidError
from controlplane.models import RememberedAnswer

HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotent-Replayed"
LONGEST_KEY = 200
KEPT_HOURS = 24
KEPT_HEADERS = ("Location", "ETag")


def once(key: str, method, request, *args, **kwargs) -> HttpResponse:
    """Run a view's method unless this actor had this key answered already."""
    if not 1 <= len(key) <= LONGEST_KEY or not key.isascii() or not key.isprintable():
        raise InvalidError(f"{HEADER} has 1 to {LONGEST_KEY} printable ASCII characters.", field=HEADER)
    actor = request.auth
    digest = request_digest(request)
    with transaction.atomic():
        _lock_or_refuse(f"{actor.project.pk}:{actor.name}:{key}")
        known = RememberedAnswer.objects.filter(project=actor.project, actor=actor.name, key=key).first()
        if known and known.created_at > timezone.now() - timedelta(hours=KEPT_HOURS):
            return _replayed(known, digest)
        if known:
            known.delete()
        answer = method(request, *args, **kwargs)
        body = JSONRenderer().render(answer.data) if answer.data is not None else b""
        RememberedAnswer.objects.create(
            project=actor.project,
            actor=actor.name,
            key=key,
            request_digest=digest,
            status=answer.status_code,
            headers={name: answer.headers[name] for name in KEPT_HEADERS if name in answer.headers},
            # Encrypted, because the answer may hold a secret that is told only once.
            body=encrypt(body.decode()).encode(),
        )
        return answer


def request_digest(request) -> str:
    """The same for the same address, query and JSON content, however it is spaced."""
    content = [request.method, request.get_full_path(), request.data]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _lock_or_refuse(name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 2))", [name])
        if not cursor.fetchone()[0]:
            raise ConflictError(
                f"A request with this {HEADER} is under way; ask again in a moment for its answer.",
                code="idempotency_key_in_flight",
                retry_after_seconds=1,
            )


def _replayed(known: RememberedAnswer, digest: str) -> HttpResponse:
    if known.request_digest != digest:
        raise ConflictError(
            f"This {HEADER} was used for another request; use a new key for each new request.",
            code="idempotency_key_reused",
        )
    body = decrypt(bytes(known.body).decode())
    answer = HttpResponse(body, status=known.status, content_type="application/json")
    for name, value in known.headers.items():
        answer[name] = value
    answer[REPLAYED_HEADER] = "true"
    return answer


def forget_old_answers() -> int:
    """Delete what is older than KEPT_HOURS; how many there were."""
    before = timezone.now() - timedelta(hours=KEPT_HOURS)
    return RememberedAnswer.objects.filter(created_at__lt=before).delete()[0]
