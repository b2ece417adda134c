"""The first page of costs: this month against the last and its forecast, by cloud and what is below it."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from urllib.parse import urlencode

from django.shortcuts import render
from django.utils import timezone

from controlplane.errors import ProblemError
from controlplane.pages.access import page
from costs import forecasts, reports
from costs.naming import named, resolved
from costs.reports import COST_OF, Query

RANGES = [("month", "This month"), ("last", "Last month"), ("quarter", "3 months"), ("year", "13 months")]
# What a row leads to: the next group below it.
BELOW = {"cloud": "service", "service": "region", "region": "account", "target": "collection"}
LABELS = {
    "cloud": "Cloud",
    "service": "Service",
    "service_category": "Kind of service",
    "region": "Region",
    "account": "Account",
    "target": "Target",
    "collection": "Collection",
    "namespace": "Namespace",
    "charge_category": "Kind of charge",
}
NOTHING = {"target": "Not attributed", "collection": "Not attributed", "namespace": "Not attributed"}
SERIES_SHOWN = 4
ROWS_SHOWN = 100


@dataclass
class Line:
    """A row of the table: what it is, where it leads, and its amounts."""

    label: str
    url: str
    compared: reports.Compared
    share: float


def span_of(name: str, today: date) -> tuple[date, date, str]:
    """(since, until, step) of a range by its name."""
    month = today.replace(day=1)
    if name == "last":
        return reports.months_later(month, -1), month, "day"
    if name == "quarter":
        return reports.months_later(month, -2), reports.months_later(month, 1), "day"
    if name == "year":
        return reports.months_later(month, -12), reports.months_later(month, 1), "month"
    return month, reports.months_later(month, 1), "day"


def comparable(query: Query, newest: date | None) -> Query:
    """A span that is not over, cut after its newest day: what is compared with it is as long."""
    if newest is None or not query.since <= newest < query.until - timedelta(days=1):
        return query
    return Query(**{**vars(query), "until": newest + timedelta(days=1)})


def before_of(query: Query, whole: Query) -> Query:
    """As many days of the span before: the same days of the months before when it begins a month."""
    if query.until == whole.until:
        return reports.before(query)
    months = (whole.until.year - whole.since.year) * 12 + whole.until.month - whole.since.month
    since = reports.months_later(query.since, -months)
    return Query(
        **{**vars(query), "since": since, "until": min(query.since, since + (query.until - query.since))}
    )


@page("cost.read")
def overview(request):
    """By range, cost and currency; drills down by whatever the address filters by."""
    today = timezone.now().date()
    newest = reports.newest_day(request.project)
    given = request.GET
    base = {
        "section": "costs",
        "tab": "overview",
        "ranges": [(name, label, _address(given, range=name)) for name, label in RANGES],
    }
    if newest is None:
        return render(request, "costs/overview.html", base | {"empty": True})
    # Where bills are old the newest one is what there is to see.
    anchor = newest if newest < today.replace(day=1) - timedelta(days=62) else today
    chosen = given.get("range", "month")
    chosen = chosen if chosen in dict(RANGES) else "month"
    since, until, step = span_of(chosen, anchor)
    cost = given.get("cost", "effective")
    by = given.get("by", "")
    filters = {name: (given[name],) for name in LABELS if name in given}
    by = by if by in LABELS or by.startswith("tag:") else _below(filters)
    currency = given.get("currency", "")
    problem = ""
    try:
        whole = resolved(
            request.project,
            Query(
                since,
                until,
                cost=cost if cost in COST_OF else "effective",
                filters=filters,
                currency=currency or None,
            ),
        )
        shown = comparable(whole, newest)
        context = _figures(request, whole, shown, by, step, chosen)
    except ProblemError as error:
        problem, context = error.detail, {}
    return render(
        request,
        "costs/overview.html",
        base
        | {
            "problem": problem,
            "range": chosen,
            "cost": cost,
            "costs": [
                ("effective", "Effective"),
                ("billed", "Billed"),
                ("list", "List"),
                ("contracted", "Contracted"),
            ],
            "by": by,
            "groups": [
                *LABELS.items(),
                *((f"tag:{key}", f"Tag {key}") for key in reports.tag_keys(request.project)[:20]),
            ],
            "by_label": LABELS.get(by, by),
            "currency": currency,
            "since": since,
            "until": until - timedelta(days=1),
            "newest": newest,
            "trail": [
                {
                    "name": name,
                    "raw": values[0],
                    "label": LABELS[name],
                    "value": (named_one(request.project, values[0]) if name == "target" else values[0])
                    or NOTHING.get(name, "None"),
                    "without": _address(given, drop=(name, "by")),
                }
                for name, values in filters.items()
            ],
            "addresses": {
                "report": urlencode(_report_parameters(given, since, until, by)),
                "month": f"{since:%Y-%m}",
                "last_month": f"{until - timedelta(days=1):%Y-%m}",
            },
        }
        | context,
    )


def named_one(project, value: str) -> str:
    """A target's name by id; the text itself when it is none."""
    return named(project, [reports.Row({"target": value}, None, "", Decimal(0))]).get(value, value)


