"""Use cases of synced prices: start a sync, store what it read."""

from collections.abc import Iterable

from django.db import transaction
from django.utils import timezone

from controlplane import audit
from controlplane.errors import InvalidError
from costs.models_planning import CLOUDS, Price
from costs.prices_feeds import ReadPrice
from worker.models import Operation
from worker.services import operation_submit


def prices_sync(*, project, cloud: str, region: str, requested_by: str) -> Operation:
    """Read a region's list prices from the cloud's price API."""
    if cloud not in dict(CLOUDS):
        raise InvalidError(f"{cloud[:40]!r} is not one of {', '.join(dict(CLOUDS))}.", field="cloud")
    with transaction.atomic():
        operation = operation_submit(
            project=project,
            kind="prices.sync",
            subject=f"prices:{cloud}:{region}",
            input={"cloud": cloud, "region": region},
            created_by=requested_by,
        )
        audit.record(
            project=project,
            actor=requested_by,
            action="prices.sync",
            subject=operation.pk,
            detail={"cloud": cloud, "region": region},
        )
    return operation


def prices_store(*, cloud: str, prices: Iterable[ReadPrice]) -> int:
    """Keep prices that differ from what is known; how many those were. In the caller's transaction."""
    now = timezone.now()
    changed = 0
    for price in prices:
        known = (
            Price.objects.filter(
                cloud=cloud, region=price.region, kind=price.kind, sku=price.sku, currency=price.currency
            )
            .order_by("-effective_on", "-pk")
            .first()
        )
        if known and known.amount == price.amount and known.unit == price.unit:
            Price.objects.filter(pk=known.pk).update(read_at=now)
            continue
        # A price that differs from a newer one is told from today on, whatever day its list names.
        day = price.effective_on or now.date()
        if known and day <= known.effective_on:
            day = max(now.date(), known.effective_on)
        Price.objects.update_or_create(
            cloud=cloud,
            region=price.region,
            kind=price.kind,
            sku=price.sku,
            currency=price.currency,
            effective_on=day,
            defaults={
                "unit": price.unit,
                "amount": price.amount,
                "vendor_sku": price.vendor_sku[:120],
                "read_at": now,
            },
        )
        changed += 1
    return changed
