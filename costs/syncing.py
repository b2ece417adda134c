"""Sources that are read by themselves: kept, checked by their schemas, and read when their time comes."""

from datetime import timedelta
from decimal import Decimal

import jsonschema
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from controlplane import audit
from controlplane.crypto import Secrets
from controlplane.errors import ConflictError, InvalidError
from costs import records
from costs.models import CostLoad, CostSource, SourceKind, source_name_validator
from costs.sources.registry import SOURCES
from worker.models import Operation
from worker.services import OperationInProgressError, operation_submit


def _checked(kind: str, config: dict, credentials: dict) -> None:
    """InvalidError for what the kind's schemas do not allow."""
    source = SOURCES[kind]
    for field, value, schema in (
        ("config", config, source.config_schema),
        ("credentials", credentials, source.credentials_schema),
    ):
        wrong = sorted(jsonschema.Draft202012Validator(schema).iter_errors(value), key=str)
        if wrong:
            raise InvalidError(
                errors=[
                    {
                        "field": ".".join([field, *map(str, one.absolute_path)]),
                        "code": "invalid",
                        # The value itself may be a secret.
                        "message": one.message if field == "config" else f"Not valid ({one.validator}).",
                    }
                    for one in wrong
                ]
            )


def cost_source_create(
    *,
    project,
    name: str,
    kind: str,
    config: dict,
    credentials: dict | None = None,
    every_hours: int = 6,
    created_by: str,
) -> CostSource:
    """A source that is read from now on; ConflictError when the name is taken."""
    try:
        source_name_validator(name)
    except ValidationError as error:
        raise InvalidError(" ".join(error.messages), field="name") from None
    if kind not in SOURCES:
        raise InvalidError(f"The kind is one of {', '.join(SOURCES)}.", field="kind")
    _checked(kind, config, credentials or {})
    try:
        with transaction.atomic():
            made = CostSource.objects.create(
                project=project,
                name=name,
                kind=kind,
                config=config,
                credentials=Secrets(credentials or {}),
                every_hours=every_hours,
                created_by=created_by,
            )
            audit.record(
                project=project,
                actor=created_by,
                action="cost.source.create",
                subject=made.pk,
                detail={"name": name, "kind": kind},
            )
    except IntegrityError:
        raise ConflictError(f"There is a source named {name}.", code="name_taken", field="name") from None
    return made


def cost_source_update(*, source: CostSource, requested_by: str, **changes) -> CostSource:
    """Change config, credentials (all of them), enabled or every_hours."""
    if source.kind == SourceKind.UPLOAD:
        raise ConflictError(f"{source.name} is one of uploads: there is nothing to change.", code="is_upload")
    _checked(
        source.kind,
        changes.get("config", source.config),
        changes.get("credentials", dict(source.credentials)),
    )
    for name, value in changes.items():
        setattr(source, name, Secrets(value) if name == "credentials" else value)
    with transaction.atomic():
        source.save(update_fields=list(changes))
        audit.record(
            project=source.project,
            actor=requested_by,
            action="cost.source.update",
            subject=source.pk,
            detail={"changed": sorted(changes)},
        )
    return source


def cost_source_delete(*, source: CostSource, requested_by: str) -> None:
    """Delete a source with all its records; ConflictError while an operation works on it."""
    with transaction.atomic():
        if Operation.objects.unfinished().on(source.subject).exists():
            raise ConflictError(f"{source.name} is being read or imported.", code="operation_in_progress")
        for load in CostLoad.objects.filter(source=source):
            if load.live:
                records.load_table_detach(load)
            records.load_drop(load.pk)
        audit.record(
            project=source.project,
            actor=requested_by,
            action="cost.source.delete",
            subject=source.pk,
            detail={"name": source.name},
        )
        source.delete()


def cost_source_sync(*, source: CostSource, requested_by: str) -> Operation:
    """Read a source now; OperationInProgressError while it is read or imported."""
    if source.kind == SourceKind.UPLOAD:
        raise ConflictError(f"{source.name} is one of uploads: send a file.", code="is_upload")
    with transaction.atomic():
        CostSource.objects.filter(pk=source.pk).update(last_attempt_at=timezone.now())
        operation = operation_submit(
            project=source.project,
            kind="cost.sync",
            subject=source.subject,
            input={"source": source.pk, "name": source.name},
            created_by=requested_by,
        )
        if requested_by != "system":
            audit.record(
                project=source.project,
                actor=requested_by,
                action="cost.source.sync",
                subject=source.pk,
                detail={"operation": operation.pk},
            )
    return operation


def sync_due() -> list[Operation]:
    """Read each source that was last tried longer ago than its hours."""
    started = []
    now = timezone.now()
    for source in CostSource.objects.filter(enabled=True).exclude(kind=SourceKind.UPLOAD):
        due = source.last_attempt_at is None or now - source.last_attempt_at >= timedelta(
            hours=source.every_hours
        )
        if due:
            try:
                started.append(cost_source_sync(source=source, requested_by="system"))
            except OperationInProgressError:
                continue
    return started


def months_of(source: CostSource) -> list[dict]:
    """A source's months, newest first: [{month, currency, rows, billed, provider_total, variance, read_at}].

    `variance` is what we have less what the provider says it billed; None where it says nothing.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            'SELECT l.billing_period, l.published_at, b."BillingCurrency", sum(b.records)::bigint,'
            ' sum(b."BilledCost") FROM costs_costload l JOIN costs_brief_daily b ON b.load_id = l.id'
            " WHERE l.source_id = %s AND l.live GROUP BY 1, 2, 3 ORDER BY 1 DESC, 3",
            [CostSource._meta.pk.get_db_prep_value(source.pk, connection)],
        )
        rows = cursor.fetchall()
    found = []
    for period, read_at, currency, count, billed in rows:
        told = source.provider_totals.get(f"{period:%Y-%m}", {}).get(currency)
        total = None if told is None else Decimal(told)
        found.append(
            {
                "month": f"{period:%Y-%m}",
                "currency": currency,
                "rows": count,
                "billed": billed,
                "provider_total": total,
                "variance": None if total is None else billed - total,
                "read_at": read_at,
            }
        )
    return found


def newest_day_of(source: CostSource):
    """The last day that a source has charges of; None without any."""
    loads = list(CostLoad.objects.filter(source=source, live=True).values_list("pk", flat=True))
    with connection.cursor() as cursor:
        cursor.execute("SELECT max(day) FROM costs_brief_daily WHERE load_id = ANY(%s)", [loads])
        return cursor.fetchone()[0]
