"""Unit economics: what a million requests, a million stored vectors and a GiB cost, by target, collection,
namespace.

Costs are those attributed by tags and rules. A collection that no record names gets the share of its
target's that its bytes have, and says so. What was not measured has no figure.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal

from django.db import connection
from django.db.models import Avg, Sum

from costs.estimates_math import HOURS_A_MONTH
from costs.records import live_loads
from deployments.models import CollectionSize, MetricPoint, Target

HOUR_SECONDS = 3600
MILLION = Decimal(10**6)
GIB = Decimal(2**30)
LEVELS = ("target", "collection", "namespace")
DAYS_A_MONTH = HOURS_A_MONTH / 24


@dataclass(frozen=True)
class Unit:
    """One line: a cost over the period in its own currency, and what it was for; None: not measured.

    `basis` is `attributed` (records name it) or `share of bytes` (of its target's cost). Storage figures are
    of a month.
    """

    target: Target
    collection: str
    namespace: str
    currency: str
    cost: Decimal
    basis: str
    requests: int | None
    vectors: Decimal | None
    gib: Decimal | None
    days: int

    @property
    def per_million_requests(self) -> Decimal | None:
        return self.cost * MILLION / self.requests if self.requests else None

    @property
    def per_million_vectors(self) -> Decimal | None:
        """A month of a million vectors, at the mean that was stored."""
        return self._monthly * MILLION / self.vectors if self.vectors else None

    @property
    def per_gib(self) -> Decimal | None:
        """A month of a GiB."""
        return self._monthly / self.gib if self.gib else None

    @property
    def _monthly(self) -> Decimal:
        return self.cost / self.days * DAYS_A_MONTH


def unit_costs(project, since: date, until: date, *, by: str = "target") -> list[Unit]:
    """Lines of a level for the days from `since` to before `until`, the dearest first."""
    if by not in LEVELS:
        raise ValueError(by)
    days = (until - since).days
    targets = {target.pk: target for target in Target.objects.filter(project=project)}
    costs = _costs(project, since, until, by)
    requests = _requests(targets, since, until)
    sizes = _sizes(targets, since, until)
    if by == "target":
        lines = [
            _line(
                targets[key],
                "",
                "",
                currency,
                cost,
                "attributed",
                requests.get(key),
                sizes.get((key, "")),
                days,
            )
            for (key, _, _, currency), cost in costs.items()
            if key in targets
        ]
    elif by == "collection":
        lines = _collections(targets, costs, sizes, days)
    else:
        lines = [
            _line(targets[key], collection, namespace, currency, cost, "attributed", None, None, days)
            for (key, collection, namespace, currency), cost in costs.items()
            if key in targets and namespace
        ]
    return sorted(lines, key=lambda one: (one.currency, -one.cost, one.target.name, one.collection))


def _line(target, collection, namespace, currency, cost, basis, requests, size, days) -> Unit:
    vectors, held = size or (None, None)
    return Unit(target, collection, namespace, currency, cost, basis, requests, vectors, held, days)


def _collections(targets: dict, costs: dict, sizes: dict, days: int) -> list[Unit]:
    """Collections with their own cost, and their share by bytes of what names only their target."""
    lines = []
    shared = {
        (key, currency): cost
        for (key, collection, _, currency), cost in costs.items()
        if key in targets and not collection
    }
    own = {
        (key, collection, currency): cost
        for (key, collection, _, currency), cost in costs.items()
        if key in targets and collection
    }
    for (key, collection, currency), cost in own.items():
        size = sizes.get((key, collection))
        lines.append(_line(targets[key], collection, "", currency, cost, "attributed", None, size, days))
    for (key, currency), cost in shared.items():
        held = {
            collection: size
            for (owner, collection), size in sizes.items()
            if owner == key and collection and (key, collection, currency) not in own
        }
        whole = sum((size[1] for size in held.values()), Decimal(0))
        for collection, size in held.items():
            if whole:
                share = cost * size[1] / whole
                lines.append(
                    _line(targets[key], collection, "", currency, share, "share of bytes", None, size, days)
                )
    return lines


def _costs(project, since: date, until: date, by: str) -> dict[tuple[str, str, str, str], Decimal]:
    """{(target, collection, namespace, currency): EffectiveCost}, as fine as the level asks."""
    collection = "collection" if by != "target" else "''"
    namespace = "namespace" if by == "namespace" else "''"
    with connection.cursor() as cursor:
        cursor.execute(
            f'SELECT target, {collection}, {namespace}, "BillingCurrency", sum("EffectiveCost") '
            f"FROM costs_daily"
            " WHERE load_id = ANY(%s) AND day >= %s AND day < %s AND target <> '' GROUP BY 1, 2, 3, 4",
            [live_loads(project), since, until],
        )
        return {tuple(row[:4]): row[4] for row in cursor.fetchall()}


def _between(rows, since: date, until: date):
    midnight = (datetime(day.year, day.month, day.day, tzinfo=UTC) for day in (since, until))
    start, end = midnight
    return rows.filter(resolution_seconds=HOUR_SECONDS, at__gte=start, at__lt=end)


def _requests(targets: dict, since: date, until: date) -> dict[str, int]:
    rows = _between(MetricPoint.objects.filter(target__in=targets), since, until)
    return {row["target"]: row["n"] for row in rows.values("target").annotate(n=Sum("requests"))}


def _sizes(targets: dict, since: date, until: date) -> dict[tuple[str, str], tuple[Decimal, Decimal]]:
    """{(target, collection): (vectors, GiB)} as means over the hours measured; collection '' is all of
    them.
    """
    rows = _between(CollectionSize.objects.filter(target__in=targets), since, until)
    found: dict = {}
    whole: dict = defaultdict(lambda: [Decimal(0), Decimal(0)])
    for row in rows.values("target", "collection").annotate(points=Avg("points"), size=Avg("bytes")):
        vectors, held = Decimal(str(row["points"])), Decimal(str(row["size"])) / GIB
        found[row["target"], row["collection"]] = (vectors, held)
        whole[row["target"]][0] += vectors
        whole[row["target"]][1] += held
    return found | {(key, ""): tuple(value) for key, value in whole.items()}
