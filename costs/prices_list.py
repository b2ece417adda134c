"""The built-in table of list prices (`list_prices.json`): what estimates use until prices are synced.

Every figure has a source with the day it holds for, and says whether it was looked up on that day.
"""

import json
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("list_prices.json")


@dataclass(frozen=True)
class ListPrice:
    """A price of the table: `amount` of `currency` for one `unit`."""

    cloud: str
    region: str
    kind: str
    sku: str
    unit: str
    amount: Decimal
    currency: str
    as_of: date
    source: str
    checked: bool


@dataclass(frozen=True)
class Size:
    """What a size of machine has."""

    cpus: int
    memory_gib: int
    architecture: str


@dataclass(frozen=True)
class Table:
    """The whole file, looked up by (cloud, region, kind, sku)."""

    prices: dict[tuple[str, str, str, str], ListPrice]
    sizes: dict[tuple[str, str], Size]
    base_regions: dict[str, str]


@cache
def table() -> Table:
    """The file, read once a process."""
    document = json.loads(FILE.read_text())
    prices = {}
    for group in document["groups"]:
        source = document["sources"][group["source"]]
        for kind, sku, unit, amount in group["rows"]:
            key = (group["cloud"], group["region"], kind, sku)
            prices[key] = ListPrice(
                *key,
                unit,
                Decimal(amount),
                document["currency"],
                date.fromisoformat(source["as_of"]),
                source["name"],
                source["checked"],
            )
    sizes = {
        (cloud, sku): Size(*values)
        for cloud, known in document["specs"].items()
        for sku, values in known.items()
    }
    return Table(prices, sizes, document["base_regions"])


def clouds() -> list[str]:
    """The clouds of the table."""
    return sorted(table().base_regions)


def regions(cloud: str) -> list[str]:
    """Regions that the table has prices of."""
    return sorted({key[1] for key in table().prices if key[0] == cloud})


def skus(cloud: str, kind: str = "") -> list[tuple[str, str]]:
    """(kind, sku) of everything the table can price in a cloud."""
    return sorted({key[2:] for key in table().prices if key[0] == cloud and kind in ("", key[2])})


def size_of(cloud: str, sku: str) -> Size | None:
    """What a size of machine has; None when the table does not know it."""
    return table().sizes.get((cloud, sku))
