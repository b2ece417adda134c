"""What was spent in a period, and what will have been by its end: from the roll-up by day, in one currency.

Amounts of other currencies are converted by the project's dated rates alone; what no rate tells of is given
apart and never added.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal

from django.db import connection

from costs.forecasts import DAYS_USED, LEAST_DAYS, period_forecast
from costs.models import CostLoad
from costs.records import live_loads
from costs.reports import COST_OF, Query

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
    """What was spent from `since` to before `end`, and the forecast to there, as of `today`.

    The forecast is that of the reports; with less than a week of days there is none, so that nobody is
    alerted for a guess.
    """
    query = Query(
        since,
        end,
        cost=next(name for name, column in COST_OF.items() if column == measure),
        filters={name: (value,) for name, value in (("target", target), ("cloud", cloud)) if value},
        currency=currency,
    )
    by_currency = {one.currency: one for one in period_forecast(project, since, end, query)}
    own = by_currency.pop(currency, None)
    known = _known_days(project, since - timedelta(days=DAYS_USED), end, today, measure, target, cloud)
    until = max(known) + timedelta(days=1) if known else None
    sure = own is not None and len(known) >= LEAST_DAYS
    return Spend(
        currency,
        since,
        end,
        until,
        own.so_far if own else Decimal(0),
        own.amount if sure else None,
        own.low if sure else None,
        own.high if sure else None,
        {other: one.so_far for other, one in by_currency.items()},
    )


def _known_days(
    project, since: date, end: date, today: date, measure: str, target: str, cloud: str
) -> set[date]:
    by_currency = daily(
        project, since, min(end, today + timedelta(days=1)), measure=measure, target=target, cloud=cloud
    )
    return {day for days in by_currency.values() for day in days}
