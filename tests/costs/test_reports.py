"""Reports say what the records say: by every group, step and currency; forecast, anomalies, files."""

import csv
import io
import json
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pyarrow.parquet as pq
import pytest

from controlplane.models import Project
from controlplane.services import api_key_create
from costs import exports, forecasts, reports
from costs.focus.columns import COLUMNS, DECIMAL, JSON, TIME
from costs.imports import cost_import_receive
from costs.rates import exchange_rate_create
from costs.reports import Query
from deployments.models import Target
from tests.api.conftest import Api, assert_problem
from tests.costs.conftest import as_csv, record
from worker import engine

CLOUDS = (("AWS", "USD"), ("Azure", "EUR"), ("GCP", "USD"))
SINCE, UNTIL = date(2026, 6, 1), date(2026, 11, 1)
SPIKE = date(2026, 10, 14)
SERVICE_OF_SPIKE = "Object Storage"


def days(since: date, until: date):
    return [since + timedelta(days=number) for number in range((until - since).days)]


def charges(target: str) -> list[dict]:
    """Each cloud and service, each day: amounts that differ by few per cent; one day that differs by much."""
    rows, number = [], 0
    for day in days(SINCE, UNTIL):
        for cloud, currency in CLOUDS:
            for place in range(3):
                number += 1
                amount = Decimal(10 * (place + 1)) + Decimal(day.toordinal() * 7919 % 100).scaleb(-2)
                row = record(place, month=f"{day:%Y-%m}", provider=cloud, BillingCurrency=currency)
                if (cloud, day) == ("AWS", SPIKE) and row["ServiceName"] == SERVICE_OF_SPIKE:
                    amount *= 6
                tags = {"team": ("search", "ads", "")[number % 3]}
                if cloud == "GCP":
                    tags["aindusdb-target"] = target
                rows.append(
                    row
                    | {
                        "ChargePeriodStart": f"{day}T00:00:00Z",
                        "ChargePeriodEnd": f"{day}T23:00:00Z",
                        "Tags": json.dumps({key: value for key, value in tags.items() if value}),
                        "EffectiveCost": amount,
                        "BilledCost": amount * Decimal("1.25"),
                    }
                )
    rows[0] |= {"ChargeCategory": "Credit", "EffectiveCost": Decimal("-3.5")}
    rows[1] |= {"ChargeClass": "Correction", "EffectiveCost": Decimal("-0.00000000000001")}
    return rows


@pytest.fixture(scope="module")
def bill(django_db_setup, django_db_blocker):
    """(project, rows): imported once for all tests here, and taken away after them."""
    from django.db import transaction

    with django_db_blocker.unblock(), transaction.atomic():
        project = Project.objects.create(name="default")
        target = Target.objects.create(
            project=project, name="search", provider="local", region="here", spec={}, created_by="test"
        )
        rows = charges(target.name)
        made, _ = cost_import_receive(
            project=project, files=[("bill", io.BytesIO(as_csv(rows)).read)], created_by="test"
        )
        engine.drain(made.source.subject, seconds=60)
        made.refresh_from_db()
        assert made.status == "succeeded", made.error
        yield project, rows, target
        transaction.set_rollback(True)


pytestmark = pytest.mark.django_db


def expected(rows, *columns, step=None, cost="EffectiveCost", where=lambda row: True) -> dict:
    """{(values of columns or functions, step's day, currency): sum}, computed here."""
    found = defaultdict(Decimal)
    for row in rows:
        if where(row):
            keys = [one(row) if callable(one) else row[one].replace("NULL", "") for one in columns]
            day = date.fromisoformat(row["ChargePeriodStart"][:10])
            if step == "week":
                day -= timedelta(days=day.weekday())
            elif step == "month":
                day = day.replace(day=1)
            found[(*keys, day if step else None, row["BillingCurrency"])] += Decimal(row[cost])
    return dict(found)


def told(found) -> dict:
    return {(*row.keys.values(), row.day, row.currency): row.amount for row in found}


def tag(key: str):
    return lambda row: json.loads(row["Tags"]).get(key, "")


@pytest.mark.parametrize("step", [None, "day", "week", "month"])
@pytest.mark.parametrize(
    ("group", "columns"),
    [
        ((), ()),
        (("cloud", "service", "region"), ("ProviderName", "ServiceName", "RegionId")),
        (("charge_category", "charge_class"), ("ChargeCategory", "ChargeClass")),
        (("tag:team", "cloud"), (tag("team"), "ProviderName")),
        (("tag:absent",), (tag("absent"),)),
    ],
)
def test_sums_are_those_of_the_records(bill, group, columns, step):
    project, rows, _ = bill
    for since, until in ((SINCE, UNTIL), (date(2026, 7, 9), date(2026, 9, 3))):
        within = [row for row in rows if str(since) <= row["ChargePeriodStart"] < str(until)]
        query = Query(since, until, group=group, step=step, cost="billed")
        assert told(reports.rows(project, query)) == expected(within, *columns, step=step, cost="BilledCost")


