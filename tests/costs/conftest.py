"""FOCUS files of our own making, and what is known of them without the product's code."""

import csv
import gzip
import io
import random
from collections import defaultdict
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from controlplane.models import Project
from deployments.models import Target
from tests.costs.receivers import http_receiver, smtp_receiver

COSTS = ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost")
SERVICES = (
    ("Compute", "Virtual Machines"),
    ("Databases", "Managed PostgreSQL"),
    ("Storage", "Object Storage"),
)


def record(number: int, *, month: str = "2026-09", provider: str = "AWS", **values) -> dict:
    """A row of FOCUS 1.0 by its number; the same number gives the same row."""
    rng = random.Random(number)
    category, service = SERVICES[number % 3]
    billed = Decimal(rng.randrange(1, 10**9)).scaleb(-rng.randrange(2, 12))
    day = 1 + number % 28
    year, of_year = map(int, month.split("-"))
    following = f"{year + of_year // 12}-{of_year % 12 + 1:02}"
    return {
        "BilledCost": billed,
        "BillingAccountId": "123",
        "BillingAccountName": "Example, Inc.",
        "BillingCurrency": "USD",
        "BillingPeriodEnd": f"{following}-01 00:00:00",
        "BillingPeriodStart": f"{month}-01 00:00:00",
        "ChargeCategory": "Usage",
        "ChargeClass": "NULL",
        "ChargeDescription": 'Hours of "large" machines,\nby the second',
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodEnd": f"{month}-{day:02}T12:00:00Z",
        "ChargePeriodStart": f"{month}-{day:02}T11:00:00Z",
        "ContractedCost": billed * Decimal("0.9"),
        "EffectiveCost": billed * Decimal("0.85"),
        "InvoiceIssuerName": f"{provider} Sales",
        "ListCost": billed * Decimal("1.1"),
        "PricingQuantity": "1",
        "PricingUnit": "Hours",
        "ProviderName": provider,
        "PublisherName": provider,
        "RegionId": f"region-{number % 2}",
        "ResourceId": f"machine/{number % 10}",
        "ServiceCategory": category,
        "ServiceName": service,
        "SubAccountId": "sub-1",
        "Tags": '{"env": "prod", "team": "zoé \\"a\\""}' if number % 2 else "NULL",
        "x_Own": 'é, \\ and "quotes"',
    } | values


def sums(rows) -> dict:
    """{(provider, currency): {cost: Decimal, rows: count}} of rows as dictionaries."""
    found = defaultdict(lambda: dict.fromkeys(COSTS, Decimal(0)) | {"rows": 0})
    for row in rows:
        entry = found[row.get("ProviderName") or row["ServiceProviderName"], row["BillingCurrency"]]
        entry["rows"] += 1
        for cost in COSTS:
            entry[cost] += Decimal(str(row[cost]))
    return dict(found)


def told_sums(totals) -> dict:
    """The same of the totals that an import tells."""
    return {
        (one["provider"], one["currency"]): {cost: Decimal(one[cost]) for cost in COSTS}
        | {"rows": one["rows"]}
        for one in totals
    }


def as_csv(rows) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_gzip(rows) -> bytes:
    return gzip.compress(as_csv(rows), 1)


def as_parquet(rows) -> bytes:
    """Costs as decimals, times as timestamps, tags as a map: as clouds write them."""
    import json
    from datetime import UTC, datetime

    columns = {name: [row[name] for row in rows] for name in rows[0]}
    arrays = {}
    for name, values in columns.items():
        values = [None if value == "NULL" else value for value in values]
        if name in COSTS:
            arrays[name] = pa.array([Decimal(str(value)) for value in values], pa.decimal128(38, 15))
        elif name.endswith(("PeriodStart", "PeriodEnd")):
            times = [datetime.fromisoformat(value).replace(tzinfo=UTC) for value in values]
            arrays[name] = pa.array(times, pa.timestamp("us", "UTC"))
        elif name == "Tags":
            pairs = [None if value is None else list(json.loads(value).items()) for value in values]
            arrays[name] = pa.array(pairs, pa.map_(pa.string(), pa.string()))
        else:
            arrays[name] = pa.array(values, pa.string())
    sink = io.BytesIO()
    pq.write_table(pa.table(arrays), sink, row_group_size=70)
    return sink.getvalue()


@pytest.fixture
def project(db):
    return Project.objects.create(name="default")


@pytest.fixture
def emptied(transactional_db):
    """For tests that commit: the tables of records, which the test runner does not know, are dropped."""
    from costs import records
    from costs.models import CostLoad

    yield
    for load in CostLoad.objects.all():
        if load.live:
            records.load_table_detach(load)
        records.load_drop(load.pk)


@pytest.fixture
def bring(project):
    """Import files as they are given, {name: bytes}, to the end; the import."""
    from costs.imports import cost_import_receive
    from worker import engine

    def bring(files: dict[str, bytes], **options):
        made, _ = cost_import_receive(
            project=project,
            files=[(name, io.BytesIO(data).read) for name, data in files.items()],
            created_by="test",
            **options,
        )
        engine.drain(made.source.subject, seconds=30)
        made.refresh_from_db()
        return made

    return bring


@pytest.fixture
def target(project):
    return Target.objects.create(
        project=project,
        name="search",
        provider="local",
        region="local",
        spec={"replicas": 2},
        status="ready",
        created_by="test",
    )


@pytest.fixture
def inbox():
    with http_receiver() as made:
        yield made


@pytest.fixture
def mailbox():
    with smtp_receiver() as made:
        yield made
