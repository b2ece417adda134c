"""What one unit of a resource costs: synced prices first, then the built-in table, always with where it is
from.
"""

import re
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from costs.models_planning import Price
from costs.prices_list import ListPrice, table

# Cloud SQL's sizes are made of parts: db-custom-4-16384 is 4 vCPUs and 16,384 MiB.
CUSTOM_DATABASE = re.compile(r"\Adb-custom-(\d{1,3})-(\d{3,7})\Z")


@dataclass(frozen=True)
class FoundPrice:
    """A price and how far to trust it.

    `origin` is `synced` (the cloud's price API), `list` (the built-in table) or `given` (by the user);
    `region` is the one that the price is of, which is another one than asked for when that has none.
    """

    amount: Decimal
    currency: str
    unit: str
    as_of: date
    source: str
    origin: str
    region: str
    checked: bool = True


def price_for(cloud: str, region: str, kind: str, sku: str, on: date) -> FoundPrice | None:
    """The price of one unit on a day: of the region, else of the cloud's base region; None when unknown."""
    found = _in_region(cloud, region, kind, sku, on)
    base = table().base_regions.get(cloud)
    if found is None and base and base != region:
        found = _in_region(cloud, base, kind, sku, on)
    return found


def _in_region(cloud: str, region: str, kind: str, sku: str, on: date) -> FoundPrice | None:
    made = CUSTOM_DATABASE.match(sku) if cloud == "gcp" and kind == "database" else None
    if made:
        return _custom_database(region, Decimal(made[1]), Decimal(made[2]) / 1024, on)
    synced = (
        Price.objects.filter(cloud=cloud, region=region, kind=kind, sku=sku, effective_on__lte=on)
        .order_by("-effective_on", "-pk")
        .first()
    )
    if synced is not None:
        return FoundPrice(
            synced.amount,
            synced.currency,
            synced.unit,
            synced.effective_on,
            f"{synced.get_cloud_display()} price API, read {synced.read_at:%Y-%m-%d}",
            "synced",
            region,
        )
    listed = table().prices.get((cloud, region, kind, sku))
    return _of_list(listed) if listed else None


def _of_list(price: ListPrice) -> FoundPrice:
    return FoundPrice(
        price.amount,
        price.currency,
        price.unit,
        price.as_of,
        price.source,
        "list",
        price.region,
        price.checked,
    )


def _custom_database(region: str, cpus: Decimal, memory_gib: Decimal, on: date) -> FoundPrice | None:
    cpu = _in_region("gcp", region, "database_vcpu", "postgres", on)
    memory = _in_region("gcp", region, "database_ram", "postgres", on)
    if cpu is None or memory is None or cpu.currency != memory.currency:
        return None
    older = cpu if cpu.as_of <= memory.as_of else memory
    amount = cpu.amount * cpus + memory.amount * memory_gib
    return replace(older, amount=amount, unit="hour", checked=cpu.checked and memory.checked)


class PriceBook:
    """Prices of one day, each looked up once, for whoever asks for the same ones thousands of times."""

    def __init__(self, on: date):
        self.on = on
        self._known: dict[tuple[str, str, str, str], FoundPrice | None] = {}

    def price(self, cloud: str, region: str, kind: str, sku: str) -> FoundPrice | None:
        """The same as `price_for` on the book's day."""
        key = (cloud, region, kind, sku)
        if key not in self._known:
            self._known[key] = price_for(*key, self.on)
        return self._known[key]
