"""Reports over costs: sums by what records have in common and by time, from the roll-ups alone.

An amount always has a currency. Rows of several currencies stand beside one another, unless a report is asked
for in one: then each day's amount is converted by the rate of that day, and what no rate converts stays.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal

from django.db import connection

from controlplane.errors import InvalidError
from costs.focus.columns import COSTS
from costs.rates import Converter
from costs.records import BRIEF, live_loads

COST_OF = {
    "effective": "EffectiveCost",
    "billed": "BilledCost",
    "list": "ListCost",
    "contracted": "ContractedCost",
}
# What reports group and filter by, and the column of it.
GROUPS = {
    "cloud": "ProviderName",
    "service": "ServiceName",
    "service_category": "ServiceCategory",
    "region": "RegionId",
    "account": "SubAccountId",
    "charge_category": "ChargeCategory",
    "charge_class": "ChargeClass",
    "currency": "BillingCurrency",
    "target": "target",
    "collection": "collection",
    "namespace": "namespace",
}
STEPS = ("day", "week", "month")
# The columns that rows by tag do not have.
NOT_BY_TAG = ("region", "account", "service_category")
MOST_DAYS = 1100


@dataclass(frozen=True)
class Query:
    """What a report is about: charges from day `since` to before day `until`.

    `cost` is one of COST_OF. `group` are names of GROUPS, or `tag:KEY` (one at most). `filters` is {name:
    values}, by the same names; an empty text is what has no such value. `step` is a name of STEPS, or None
    for the whole span at once. `currency` converts.
    """

    since: date
    until: date
    cost: str = "effective"
    group: tuple[str, ...] = ()
    filters: dict[str, tuple[str, ...]] = field(default_factory=dict)
    step: str | None = None
    currency: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.group, *self.filters)

    @property
    def tag(self) -> str | None:
        """The key of the tag that it groups or filters by."""
        keys = {name.removeprefix("tag:") for name in self.names if name.startswith("tag:")}
        return next(iter(keys)) if keys else None


@dataclass(frozen=True)
class Row:
    """One sum: the group's values by name, the first day of the step, and the amount in a currency."""

    keys: dict[str, str]
    day: date | None
    currency: str
    amount: Decimal
    records: int = 0


def check(query: Query) -> None:
    """InvalidError for what no report can be made of."""
    if query.since >= query.until:
        raise InvalidError("The span is empty: `since` is before `until`.", field="since")
    if (query.until - query.since).days > MOST_DAYS:
        raise InvalidError(f"A report spans {MOST_DAYS} days at most.", field="since")
    if query.cost not in COST_OF:
        raise InvalidError(f"The cost is one of {', '.join(COST_OF)}.", field="cost")
    for name in query.names:
        if name not in GROUPS and not (name.startswith("tag:") and len(name) > 4):
            raise InvalidError(f"{name[:60]!r} is not one of {', '.join(GROUPS)} or tag:KEY.", field="group")
    tags = {name for name in query.names if name.startswith("tag:")}
    if len(tags) > 1:
        raise InvalidError("A report is by one tag at most.", field="group")
    if tags and (beside := [name for name in query.names if name in NOT_BY_TAG]):
        raise InvalidError(f"What is by tag cannot also be by {beside[0]}.", field="group")


def rows(project, query: Query) -> list[Row]:
    """The sums of a query, by day and then by amount, the largest first; InvalidError."""
    check(query)
    loads = live_loads(project)
    if not loads:
        return []
    found = _summed(query, loads, _step_of(query))
    if query.currency:
        found = _converted(project, found, query)
    return sorted(found, key=lambda row: (row.day or query.since, -row.amount, tuple(row.keys.values())))


def _step_of(query: Query) -> str | None:
    # Rates are of days: what is converted is read by day.
    return "day" if query.currency else query.step


