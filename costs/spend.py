"""What was spent in a period, and what will have been by its end: from the roll-up by day, in one currency.

Amounts of other currencies are converted by the project's dated rates alone; what no rate tells of is given
apart and never added.
"""

import math
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal

from django.db import connection

from costs.models import CostLoad
from costs.rates import Converter
from costs.records import live_loads

# Days that a forecast is made from: two whole weeks, so that weekends weigh as they do.
FORECAST_DAYS = 14
# Clouds' data of the last days is not complete yet; whoever forecasts from it forecasts too little.
UNSETTLED_DAYS = 2


@dataclass(frozen=True)
class Spend:
    """Of a period: `actual` so far, `forecast` to its end with a range; all in `currency`.

    `until` is the first day without data. `others` is {currency: amount} of what no rate converts.
    """

    currency: str
    since: date
    end: date
    until: date | None
    actual: Decimal
    forecast: Decimal | None
    low: Decimal | None
    high: Decimal | None
    others: dict[str, Decimal] = field(default_factory=dict)


def daily(
    project, since: date, until: date, *, measure: str = "EffectiveCost", target: str = "", cloud: str = ""
) -> dict[str, dict[date, Decimal]]:
    """{currency: {day: amount}} of a project, or of one target or cloud of it, from `since` to before
    `until`.
    """
    if measure not in ("EffectiveCost", "BilledCost"):
        raise ValueError(measure)
    # Corrections of a day may come with a later billing month's load, so its loads are not bounded by
    # `until`.
    loads = live_loads(project, since=since.replace(day=1) - timedelta(days=1))
    conditions, values = "", [loads, since, until]
    if target:
        conditions, values = " AND target = %s", [*values, target]
    if cloud:
        conditions, values = conditions + ' AND "ProviderName" = %s', [*values, cloud]
    found: dict[str, dict[date, Decimal]] = defaultdict(dict)
    with connection.cursor() as cursor:
        cursor.execute(
            f'SELECT "BillingCurrency", day, sum("{measure}") FROM costs_daily WHERE load_id = ANY(%s)'
            f" AND day >= %s AND day < %s{conditions} GROUP BY 1, 2",
            values,
        )
        for currency, day, amount in cursor.fetchall():
            found[currency][day] = amount
    return dict(found)


def clouds(project) -> list[str]:
    """ProviderNames of a project's records."""
    with connection.cursor() as cursor:
        cursor.execute(
            'SELECT DISTINCT "ProviderName" FROM costs_monthly WHERE load_id = ANY(%s) ORDER BY 1',
            [live_loads(project)],
        )
        return [row[0] for row in cursor.fetchall()]


def has_records(project) -> bool:
    """Whether anything was imported."""
    return CostLoad.objects.filter(source__project=project, live=True).exists()


def spend(
    project,
    since: date,
    end: date,
    today: date,
    *,
    currency: str,
    measure: str,
    target: str = "",
    cloud: str = "",
) -> Spend:
    """What was spent from `since` to before `end`, and the forecast to there, as of `today`."""
    converter = Converter(project, currency)
    from_day = min(since, today - timedelta(days=FORECAST_DAYS + UNSETTLED_DAYS + 1))
    by_currency = daily(project, from_day, end, measure=measure, target=target, cloud=cloud)
    converted: dict[date, Decimal] = defaultdict(Decimal)
    others: dict[str, Decimal] = defaultdict(Decimal)
    for other, days in by_currency.items():
        for day, amount in days.items():
            rate = converter.rate(other, day)
            if rate is not None:
                converted[day] += amount * rate
            elif day >= since:
                others[other] += amount
    actual = sum((amount for day, amount in converted.items() if since <= day), Decimal(0))
    last = max(converted, default=None)
    until = last + timedelta(days=1) if last else None
    forecast, low, high = _forecast(converted, since, end, min(today, until) if until else today, actual)
    return Spend(currency, since, end, until, actual, forecast, low, high, dict(others))


def _forecast(days: dict[date, Decimal], since: date, end: date, until: date, actual: Decimal):
    """(forecast, low, high): what is settled, and the mean day for all others, with two standard errors
    around.

    None without a week of data: a budget must not be alerted on for a guess.
    """
    settled = min(until - timedelta(days=UNSETTLED_DAYS), end)
    window = [days.get(settled - timedelta(days=back), Decimal(0)) for back in range(1, FORECAST_DAYS + 1)]
    while window and window[-1] == 0:
        window.pop()
    if until >= end + timedelta(days=UNSETTLED_DAYS):
        return actual, actual, actual
    if len(window) < 7:
        return None, None, None
    mean = sum(window) / len(window)
    spread = Decimal(math.sqrt(sum((one - mean) ** 2 for one in window) / (len(window) - 1)))
    left = (end - max(settled, since)).days
    known = sum((amount for day, amount in days.items() if since <= day < settled), Decimal(0))
    forecast = known + mean * left
    # Days vary by themselves, and the mean is only known as well as a window of days tells it.
    margin = 2 * spread * Decimal(math.sqrt(left + left**2 / len(window)))
    return max(forecast, actual), max(forecast - margin, actual), max(forecast + margin, actual)