def test_filters(bill):
    project, rows, target = bill
    query = Query(SINCE, UNTIL, group=("service",), filters={"cloud": ("AWS", "GCP"), "tag:team": ("ads",)})
    found = told(reports.rows(project, query))
    assert found == expected(
        rows, "ServiceName", where=lambda row: row["ProviderName"] != "Azure" and tag("team")(row) == "ads"
    )
    untagged = Query(SINCE, UNTIL, filters={"tag:team": ("",)})
    assert told(reports.rows(project, untagged)) == expected(rows, where=lambda row: not tag("team")(row))
    by_target = told(reports.rows(project, Query(SINCE, UNTIL, group=("target",))))
    # What is attributed to nothing is shown as that.
    assert by_target == expected(
        rows, lambda row: target.pk if tag("aindusdb-target")(row) == "search" else ""
    )


def test_currencies_are_added_by_the_rates_of_their_days_alone(bill):
    project, rows, _ = bill
    for day, rate in ((date(2026, 6, 1), "1.10"), (date(2026, 8, 15), "1.20")):
        exchange_rate_create(
            project=project,
            date=day,
            from_currency="EUR",
            to_currency="USD",
            rate=Decimal(rate),
            created_by="test",
        )
    found = told(reports.rows(project, Query(SINCE, UNTIL, step="month", currency="USD")))
    sums = defaultdict(Decimal)
    for row in rows:
        day = date.fromisoformat(row["ChargePeriodStart"][:10])
        rate = Decimal("1.10") if day < date(2026, 8, 15) else Decimal("1.20")
        rate = rate if row["BillingCurrency"] == "EUR" else Decimal(1)
        sums[day.replace(day=1), "USD"] += row["EffectiveCost"] * rate
    assert found == sums
    # Nothing says what a euro was in yen: both stay what they are.
    unknown = told(reports.rows(project, Query(SINCE, UNTIL, currency="JPY")))
    assert unknown == expected(rows)


def test_compared_with_the_span_before(bill):
    project, rows, _ = bill
    months = {
        n: expected(rows, "ProviderName", where=lambda r, n=n: r["ChargePeriodStart"][5:7] == n)
        for n in ["09", "10"]
    }
    for one in reports.compared(project, Query(date(2026, 10, 1), UNTIL, group=("cloud",))):
        key = (one.keys["cloud"], None, one.currency)
        assert (one.before, one.amount) == (months["09"][key], months["10"][key])
        assert one.change == pytest.approx(float(one.difference / one.before))
    first = reports.compared(project, Query(SINCE, date(2026, 6, 8), group=("cloud",)))
    assert all(one.before == 0 and one.change is None for one in first)


def test_forecast_holds_what_the_month_became(bill):
    project, rows, _ = bill
    # A month whose days are all known is what it is.
    [dollars] = [one for one in forecasts.month_forecast(project, date(2026, 9, 1)) if one.currency == "USD"]
    september = expected(rows, where=lambda row: row["ChargePeriodStart"][5:7] == "09")[None, "USD"]
    assert dollars.amount == dollars.low == dollars.high == dollars.so_far == september
    # The month after the last record has no charges: there is nothing to tell of it.
    assert forecasts.month_forecast(project, date(2026, 12, 1)) == []


def test_forecast_of_a_month_half_known(bill):
    _, rows, _ = bill
    until = "2026-10-11"
    other = Project.objects.create(name="other")
    half = [row for row in rows if row["ChargePeriodStart"] < until]
    made, _ = cost_import_receive(
        project=other, files=[("half", io.BytesIO(as_csv(half)).read)], created_by="test"
    )
    engine.drain(made.source.subject, seconds=60)
    whole = {
        currency: sum(
            row["EffectiveCost"]
            for row in rows
            if row["BillingCurrency"] == currency
            and row["ChargePeriodStart"][5:7] == "10"
            and row["ChargePeriodStart"][:10] != str(SPIKE)
        )
        for currency in ("USD", "EUR")
    }
    found = {one.currency: one for one in forecasts.month_forecast(other, date(2026, 10, 1))}
    assert set(found) == {"USD", "EUR"}
    for currency, one in found.items():
        assert (one.days_known, one.days) == (10, 31)
        day = whole[currency] / (31 if currency == "EUR" else 30)
        assert one.so_far < one.low < one.amount < one.high
        assert abs(one.amount - day * 31) < 2 * day


def test_an_odd_day_is_told_with_the_service_that_made_it_odd(bill):
    project, *_ = bill
    [found] = forecasts.anomalies(project, SINCE, UNTIL)
    assert (found.day, found.cloud, found.currency) == (SPIKE, "AWS", "USD")
    assert [cause["service"] for cause in found.causes] == [SERVICE_OF_SPIKE]
    [cause] = found.causes
    assert cause["amount"] > 5 * cause["usual"] > 0
    assert found.difference == pytest.approx(cause["amount"] - cause["usual"], abs=Decimal(5))


def exported(project, format: str) -> bytes:
    return b"".join(exports.focus_chunks(project, SINCE, UNTIL, format))


