"""The append-only audit log."""

import hashlib
import json

from django.db import connection
from django.utils import timezone

from controlplane.models import AuditEntry


def record(
    *, project, actor: str, action: str, subject: str, detail: dict | None = None, request_id: str = ""
):
    """Append an entry in the caller's transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(7201)")
    last = AuditEntry.objects.order_by("-sequence").first()
    previous = last.hash if last else "0" * 64
    at = timezone.now()
    body = json.dumps([previous, at.isoformat(), actor, action, subject, detail or {}], sort_keys=True)
    return AuditEntry.objects.create(
        at=at,
        project=project,
        actor=actor,
        action=action,
        subject=subject,
        detail=detail or {},
        request_id=request_id,
        previous_hash=previous,
        hash=hashlib.sha256(body.encode()).hexdigest(),
    )