def _report_parameters(given, since: date, until: date, by: str) -> dict:
    found = {"since": since, "until": until, "group": by, "cost": given.get("cost", "effective")}
    if given.get("currency"):
        found["currency"] = given["currency"]
    return found | {name: given[name] for name in LABELS if name in given}


def _below(filters: dict) -> str:
    name = "cloud"
    while name in filters and name in BELOW:
        name = BELOW[name]
    return name


def _address(given, drop=(), **values) -> str:
    kept = {name: value for name, value in given.items() if name not in (*drop, "cursor")}
    return f"?{urlencode(kept | values)}"


def _figures(request, whole: Query, shown: Query, by: str, step: str, chosen: str) -> dict:
    project = request.project
    table = Query(**{**vars(shown), "group": (by,)})
    then = {(row.keys[by], row.currency): row for row in reports.rows(project, before_of(table, whole))}
    now = {(row.keys[by], row.currency): row for row in reports.rows(project, table)}
    totals: dict[str, list[Decimal]] = {}
    compared = []
    for key in {**now, **then}:
        row = now.get(key) or then[key]
        amounts = [of[key].amount if key in of else Decimal(0) for of in (now, then)]
        total = totals.setdefault(row.currency, [Decimal(0), Decimal(0)])
        for place, amount in enumerate(amounts):
            total[place] += amount
        compared.append(reports.Compared(row.keys, row.currency, *amounts))
    compared.sort(key=lambda one: (one.currency, -one.amount))
    names = named(project, compared) if by == "target" else {}
    lines = [_line(request.GET, by, one, totals[one.currency][0], names) for one in compared[:ROWS_SHOWN]]
    forecast = {}
    if chosen == "month":
        forecast = {one.currency: one for one in forecasts.month_forecast(project, whole.since, whole)}
    tiles = [
        {
            "currency": currency,
            "compared": reports.Compared({}, currency, *amounts),
            "forecast": forecast.get(currency),
        }
        for currency, amounts in sorted(totals.items(), key=lambda one: -one[1][0])
    ]
    odd = forecasts.anomalies(project, shown.since, shown.until, shown)
    return {
        "tiles": tiles,
        "lines": lines,
        "more": max(0, len(compared) - ROWS_SHOWN),
        "drawn": _chart(project, shown, by, step),
        "anomalies": odd[:5],
        "anomalies_more": max(0, len(odd) - 5),
        "before_since": before_of(shown, whole).since,
        "before_until": before_of(shown, whole).until - timedelta(days=1),
        "unconverted": sorted(set(totals) - {whole.currency}) if whole.currency else [],
        "currencies": sorted(totals),
    }


def _line(given, by: str, one: reports.Compared, total: Decimal, names: dict) -> Line:
    value = one.keys[by]
    label = names.get(value, value) or NOTHING.get(by, "None")
    leads = by in BELOW or by in ("service_category", "charge_category")
    url = _address(given, drop=("by",), **{by: value}) if leads else ""
    share = float(one.amount / total) if total > 0 and one.amount > 0 else 0.0
    return Line(label, url, one, share)


def _chart(project, query: Query, by: str, step: str) -> dict:
    """Stacked areas for charts.js, a chart for each currency: the largest groups, and the others as one."""
    found = reports.rows(project, Query(**{**vars(query), "group": (by,), "step": step}))
    names = named(project, found) if by == "target" else {}
    days = _days(query, step)
    charts = []
    for currency in sorted({row.currency for row in found}):
        of = [row for row in found if row.currency == currency]
        sums: dict[str, Decimal] = {}
        for row in of:
            sums[row.keys[by]] = sums.get(row.keys[by], Decimal(0)) + row.amount
        largest = sorted(sums, key=lambda value: -sums[value])
        shown = largest if len(largest) <= SERIES_SHOWN + 1 else largest[:SERIES_SHOWN]
        series = {value: dict.fromkeys(days, 0.0) for value in shown}
        others = dict.fromkeys(days, 0.0)
        for row in of:
            into = series.get(row.keys[by], others)
            if row.day in into:
                into[row.day] += float(row.amount)
        drawn = [
            {"name": names.get(value, value) or NOTHING.get(by, "None"), "values": list(values.values())}
            for value, values in series.items()
        ]
        if len(shown) < len(largest):
            drawn.append({"name": f"{len(largest) - len(shown)} others", "values": list(others.values())})
        charts.append(
            {
                "key": currency,
                "title": f"{currency} by {LABELS.get(by, by).lower()}, {step} by {step}",
                "unit": "money",
                "currency": currency,
                "stacked": True,
                "series": drawn,
            }
        )
    # Noon, so that a day is the same day wherever it is looked at.
    times = [
        int(datetime.combine(day, time(12), tzinfo=timezone.get_current_timezone()).timestamp())
        for day in days
    ]
    return {"times": times, "annotations": [], "charts": charts}


def _days(query: Query, step: str) -> list[date]:
    days, day = [], reports.step_start(query.since, step)
    while day < query.until:
        days.append(day)
        day = reports.months_later(day, 1) if step == "month" else day + timedelta(days=1)
    return days
