"""Sources: each is read, read again when it changed, mends what a kill left, and tells its variance."""

import io
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from django.conf import settings as django_settings
from django.db import connection

from costs import syncing
from costs.models import CostImport, CostLoad, CostSource
from costs.reports import months_later
from costs.sources.base import Stored, exported_months, month_of
from tests.api.conftest import Api, admin, assert_problem, key_of, operator  # noqa: F401
from tests.costs.conftest import as_csv, as_gzip, as_parquet, record, sums
from tests.costs.test_imports import database_url, kept
from tests.simulators.billing import BigQuery, CostManagement
from worker import engine
from worker.models import Operation

THIS = datetime.now(UTC).date().replace(day=1)
LAST, OLD = months_later(THIS, -1), months_later(THIS, -4)


def rows_of(month: date, count: int, provider: str = "AWS", **values) -> list[dict]:
    return [record(number, month=f"{month:%Y-%m}", provider=provider, **values) for number in range(count)]


def source_of(project, kind: str, config: dict, credentials: dict | None = None) -> CostSource:
    return syncing.cost_source_create(
        project=project, name="bill", kind=kind, config=config, credentials=credentials, created_by="test"
    )


def synced(source: CostSource) -> list[str]:
    """Read a source with its imports to the end; the months that were fetched."""
    operation = syncing.cost_source_sync(source=source, requested_by="test")
    engine.drain(source.subject, seconds=60)
    operation.refresh_from_db()
    assert operation.status == "succeeded", operation.error
    wrong = Operation.objects.filter(subject=source.subject).exclude(status="succeeded")
    assert not wrong, [one.error for one in wrong]
    source.refresh_from_db()
    return operation.result["months"]


@pytest.fixture(autouse=True)
def two_tries(settings):
    settings.OPERATION_ATTEMPTS = 2
    settings.COST_HISTORY_MONTHS = 6


