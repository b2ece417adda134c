"""Use cases of alert channels: e-mail addresses, webhooks and Slack-compatible webhooks."""

import secrets
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from controlplane import audit
from controlplane.errors import ConflictError, InvalidError
from controlplane.selectors import by_id_or_name
from controlplane.validation import clean
from costs.models_planning import AlertChannel, ChannelKind
from worker.models import Operation
from worker.services import operation_submit

MOST_RECIPIENTS = 20


def alert_channels(project) -> QuerySet[AlertChannel]:
    """A project's channels."""
    return AlertChannel.objects.filter(project=project)


def alert_channel_find(project, reference: str) -> AlertChannel:
    """A channel by id or name; NotFoundError."""
    return by_id_or_name(
        alert_channels(project).select_related("project"), "chn", reference, what="alert channel"
    )


def shown_address(channel: AlertChannel) -> str:
    """Where a channel leads, without what would let others post there: addresses, or scheme and host."""
    if channel.kind == ChannelKind.EMAIL:
        return ", ".join(channel.recipients)
    parts = urlsplit(channel.secrets.get("url", ""))
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/..."


def alert_channel_create(
    *, project, name: str, kind: str, recipients: list[str] = (), url: str = "", created_by: str
) -> AlertChannel:
    """A channel; a webhook gets a key that its posts are signed with, told in `secrets` of this answer."""
    channel = AlertChannel(project=project, name=name.strip(), kind=kind, created_by=created_by)
    if kind == ChannelKind.EMAIL:
        channel.recipients = _checked_recipients(recipients)
        if url:
            raise InvalidError("An e-mail channel has recipients and no URL.", field="url")
    else:
        if recipients:
            raise InvalidError("A webhook has a URL and no recipients.", field="recipients")
        channel.secrets = {"url": _checked_url(url)}
        if kind == ChannelKind.WEBHOOK:
            channel.secrets["signing_key"] = f"whsec_{secrets.token_urlsafe(32)}"
    clean(channel, exclude=["recipients", "secrets"])
    try:
        with transaction.atomic():
            channel.save(force_insert=True)
            audit.record(
                project=project,
                actor=created_by,
                action="alert_channel.create",
                subject=channel.pk,
                detail={"name": channel.name, "kind": kind, "address": shown_address(channel)},
            )
    except IntegrityError:
        raise ConflictError(
            f"An alert channel named {name} exists already.", code="name_taken", field="name"
        ) from None
    return channel


def alert_channel_delete(*, channel: AlertChannel, deleted_by: str) -> None:
    """Delete a channel; budgets that alerted there alert on their other channels."""
    with transaction.atomic():
        audit.record(
            project=channel.project,
            actor=deleted_by,
            action="alert_channel.delete",
            subject=channel.pk,
            detail={"name": channel.name},
        )
        channel.delete()


def alert_channel_test(*, channel: AlertChannel, requested_by: str) -> Operation:
    """Send a message that says it is a test, so that a channel is known to work before it is needed."""
    return operation_submit(
        project=channel.project,
        kind="budget.alert",
        subject=f"alert:test/{channel.pk}",
        input={"channel": channel.pk, "at": timezone.now().isoformat()},
        created_by=requested_by,
    )


def _checked_recipients(recipients) -> list[str]:
    found = list(dict.fromkeys(one.strip() for one in recipients if one.strip()))
    if not found or len(found) > MOST_RECIPIENTS:
        raise InvalidError(f"Give 1 to {MOST_RECIPIENTS} e-mail addresses.", field="recipients")
    for one in found:
        try:
            validate_email(one)
        except ValidationError:
            raise InvalidError(f"{one[:80]!r} is not an e-mail address.", field="recipients") from None
    return found


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url.strip())
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    if not valid or any(character.isspace() or ord(character) < 32 for character in url.strip()):
        raise InvalidError("Give the whole URL, as https://hooks.example.org/costs.", field="url")
    return url.strip()
