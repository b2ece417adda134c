"""What a month will have cost at its end, with a range, and days that cost more than they should.

Both compare days with days of the same group before: the median of them is what is usual, the median of the
distances from it how much is usual to vary. Medians, because one odd day must not make the next one usual.
"""

from calendar import monthrange
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from statistics import NormalDist, median

from costs.reports import Query, Row, rows

DAYS_USED = 28
LEAST_DAYS = 7
# The distance from a median that holds half of all is this share of a standard deviation.
_DEVIATION_OF_DISTANCE = Decimal("1.4826")
RANGE_SHARE = 0.8
_RANGE_DEVIATIONS = Decimal(str(round(NormalDist().inv_cdf((1 + RANGE_SHARE) / 2), 4)))
ANOMALY_DEVIATIONS = Decimal(5)
ANOMALY_SHARE = Decimal("0.25")
# Days that providers may still add to.
LATE_DAYS = 2


@dataclass(frozen=True)
class Forecast:
    """A month's cost at its end; `low` to `high` holds it in four of five cases if days go on as they did."""

    month: date
    currency: str
    so_far: Decimal
    days_known: int
    days: int
    amount: Decimal
    low: Decimal
    high: Decimal


@dataclass(frozen=True)
class Anomaly:
    """A day that cost more, or less, than is usual; `causes` are the services, the largest first.

    Each cause is {service, amount, usual}.
    """

    day: date
    cloud: str
    currency: str
    amount: Decimal
    usual: Decimal
    causes: list[dict]

    @property
    def difference(self) -> Decimal:
        return self.amount - self.usual


def usual(values: list[Decimal]) -> tuple[Decimal, Decimal]:
    """(median, deviation) of some days' amounts."""
    middle = median(values)
    return middle, median(abs(value - middle) for value in values) * _DEVIATION_OF_DISTANCE


def month_forecast(project, month: date, query: Query | None = None) -> list[Forecast]:
    """The forecast of a month by currency, from what is known of it and the days before.

    A query's cost, filters and currency are used. Purchases (commitments, support) come once and not by day:
    they count as they are, and only other charges are carried forward.
    """
    days = monthrange(month.year, month.month)[1]
    return period_forecast(project, month, month + timedelta(days=days), query)


def period_forecast(project, since: date, end: date, query: Query | None = None) -> list[Forecast]:
    """The same of any period, from `since` to before `end`."""
    base = query or Query(since, end)
    base = replace(
        base, since=since - timedelta(days=DAYS_USED), until=end, step="day", group=("charge_category",)
    )
    found = rows(project, base)
    return [
        forecast
        for currency in sorted({row.currency for row in found})
        if (
            forecast := _forecast(
                since, end, (end - since).days, currency, [r for r in found if r.currency == currency]
            )
        )
    ]


def _forecast(month: date, end: date, days: int, currency: str, found: list[Row]) -> Forecast | None:
    daily: dict[date, Decimal] = {}
    once = Decimal(0)
    for row in found:
        if row.keys["charge_category"] == "Purchase":
            once += row.amount if row.day >= month else 0
        else:
            daily[row.day] = daily.get(row.day, Decimal(0)) + row.amount
    known = sorted(day for day in daily if day >= month)
    so_far = once + sum((daily[day] for day in known), Decimal(0))
    if not known and not once:
        return None
    last = known[-1] if known else month - timedelta(days=1)
    rest = (end - last).days - 1
    full = [daily[day] for day in sorted(daily) if day <= last]
    # The newest day may not be whole yet.
    full = (full[:-1] if len(full) > LEAST_DAYS and rest else full)[-DAYS_USED:]
    if not rest or not full:
        return Forecast(month, currency, so_far, days - rest, days, so_far, so_far, so_far)
    middle, deviation = usual(full)
    if len(full) < LEAST_DAYS:
        middle = sum(full, Decimal(0)) / len(full)
        deviation = max(full) - min(full)
    # Days vary on their own, and what is usual is itself known from a few days only.
    count = Decimal(rest)
    spread = deviation * (count + count * count / len(full)).sqrt() * _RANGE_DEVIATIONS
    amount = so_far + middle * rest
    return Forecast(
        month,
        currency,
        so_far,
        days - rest,
        days,
        amount,
        max(min(so_far, amount), amount - spread),
        amount + spread,
    )


def anomalies(project, since: date, until: date, query: Query | None = None) -> list[Anomaly]:
    """Days of a span whose cost was not usual, by cloud, newest first."""
    base = query or Query(since, until)
    base = replace(base, since=since - timedelta(days=DAYS_USED), until=until, step="day")
    by_service: dict[tuple, dict[date, Decimal]] = {}
    for row in rows(project, replace(base, group=("cloud", "service", "charge_category"))):
        # Purchases, taxes and credits come when they come.
        if row.keys["charge_category"] == "Usage":
            of = by_service.setdefault((row.keys["cloud"], row.currency, row.keys["service"]), {})
            of[row.day] = of.get(row.day, Decimal(0)) + row.amount
    by_cloud: dict[tuple, dict[date, Decimal]] = {}
    for (cloud, currency, _), days in by_service.items():
        of = by_cloud.setdefault((cloud, currency), {})
        for day, amount in days.items():
            of[day] = of.get(day, Decimal(0)) + amount
    found = []
    for (cloud, currency), days in by_cloud.items():
        newest = max(days)
        for day in sorted(days):
            # Days that are not whole yet are only told of when they are too dear already.
            told = day >= since and _odd(days, day, only_more=(newest - day).days < LATE_DAYS)
            if told:
                causes = _causes(by_service, cloud, currency, day)
                found.append(Anomaly(day, cloud, currency, days[day], told, causes))
    return sorted(found, key=lambda one: (one.day, abs(one.difference)), reverse=True)


def _odd(days: dict[date, Decimal], day: date, *, only_more: bool) -> Decimal | None:
    """What would have been usual on a day that was not; None when it was."""
    past = [days[one] for one in days if day - timedelta(days=DAYS_USED) <= one < day]
    if len(past) < LEAST_DAYS:
        return None
    middle, deviation = usual(past)
    difference = days[day] - middle
    least = max(deviation * ANOMALY_DEVIATIONS, abs(middle) * ANOMALY_SHARE)
    if abs(difference) <= least or not least or (only_more and difference < 0):
        return None
    return middle


def _causes(by_service, cloud: str, currency: str, day: date) -> list[dict]:
    causes = []
    for (of_cloud, of_currency, service), days in by_service.items():
        if (of_cloud, of_currency) != (cloud, currency):
            continue
        past = [days.get(day - timedelta(days=back), Decimal(0)) for back in range(1, DAYS_USED + 1)]
        first = min(days)
        past = past[: max(1, min(DAYS_USED, (day - first).days))] if first < day else [Decimal(0)]
        causes.append({"service": service, "amount": days.get(day, Decimal(0)), "usual": median(past)})
    causes.sort(key=lambda one: abs(one["amount"] - one["usual"]), reverse=True)
    largest = abs(causes[0]["amount"] - causes[0]["usual"]) if causes else Decimal(0)
    return [one for one in causes if abs(one["amount"] - one["usual"]) * 5 >= largest][:5]