@pytest.fixture
def aws(monkeypatch):
    """A client of moto's S3; Cost Explorer is moto's as well."""
    import boto3
    from moto import mock_aws

    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with mock_aws():
        yield boto3.client("s3", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")


AWS_KEYS = {"access_key_id": "a", "secret_access_key": "b"}


@pytest.mark.django_db
def test_s3(aws, project):
    s3 = aws
    s3.create_bucket(Bucket="bill")

    def put(month: date, part: int, data: bytes, kind: str = "parquet"):
        key = f"out/focus/data/BILLING_PERIOD={month:%Y-%m}/focus-{part:05}.snappy.{kind}"
        s3.put_object(Bucket="bill", Key=key, Body=data)

    s3.put_object(
        Bucket="bill", Key=f"out/focus/metadata/BILLING_PERIOD={LAST:%Y-%m}/Manifest.json", Body=b"{}"
    )
    old, last, this = rows_of(OLD, 20), rows_of(LAST, 60), rows_of(THIS, 10)
    put(OLD, 1, as_parquet(old))
    put(LAST, 1, as_parquet(last[:40]))
    put(LAST, 2, as_parquet(last[40:]))
    put(THIS, 1, as_gzip(this), "csv.gz")
    source = source_of(project, "s3", {"bucket": "bill", "prefix": "out/focus/"}, AWS_KEYS)
    assert synced(source) == [f"{month:%Y-%m}" for month in (OLD, LAST, THIS)]
    assert kept() == sums([*old, *last, *this])
    assert source.last_success_at and not source.last_error
    # Nothing changed: nothing is read again.
    assert synced(source) == []
    # Late corrections of the last month, and the open month grows.
    last = [
        *last[:50],
        record(999, month=f"{LAST:%Y-%m}", ChargeClass="Correction", BilledCost=Decimal("-2")),
    ]
    put(LAST, 2, as_parquet(last[40:]))
    this = rows_of(THIS, 15)
    put(THIS, 1, as_gzip(this), "csv.gz")
    assert synced(source) == [f"{month:%Y-%m}" for month in (LAST, THIS)]
    assert kept() == sums([*old, *last, *this])
    assert CostLoad.objects.count() == CostLoad.objects.filter(live=True).count() == 3
    # An export that goes wrong is told, and what is here stays.
    put(THIS, 1, as_csv(rows_of(LAST, 3)), "csv")
    syncing.cost_source_sync(source=source, requested_by="test")
    engine.drain(source.subject, seconds=60)
    source.refresh_from_db()
    assert f"billed in {LAST:%Y-%m}" in source.last_error
    assert kept() == sums([*old, *last, *this])


@pytest.mark.django_db
def test_what_s3_refuses_is_told(aws, project, settings):
    settings.OPERATION_ATTEMPTS = 1
    source = source_of(project, "s3", {"bucket": "none"}, AWS_KEYS)
    operation = syncing.cost_source_sync(source=source, requested_by="test")
    engine.drain(source.subject, seconds=30)
    operation.refresh_from_db()
    source.refresh_from_db()
    assert operation.status == "failed" and "NoSuchBucket" in operation.error
    assert source.last_error == operation.error
    assert not CostImport.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_killed_reading_goes_on(project, emptied, monkeypatch):
    """kill -9 between two months; another process finishes the reading and its imports, once each."""
    months = {f"{months_later(THIS, -back):%Y-%m}": None for back in range(5, -1, -1)}
    for month in months:
        months[month] = rows_of(date.fromisoformat(f"{month}-01"), 400)

    def results(sql: str, parameters: dict):
        if "month" in parameters:
            rows = months[parameters["month"]]
            return list(rows[0]), [[None if v == "NULL" else str(v) for v in row.values()] for row in rows]
        return ["month", "currency", "records", "billed"], [[m, "USD", "400", "1"] for m in months]

    with BigQuery(results) as server:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", server.url)
        source = source_of(project, "bigquery", {"project": "a", "table": "a.b.focus"})
        syncing.cost_source_sync(source=source, requested_by="test")
        code = (
            "import django; django.setup(); from worker import engine;"
            f"engine.drain({source.subject!r}, seconds=60)"
        )
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", code],
            env=os.environ
            | {"DATABASE_URL": database_url(), "DJANGO_SETTINGS_MODULE": "controlplane.settings"},
            cwd=django_settings.BASE_DIR,
        )
        deadline = time.monotonic() + 60
        while CostImport.objects.count() < 2:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert Operation.objects.filter(kind="cost.sync").get().status == "running"
        engine.drain(source.subject, seconds=60)
    assert not Operation.objects.exclude(status="succeeded")
    assert CostImport.objects.count() == len(months)
    assert kept() == sums([row for rows in months.values() for row in rows])


@pytest.mark.django_db
def test_cost_explorer(aws, project):
    from moto.ce.models import ce_backends

    amounts = {LAST: Decimal("12.3456789012"), THIS: Decimal("1.5")}

    def post(month: date, amount: Decimal, total: Decimal):
        def spent(value) -> dict:
            return {
                name: {"Amount": f"{value}", "Unit": "USD"} for name in ("UnblendedCost", "AmortizedCost")
            }

        span = {"Start": str(month), "End": str(date.fromordinal(month.toordinal() + 1))}
        groups = [
            {
                "Keys": [service, region],
                "Metrics": spent(amount) | {"UsageQuantity": {"Amount": "1", "Unit": "N/A"}},
            }
            for service, region in (("Amazon Simple Storage Service", "eu-west-1"), ("Tax", "NoRegion"))
        ]
        # The total is asked for first.
        return [
            {
                "ResultsByTime": [
                    {"TimePeriod": span, "Total": spent(total), "Groups": [], "Estimated": False}
                ]
            },
            {"ResultsByTime": [{"TimePeriod": span, "Total": {}, "Groups": groups, "Estimated": True}]},
        ]

    def expect(months: dict, total_of):
        totals, details = [], []
        for month in months:
            total, detail = post(month, months[month], total_of(months[month]))
            totals.append(total)
            details.append(detail)
        backend = ce_backends["123456789012"]["global"]
        backend.cost_usage_results.clear()
        backend.cost_usage_results_queue.extend([*totals, *details])

    source = source_of(project, "aws_cost_explorer", {"account_id": "42"}, AWS_KEYS)
    # Months without a load are asked for too: all of history the first time.
    empty = {months_later(THIS, -back): Decimal(0) for back in range(5, 1, -1)}
    expect(empty | amounts, lambda amount: 2 * amount)
    assert len(synced(source)) == 6
    months = {one["month"]: one for one in syncing.months_of(source)}
    for month, amount in amounts.items():
        assert months[f"{month:%Y-%m}"]["billed"] == 2 * amount
        assert months[f"{month:%Y-%m}"]["variance"] == 0
    # A late correction; the provider's total tells of more than its rows do.
    amounts[LAST] = Decimal("11")
    expect(amounts, lambda amount: 2 * amount + 1)
    assert synced(source) == [f"{LAST:%Y-%m}", f"{THIS:%Y-%m}"]
    months = {one["month"]: one for one in syncing.months_of(source)}
    assert months[f"{LAST:%Y-%m}"]["billed"] == 22
    assert months[f"{LAST:%Y-%m}"]["variance"] == -1