def _summed(query: Query, loads: list[int], step: str | None) -> list[Row]:
    tag = query.tag
    if tag is None:
        return _read(_table_of(query, step), query, loads, step)
    return _summed_by_tag(f"tag:{tag}", query, loads, step)


def _summed_by_tag(name: str, query: Query, loads: list[int], step: str | None) -> list[Row]:
    """Sums by a tag's value; under an empty text what has no such tag: what the tagged lack of all."""
    others = tuple(one for one in query.group if one != name)
    filters = {one: values for one, values in query.filters.items() if one != name}
    plain = replace(query, group=others, filters=filters)
    tagged = _read("costs_tag", replace(plain, group=(*others, name)), loads, step)
    rest = {
        (*row.keys.values(), row.day, row.currency): row
        for row in _read(_table_of(plain, step), plain, loads, step)
    }
    for row in tagged:
        key = (*(row.keys[one] for one in others), row.day, row.currency)
        left = rest[key]
        rest[key] = replace(left, amount=left.amount - row.amount, records=left.records - row.records)
    tagged += [replace(row, keys={**row.keys, name: ""}) for row in rest.values() if row.records]
    if name in query.filters:
        tagged = [row for row in tagged if row.keys[name] in query.filters[name]]
    if name in query.group:
        return [replace(row, keys={one: row.keys[one] for one in query.group}) for row in tagged]
    return _added(replace(row, keys={one: row.keys[one] for one in others}) for row in tagged)


def _added(found: Iterable[Row]) -> list[Row]:
    """Rows of the same group, day and currency as one."""
    sums: dict = {}
    for row in found:
        key = (*row.keys.values(), row.day, row.currency)
        known = sums.get(key)
        if known:
            row = replace(row, amount=known.amount + row.amount, records=known.records + row.records)
        sums[key] = row
    return list(sums.values())


def _read(table: str, query: Query, loads: list[int], step: str | None) -> list[Row]:
    columns = {name: "value" if name.startswith("tag:") else f'"{GROUPS[name]}"' for name in query.names}
    grouped = [columns[name] for name in query.group]
    when = {None: "NULL::date", "day": "day"}.get(step, f"date_trunc('{step}', day)::date")
    conditions = ["load_id = ANY(%(loads)s)", "day >= %(since)s", "day < %(until)s"]
    parameters: dict = {"loads": loads, "since": query.since, "until": query.until}
    if query.tag is not None:
        conditions.append("key = %(tag)s")
        parameters["tag"] = query.tag
    for number, (name, values) in enumerate(query.filters.items()):
        conditions.append(f"{columns[name]} = ANY(%(filter{number})s)")
        parameters[f"filter{number}"] = list(values)
    selected = ", ".join([*grouped, when, '"BillingCurrency"'])
    places = ", ".join(str(one) for one in range(1, len(grouped) + 3))
    with connection.cursor() as cursor:
        cursor.execute(
            f'SELECT {selected}, sum("{COST_OF[query.cost]}"), sum(records)::bigint FROM {table}'
            f" WHERE {' AND '.join(conditions)} GROUP BY {places}",
            parameters,
        )
        return [
            Row(dict(zip(query.group, keys, strict=True)), day, currency, amount, count)
            for *keys, day, currency, amount, count in cursor.fetchall()
        ]


def _table_of(query: Query, step: str | None) -> str:
    """The smallest roll-up that has what a query asks for."""
    whole_months = query.since.day == 1 and query.until.day == 1
    grain = "monthly" if whole_months and step in (None, "month") else "daily"
    brief = all(GROUPS[name] in BRIEF for name in query.names)
    return f"costs_brief_{grain}" if brief else f"costs_{grain}"


def _converted(project, found: list[Row], query: Query) -> list[Row]:
    converter = Converter(project, query.currency)
    result = []
    for row in found:
        rate = converter.rate(row.currency, row.day)
        day = step_start(row.day, query.step)
        if rate is None:
            result.append(replace(row, day=day))
        else:
            result.append(replace(row, day=day, currency=query.currency, amount=row.amount * rate))
    return _added(result)


