"""Bills for tests: records in the tables where an import puts them, rolled up."""

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from django.db import connection
from psycopg.types.json import Jsonb

from costs.models import CostImport, CostLoad, CostSource
from costs.records import load_name, load_table_attach, load_table_create
from costs.rollups import roll_up
from worker import engine
from worker.models import FINISHED, Operation


def record(day: date, cost, **columns) -> dict:
    """A record of one day in FOCUS's columns: usage of an EC2 machine in us-east-1, unless said otherwise."""
    amount = Decimal(str(cost))
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    month = start.replace(day=1)
    following = (month + timedelta(days=32)).replace(day=1)
    return {
        "BilledCost": amount,
        "EffectiveCost": amount,
        "ListCost": amount,
        "ContractedCost": amount,
        "BillingAccountId": "1",
        "BillingCurrency": "USD",
        "BillingPeriodStart": month,
        "BillingPeriodEnd": following,
        "ChargePeriodStart": start,
        "ChargePeriodEnd": start + timedelta(days=1),
        "ChargeCategory": "Usage",
        "ChargeDescription": "Usage",
        "InvoiceIssuerName": "AWS",
        "ProviderName": "AWS",
        "PublisherName": "AWS",
        "PricingCategory": "Standard",
        "RegionId": "us-east-1",
        "ServiceCategory": "Compute",
        "ServiceName": "Amazon Elastic Compute Cloud",
        "ResourceId": "i-1",
    } | columns


def bill(project, records: list[dict], source: str = "bill") -> None:
    """Make records live as one source's, one load a month."""
    made = CostSource.objects.create(project=project, name=source, kind="upload", created_by="test")
    imported = CostImport.objects.create(source=made, status="succeeded", created_by="test")
    months = defaultdict(list)
    for one in records:
        months[one["BillingPeriodStart"].date()].append(one)
    for month, rows in months.items():
        load = CostLoad.objects.create(
            source=made, cost_import=imported, billing_period=month, live=True, rows=len(rows)
        )
        load_table_create(load)
        _insert(load, rows)
        load_table_attach(load)
        roll_up(load)


def _insert(load: CostLoad, rows: list[dict]) -> None:
    with connection.cursor() as cursor:
        for row in rows:
            values = {name: Jsonb(value) if isinstance(value, dict) else value for name, value in row.items()}
            names = ", ".join(f'"{name}"' for name in values)
            marks = ", ".join(["%s"] * (len(values) + 2))
            cursor.execute(
                f"INSERT INTO {load_name(load.pk)} (load_id, billing_period, {names}) VALUES ({marks})",
                [load.pk, load.billing_period, *values.values()],
            )


def run(operation: Operation, steps: int = 50) -> Operation:
    """Run an operation's steps, each as soon as the last one ended, whatever pause it asked for."""
    for _ in range(steps):
        Operation.objects.filter(pk=operation.pk).update(run_after=engine.database_now())
        engine.advance(operation.pk)
        operation.refresh_from_db()
        if operation.status in FINISHED:
            return operation
    raise AssertionError(f"{operation} does not end: {operation.waiting_for}")