def test_an_export_imports_as_what_it_was(bill):
    """FOCUS out, FOCUS in: the same sums, to the last digit."""
    project, rows, _ = bill
    for format in ("csv", "parquet"):
        other = Project.objects.create(name=f"again-{format}")
        made, _ = cost_import_receive(
            project=other, files=[("again", io.BytesIO(exported(project, format)).read)], created_by="test"
        )
        engine.drain(made.source.subject, seconds=60)
        made.refresh_from_db()
        assert made.status == "succeeded", made.error
        group = Query(SINCE, UNTIL, group=("cloud", "service", "tag:team", "charge_class"), step="day")
        assert told(reports.rows(other, group)) == told(reports.rows(project, group))
        assert made.rows == len(rows)


RULES = [
    *((column, "present") for column in COLUMNS),
    *((column, "not null") for column in COLUMNS if not column.nullable),
    *((column, "allowed") for column in COLUMNS if column.allowed),
    *((column, column.type) for column in COLUMNS if column.type in (DECIMAL, TIME, JSON)),
]


@pytest.fixture(scope="module")
def csv_export(bill, django_db_blocker):
    with django_db_blocker.unblock():
        return list(csv.DictReader(io.StringIO(exported(bill[0], "csv").decode(), newline="")))


@pytest.mark.parametrize(("column", "rule"), RULES, ids=lambda one: getattr(one, "name", one))
def test_rules_of_focus_hold_over_what_is_exported(csv_export, column, rule):
    assert column.name in csv_export[0]
    values = [row[column.name] for row in csv_export]
    present = [value for value in values if value]
    if rule == "not null":
        assert len(present) == len(values)
    elif rule == "allowed":
        assert set(present) <= set(column.allowed)
    elif rule == DECIMAL:
        assert all(Decimal(value).is_finite() for value in present)
    elif rule == TIME:
        assert all(datetime.strptime(value, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC) for value in present)
    elif rule == JSON:
        assert all(isinstance(json.loads(value), dict) for value in present)


def test_rules_of_focus_between_columns(csv_export):
    for row in csv_export:
        assert row["BillingPeriodStart"] < row["BillingPeriodEnd"]
        assert row["ChargePeriodStart"] < row["ChargePeriodEnd"]
        assert len(row["BillingCurrency"]) == 3 and row["BillingCurrency"].isupper()
        assert bool(row["PricingQuantity"]) == bool(row["PricingUnit"])
    names = list(csv_export[0])
    assert [name for name in names if name not in {column.name for column in COLUMNS}] == ["x_columns"]


def test_by_rest(bill):
    project, rows, target = bill
    _, text = api_key_create(project=project, name="reader", role="viewer", created_by="test")
    api = Api(text)
    span = f"since={SINCE}&until={UNTIL}"
    body = api.get(f"costs/report?{span}&group=target,cloud&target=search&step=month").json()
    found = {(row["day"], row["amount"]["currency"]): row["amount"]["amount"] for row in body["items"]}
    wanted = expected(rows, step="month", where=lambda row: row["ProviderName"] == "GCP")
    assert found == {(str(day), currency): f"{amount:f}" for (day, currency), amount in wanted.items()}
    assert body["names"] == {target.pk: "search"}
    assert body["totals"] == [{"amount": f"{sum(wanted.values()):f}", "currency": "USD"}]
    assert not body["more"]
    small = api.get(f"costs/report?{span}&group=service&step=day&limit=5").json()
    assert len(small["items"]) == 5 and small["more"]
    text = api.get(f"costs/report?{span}&group=service&format=csv")
    assert text["Content-Disposition"].startswith("attachment")
    lines = list(csv.DictReader(io.StringIO(text.content.decode())))
    assert {(line["service"], None, line["currency"]): Decimal(line["amount"]) for line in lines} == expected(
        rows, "ServiceName"
    )
    table = pq.read_table(io.BytesIO(api.get(f"costs/report?{span}&group=cloud&format=parquet").content))
    assert sum(table["amount"].to_pylist()) == sum(row["EffectiveCost"] for row in rows)
    compared = api.get("costs/comparison?since=2026-10-01&until=2026-11-01&group=service").json()
    assert compared["before_since"] == "2026-09-01" and len(compared["items"]) == 6
    assert {one["currency"] for one in api.get("costs/forecast?month=2026-09").json()["items"]} == {
        "USD",
        "EUR",
    }
    [odd] = api.get(f"costs/anomalies?{span}").json()["items"]
    assert odd["causes"][0]["service"] == SERVICE_OF_SPIKE
    records = api.get("costs/records?since=2026-06&until=2026-10")
    assert b"".join(records.streaming_content).count(b'"team"') == 0 or records["Content-Type"].startswith(
        "text/csv"
    )
    for wrong, field in (
        ("group=colour", "group"),
        ("since=2026-02-01&until=2026-01-01", "since"),
        ("group=tag:a,tag:b", "group"),
        ("group=tag:a,region", "group"),
        ("since=1990-01-01&until=2026-01-01", "since"),
        ("colour=red", "colour"),
    ):
        assert_problem(api.get(f"costs/report?{wrong}"), 422, field=field)
    assert_problem(api.get("costs/report?target=none"), 404)