@pytest.mark.django_db
def test_cost_management(project, settings):
    with CostManagement() as azure:
        settings.COST_AZURE_MANAGEMENT_URL = azure.url
        azure.charges = [
            {
                "day": f"{month:%Y-%m}-{1 + number % 3:02}",
                "currency": "EUR",
                "service": f"Storage {number}",
                "region": "westeurope",
                "kind": "Usage",
                "actual": 0.1 + number,
                "amortized": 0.05 + number,
            }
            for month in (OLD, LAST, THIS)
            for number in range(60)
        ]
        source = source_of(project, "azure_cost_management", {"scope": "subscriptions/1", "account_id": "7"})
        assert len(synced(source)) == 6
        months = syncing.months_of(source)
        assert [one["billed"] for one in months] == [Decimal("1776.0")] * 3
        assert all(one["variance"] == 0 and one["rows"] == 60 for one in months)
        assert kept()["Microsoft", "EUR"]["EffectiveCost"] == Decimal("5319")
        azure.charges[60]["actual"] += 5
        azure.charges[0]["actual"] += 5
        before = len(azure.requests)
        # The last closed month is read again, one that closed long ago is not; a failure is tried again.
        azure.failures = [503]
        assert synced(source) == [f"{LAST:%Y-%m}", f"{THIS:%Y-%m}"]
        assert (
            f"{OLD:%Y-%m}"
            not in [one["month"] for one in syncing.months_of(source) if one["billed"] != 1776][1:]
        )
        assert {one["month"]: one["billed"] for one in syncing.months_of(source)} == {
            f"{THIS:%Y-%m}": 1776,
            f"{LAST:%Y-%m}": 1781,
            f"{OLD:%Y-%m}": 1776,
        }
        assert len(azure.requests) > before


