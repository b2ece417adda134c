"""What resources cost a month, line by line: pure arithmetic over prices, no database rows.

A resource is {cloud, region, kind, sku, quantity, hours, gib, millions}; of a cluster or machine that no
cloud bills it is {cloud: kubernetes | local, kind: requests, quantity, hours, cpus, memory_gib, node: {cpus,
memory_gib, amount, currency}}. Hours are of a month of 730.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal

from costs.prices import FoundPrice, price_for

HOURS_A_MONTH = Decimal(730)
CENT = Decimal("0.01")
Lookup = Callable[[str, str, str, str, date], FoundPrice | None]


@dataclass(frozen=True)
class Line:
    """One resource priced; `amount` is a month's, None when no price is known, with why in `note`."""

    resource: Mapping
    amount: Decimal | None
    currency: str = ""
    price: FoundPrice | None = None
    note: str = ""

    def as_json(self) -> dict:
        """{resource, monthly, unit_price, note} as stored and shown."""
        shown = {"resource": dict(self.resource), "monthly": None, "unit_price": None, "note": self.note}
        if self.amount is not None:
            shown["monthly"] = money(self.amount, self.currency)
        if self.price is not None:
            shown["unit_price"] = {
                **money(self.price.amount, self.price.currency, exact=True),
                "unit": self.price.unit,
                "as_of": self.price.as_of.isoformat(),
                "source": self.price.source,
                "origin": self.price.origin,
                "region": self.price.region,
                "checked": self.price.checked,
            }
        return shown


def money(amount: Decimal, currency: str, *, exact: bool = False) -> dict:
    """{amount, currency}: to the cent, or with every digit it has."""
    if exact:
        text = f"{amount.normalize():f}"
    else:
        text = f"{amount.quantize(CENT, ROUND_HALF_EVEN):f}"
    return {"amount": text, "currency": currency}


def price_lines(resources: Iterable[Mapping], on: date, lookup: Lookup = price_for) -> list[Line]:
    """A line for each resource, in their order."""
    return [_line(resource, on, lookup) for resource in resources]


def totals(lines: Iterable[Line]) -> dict[str, Decimal]:
    """{currency: a month's amount}; currencies are never added to each other."""
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for line in lines:
        if line.amount is not None:
            sums[line.currency] += line.amount
    return dict(sums)


def _number(resource: Mapping, name: str, default) -> Decimal:
    value = resource.get(name)
    return Decimal(str(default if value is None else value))


def _line(resource: Mapping, on: date, lookup: Lookup) -> Line:
    if resource["kind"] == "requests":
        return _requests(resource, on)
    cloud, region, kind, sku = (resource.get(name, "") for name in ("cloud", "region", "kind", "sku"))
    found = lookup(cloud, region, kind, sku, on)
    if found is None:
        return Line(
            resource,
            None,
            note=f"No price of {kind} {sku} is known in {cloud}; sync prices, or check the name.",
        )
    months = _number(resource, "hours", HOURS_A_MONTH) / HOURS_A_MONTH
    counts = {
        "hour": lambda: months * HOURS_A_MONTH,
        "gib_hour": lambda: months * HOURS_A_MONTH * _number(resource, "gib", 0),
        "gib_month": lambda: months * _number(resource, "gib", 0),
        "month": lambda: months,
        "gib": lambda: _number(resource, "gib", 0),
        "million": lambda: _number(resource, "millions", 0),
    }
    amount = found.amount * _number(resource, "quantity", 1) * counts[found.unit]()
    notes = []
    if found.region != region:
        notes.append(f"Price of {found.region}: none is known for {region}.")
    if not found.checked:
        notes.append("List price not looked up; sync prices for the present one.")
    if found.unit in ("gib_hour", "gib_month", "gib") and not resource.get("gib"):
        notes.append("Depends on GiB; none were given.")
    if found.unit == "million" and not resource.get("millions"):
        notes.append("Depends on millions of requests; none were given.")
    return Line(resource, amount, found.currency, found, " ".join(notes))


def _requests(resource: Mapping, on: date) -> Line:
    """A share of nodes that the user gave the price of: the larger of the shares of CPU and memory."""
    node = resource.get("node")
    if not node:
        return Line(
            resource,
            None,
            note="No node price is known here: give one, so that what pods ask for can be priced.",
        )
    share = max(
        _number(resource, "cpus", 0) / Decimal(str(node["cpus"])),
        _number(resource, "memory_gib", 0) / Decimal(str(node["memory_gib"])),
    )
    hours = _number(resource, "hours", HOURS_A_MONTH)
    price = FoundPrice(
        Decimal(str(node["amount"])),
        node["currency"],
        "hour",
        on,
        "Given by the user",
        "given",
        resource.get("region", ""),
    )
    amount = price.amount * share * _number(resource, "quantity", 1) * hours
    return Line(resource, amount, price.currency, price, f"{share:.1%} of a node each.")