def step_start(day: date, step: str | None) -> date | None:
    """The first day of the step that a day lies in; weeks begin on Monday."""
    if step is None:
        return None
    if step == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if step == "month" else day


def total(project, query: Query) -> dict[str, Decimal]:
    """{currency: amount} of a query as a whole."""
    return {row.currency: row.amount for row in rows(project, replace(query, group=(), step=None))}


def before(query: Query) -> Query:
    """The same over the span before: the months before for whole months, else as many days before."""
    if query.since.day == 1 and query.until.day == 1:
        months = (query.until.year - query.since.year) * 12 + query.until.month - query.since.month
        return replace(query, since=months_later(query.since, -months), until=query.since)
    return replace(query, since=query.since - (query.until - query.since), until=query.since)


def months_later(day: date, months: int) -> date:
    """The first day of the month that comes so many months after a day's."""
    number = day.year * 12 + day.month - 1 + months
    return date(number // 12, number % 12 + 1, 1)


@dataclass(frozen=True)
class Compared:
    """A group's amount beside that of the span before; `change` is a share of 1, None of nothing."""

    keys: dict[str, str]
    currency: str
    amount: Decimal
    before: Decimal

    @property
    def difference(self) -> Decimal:
        return self.amount - self.before

    @property
    def change(self) -> float | None:
        return float(self.difference / abs(self.before)) if self.before else None


def compared(project, query: Query) -> list[Compared]:
    """Each group's amount beside the span before, largest first; groups that are gone are there too."""
    query = replace(query, step=None)
    now = {(*row.keys.values(), row.currency): row for row in rows(project, query)}
    then = {(*row.keys.values(), row.currency): row for row in rows(project, before(query))}
    found = []
    for key in {**now, **then}:
        row = now.get(key) or then[key]
        amount = now[key].amount if key in now else Decimal(0)
        found.append(
            Compared(row.keys, row.currency, amount, then[key].amount if key in then else Decimal(0))
        )
    return sorted(found, key=lambda one: (-max(one.amount, one.before), tuple(one.keys.values())))


def four_costs(project, since: date, until: date) -> list[dict]:
    """What each cloud cost in a span, in all four ways: [{cloud, currency, records, BilledCost, ...}]."""
    loads = live_loads(project)
    sums = ", ".join(f'sum("{name}")' for name in COSTS)
    table = _table_of(Query(since, until), None)
    with connection.cursor() as cursor:
        cursor.execute(
            f'SELECT "ProviderName", "BillingCurrency", sum(records)::bigint, {sums} FROM {table}'
            " WHERE load_id = ANY(%s) AND day >= %s AND day < %s GROUP BY 1, 2 ORDER BY 1, 2",
            [loads, since, until],
        )
        found = cursor.fetchall()
    return [
        {"cloud": cloud, "currency": currency, "records": count} | dict(zip(COSTS, costs, strict=True))
        for cloud, currency, count, *costs in found
    ]


def newest_day(project) -> date | None:
    """The last day of which there are charges; None without any."""
    loads = live_loads(project)
    with connection.cursor() as cursor:
        cursor.execute("SELECT max(day) FROM costs_brief_daily WHERE load_id = ANY(%s)", [loads])
        return cursor.fetchone()[0]


def values_of(project, name: str, since: date, until: date) -> list[str]:
    """What there is of a group in a span, for people to choose from."""
    return sorted(
        {row.keys[name] for row in rows(project, Query(since, until, group=(name,))) if row.keys[name]}
    )


def tag_keys(project) -> list[str]:
    """The keys of tags that records have."""
    with connection.cursor() as cursor:
        # A loose scan would cost more than the roll-up is long.
        cursor.execute(
            "SELECT DISTINCT key FROM costs_tag WHERE load_id = ANY(%s) ORDER BY 1", [live_loads(project)]
        )
        return [key for (key,) in cursor.fetchall()]