@pytest.mark.django_db
def test_bigquery(project, monkeypatch):
    tables = {"a.b.focus": {}, "a.b.gcp": {}}

    def results(sql: str, parameters: dict):
        name = sql.partition("`")[2].partition("`")[0]
        months = tables[name]
        if "month" in parameters:
            rows = months[parameters["month"]]
            return list(rows[0]), [[None if v == "NULL" else str(v) for v in row.values()] for row in rows]
        cost = "BilledCost" if name.endswith("focus") else "cost"
        summary = [
            [
                month,
                "USD",
                str(len(rows)),
                str(sum(Decimal(row[cost]) + Decimal(row.get("credits", 0)) for row in rows)),
            ]
            for month, rows in months.items()
            if month >= parameters["since"]
        ]
        return ["month", "currency", "records", "billed"], summary

    with BigQuery(results) as server:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", server.url)
        focus = tables["a.b.focus"]
        for month in (OLD, LAST, THIS):
            focus[f"{month:%Y-%m}"] = rows_of(month, 90, provider="Google Cloud")
        source = source_of(project, "bigquery", {"project": "a", "table": "a.b.focus"})
        assert len(synced(source)) == 3
        assert kept() == sums([row for rows in focus.values() for row in rows])
        assert all(one["variance"] == 0 for one in syncing.months_of(source))
        assert synced(source) == []
        # A late correction of a month that closed long ago.
        focus[f"{OLD:%Y-%m}"].append(
            record(5, month=f"{OLD:%Y-%m}", provider="Google Cloud", ChargeClass="Correction")
        )
        assert synced(source) == [f"{OLD:%Y-%m}"]
        assert kept() == sums([row for rows in focus.values() for row in rows])
        syncing.cost_source_delete(source=source, requested_by="test")
        assert kept() == {}
        tables["a.b.gcp"][f"{LAST:%Y-%m}"] = [
            {
                "billing_account_id": "1",
                "project_id": "p",
                "project_name": "P",
                "service": "Compute Engine",
                "sku_id": "S",
                "sku": "Core",
                "region": "europe-west1",
                "day": f"{LAST}",
                "currency": "USD",
                "cost_type": kind,
                "unit": "hour",
                "labels": '[{"key":"aindusdb-target","value":"none"}]',
                "cost": "10.5",
                "credits": "-0.5",
                "quantity": "3",
            }
            for kind in ("regular", "tax")
        ]
        source = source_of(project, "gcp_billing_export", {"project": "a", "table": "a.b.gcp"})
        assert synced(source) == [f"{LAST:%Y-%m}"]
        [month] = syncing.months_of(source)
        assert (month["billed"], month["variance"]) == (20, 0)


def test_months_of_exports():
    assert month_of("x/data/BILLING_PERIOD=2026-09/f.parquet") == date(2026, 9, 1)
    assert month_of("out/export/20260901-20260930/run-1/part_0_0001.csv.gz") == date(2026, 9, 1)
    assert month_of("exports/2026/09/part.csv") == date(2026, 9, 1)
    assert month_of("exports/focus.csv") is None
    runs = [
        Stored(
            f"e/20260901-20260930/{run}/part_{part}.csv",
            f"{run}{part}",
            5,
            datetime(2026, 9, day, tzinfo=UTC),
        )
        for run, day in (("a", 3), ("b", 2))
        for part in (0, 1)
    ]
    [month] = exported_months(runs, date(2026, 1, 1), lambda one: io.BytesIO(b"").read)
    # Of two runs the newer one counts, whole.
    assert [file.name for file in month.files] == [one.key for one in runs[:2]]
    assert exported_months(runs, date(2026, 10, 1), lambda one: None) == []


@pytest.mark.django_db
def test_sources_by_rest(admin, operator, project):  # noqa: F811
    body = {
        "name": "aws",
        "kind": "s3",
        "config": {"bucket": "bill"},
        "credentials": {"secret_access_key": "hush", "access_key_id": "k"},
    }
    made = admin.post("costs/sources", body)
    assert made.status_code == 201 and "hush" not in made.content.decode()
    assert made.json()["has_credentials"]
    assert_problem(admin.post("costs/sources", body), 409, "name_taken")
    wrong = assert_problem(
        admin.post("costs/sources", body | {"name": "b", "credentials": {"secret_access_key": 5}}), 422
    )
    assert wrong["errors"][0]["field"] == "credentials.secret_access_key"
    assert_problem(admin.post("costs/sources", body | {"name": "b", "config": {}}), 422, field="config")
    changed = admin.patch("costs/sources/aws", {"enabled": False, "every_hours": 24}).json()
    assert (changed["enabled"], changed["every_hours"]) == (False, 24)
    assert syncing.sync_due() == []
    admin.patch("costs/sources/aws", {"enabled": True})
    [operation] = syncing.sync_due()
    assert operation.kind == "cost.sync"
    # It was just tried.
    assert syncing.sync_due() == []
    assert_problem(operator.post("costs/sources/aws/sync"), 409, "operation_in_progress")
    assert_problem(admin.delete("costs/sources/aws"), 409, "operation_in_progress")
    assert operator.get("costs/sources/aws/months").json() == {"newest_day": None, "items": []}
    with connection.cursor() as cursor:
        cursor.execute("SELECT credentials FROM costs_costsource")
        assert "hush" not in cursor.fetchone()[0]
