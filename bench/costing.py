"""Costs: how fast records come in, and how fast reports are: bench/costs [--rows N] [--keep]

Generates records of 13 months and three clouds as Parquet files, one for each cloud and month. Each cloud's
files are imported (stored, judged, copied, summed, published) in turn with a plain COPY of the same rows and
columns, ready as text, into a table without an index. Then every report is asked for several times.

Uses the server of DATABASE_URL, where it may create databases, or else one that it starts and removes.
"""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

from bench.speed.machine import Postgres, child
from bench.speed.report import Report, machine_line
from controlplane import embedded

ROOT = Path(__file__).resolve().parent.parent
CLOUDS = ("AWS", "Microsoft Azure", "Google Cloud")
MONTHS = 13
FIRST = date(2025, 11, 1)
REPEATS = 7
# Of each cloud; each is of one service, in one region and account.
RESOURCES = 150
SERVICES = (
    *(("Compute", "Virtual Machines"), ("Compute", "Kubernetes"), ("Databases", "PostgreSQL")),
    *(("Databases", "Redis"), ("Storage", "Object Storage"), ("Storage", "Disks")),
    *(("Networking", "Load Balancing"), ("Networking", "NAT"), ("Networking", "Data Transfer")),
    *(("Security", "Keys"), ("Management and Governance", "Monitoring"), ("Integration", "Queues")),
)


def month_later(day: date, months: int) -> date:
    number = day.year * 12 + day.month - 1 + months
    return date(number // 12, number % 12 + 1, 1)


def generated(cloud: str, month: date, count: int) -> pa.Table:
    """Records of a cloud's month, the same each time: hourly charges of RESOURCES resources."""
    rng = np.random.default_rng(month.toordinal() * 7 + CLOUDS.index(cloud))
    begin = np.datetime64(month, "us")
    hours = int((month_later(month, 1) - month).days) * 24
    start = begin + rng.integers(0, hours, count) * np.timedelta64(1, "h")
    resource = rng.integers(0, RESOURCES, count)
    service, region, account = resource % len(SERVICES), resource % 5, resource % 7
    # Millionths, as clouds bill them.
    units = rng.lognormal(9, 2, count).astype(np.int64) + 1

    def money(share: int) -> pa.Array:
        return pa.array(units * share // 100).cast(pa.decimal128(19, 0)).cast(pa.decimal128(30, 9))

    def of(texts, places) -> pa.Array:
        return pa.DictionaryArray.from_arrays(pa.array(places.astype(np.int32)), pa.array(texts)).cast(
            pa.string()
        )

    def same(text) -> pa.Array:
        return pa.array([text]).take(pa.array(np.zeros(count, np.int32)))

    def at(day: date) -> pa.Array:
        return pa.array(np.full(count, np.datetime64(day, "us")), pa.timestamp("us", "UTC"))

    teams = [
        json.dumps({"env": env, "team": team, "aindusdb-target": f"{env}-{team}"})
        for env in ("prod", "test")
        for team in ("search", "ads", "web")
    ]
    return pa.table(
        {
            "BilledCost": money(100),
            "BillingAccountId": same("1234567890"),
            "BillingAccountName": same("Example"),
            "BillingCurrency": same("EUR" if cloud.startswith("Micro") else "USD"),
            "BillingPeriodStart": at(month),
            "BillingPeriodEnd": at(month_later(month, 1)),
            "ChargeCategory": of(["Usage", "Credit", "Tax"], (rng.random(count) > 0.99).astype(int)),
            "ChargeClass": of(["", "Correction"], (rng.random(count) > 0.995).astype(int)),
            "ChargeDescription": of([f"{name}, by the hour" for _, name in SERVICES], service),
            "ChargeFrequency": same("Usage-Based"),
            "ChargePeriodStart": pa.array(start, pa.timestamp("us", "UTC")),
            "ChargePeriodEnd": pa.array(start + np.timedelta64(1, "h"), pa.timestamp("us", "UTC")),
            "ConsumedQuantity": pa.array(rng.random(count).round(6)),
            "ConsumedUnit": same("Hours"),
            "ContractedCost": money(92),
            "EffectiveCost": money(85),
            "InvoiceIssuerName": same(cloud),
            "ListCost": money(110),
            "ListUnitPrice": pa.array(rng.random(count).round(4)),
            "PricingCategory": same("Standard"),
            "PricingQuantity": pa.array(rng.random(count).round(6)),
            "PricingUnit": same("Hours"),
            "ProviderName": same(cloud),
            "PublisherName": same(cloud),
            "RegionId": of([f"region-{number}" for number in range(5)], region),
            "RegionName": of([f"Region {number}" for number in range(5)], region),
            "ResourceId": of([f"resource/{number:08x}" for number in range(RESOURCES)], resource),
            "ResourceName": of([f"machine-{number}" for number in range(RESOURCES)], resource),
            "ResourceType": of([name for _, name in SERVICES], service),
            "ServiceCategory": of([category for category, _ in SERVICES], service),
            "ServiceName": of([name for _, name in SERVICES], service),
            "SkuId": of([f"SKU{number}" for number in range(300)], rng.integers(0, 300, count)),
            "SubAccountId": of([f"account-{number}" for number in range(7)], account),
            "SubAccountName": of([f"Account {number}" for number in range(7)], account),
            "Tags": of(teams, resource % len(teams)),
        }
    )


def prepared(folder: Path, rows: int) -> dict[str, list[Path]]:
    """Parquet files by cloud, as a cloud's export writes them: one a month, in groups of 250,000 rows."""
    files: dict[str, list[Path]] = {}
    share = rows // (len(CLOUDS) * MONTHS)
    for cloud in CLOUDS:
        for number in range(MONTHS):
            month = month_later(FIRST, number)
            path = folder / f"{CLOUDS.index(cloud)}-{month:%Y-%m}.parquet"
            pq.write_table(generated(cloud, month, share), path, compression="snappy", row_group_size=250_000)
            files.setdefault(cloud, []).append(path)
    return files


def as_text(paths: list[Path], folder: Path) -> tuple[Path, list[str]]:
    """The rows of files as the text that COPY reads, and its columns: what an import sends to PostgreSQL."""
    from costs.focus.judging import Mapping, judge
    from costs.loading import as_csv

    target = folder / "plain.csv"
    columns: list[str] = []
    with target.open("wb") as out:
        for path in paths:
            for batch in pq.ParquetFile(path).iter_batches(50_000):
                table = pa.Table.from_batches([batch])
                table = judge(table, Mapping(table.column_names), int).table
                table = table.append_column("load_id", pa.array([0] * len(table), pa.int64()))
                table = table.select(
                    [n for n in table.column_names if table.column(n).null_count < len(table)]
                )
                columns = columns or table.column_names
                for piece in as_csv(table.select(columns)):
                    out.write(piece)
    return target, columns


def plain_copy(url: str, text: Path, columns: list[str]) -> float:
    """Seconds that a plain COPY takes into an empty table of the same columns."""
    from costs.records import quoted

    with psycopg.connect(url, autocommit=True) as db:
        db.execute("DROP TABLE IF EXISTS plain_record")
        db.execute("CREATE TABLE plain_record (LIKE costs_record)")
        began = time.perf_counter()
        with (
            text.open("rb") as source,
            db.cursor().copy(f"COPY plain_record ({quoted(columns)}) FROM STDIN (FORMAT csv)") as copy,
        ):
            while piece := source.read(2**20):
                copy.write(piece)
        seconds = time.perf_counter() - began
        db.execute("DROP TABLE plain_record")
    return seconds


def imported(project, paths: list[Path], source: str) -> float:
    """Seconds from the first byte read to the records that reports see."""
    from costs.imports import cost_import_receive
    from worker import engine

    began = time.perf_counter()
    streams = [path.open("rb") for path in paths]
    made, operation = cost_import_receive(
        project=project,
        files=[(path.name, stream.read) for path, stream in zip(paths, streams, strict=True)],
        source=source,
        created_by="bench",
    )
    engine.drain(made.source.subject, seconds=3600)
    seconds = time.perf_counter() - began
    for stream in streams:
        stream.close()
    operation.refresh_from_db()
    if operation.status != "succeeded":
        raise RuntimeError(operation.error)
    return seconds


def asked(call) -> tuple[float, float]:
    """(median, slowest) milliseconds of several calls."""
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        call()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times), max(times)


def measure_imports(said: Report, url: str, project, files: dict[str, list[Path]], folder: Path) -> None:
    said.section("Import from Parquet beside a plain COPY of the same columns, in turn")
    rows, rates, ratios = [], [], []
    for cloud, paths in files.items():
        count = sum(pq.ParquetFile(path).metadata.num_rows for path in paths)
        text, columns = as_text(paths, folder)
        before = plain_copy(url, text, columns)
        ours = imported(project, paths, cloud.lower().replace(" ", "-"))
        after = plain_copy(url, text, columns)
        text.unlink()
        plain = statistics.mean((before, after))
        rates.append((count, ours))
        ratios.append(plain / ours)
        rows.append([cloud, count, count / ours, count / plain, plain / ours])
    said.table(["cloud", "rows", "import rows/s", "plain rows/s", "ratio"], rows)
    total = sum(count for count, _ in rates)
    said.target(
        "rows a second imported", total / sum(seconds for _, seconds in rates), least=50_000, unit=" rows/s"
    )
    said.target("import beside a plain COPY, median of the clouds", statistics.median(ratios), least=0.4)


def measure_reports(said: Report, project) -> None:
    from costs import forecasts, reports
    from costs.reports import Query

    last = month_later(FIRST, MONTHS - 1)
    end = month_later(last, 1)
    three = month_later(last, -2)

    def query(since=FIRST, **values):
        return Query(since, end, **values)

    calls = {
        "13 months by cloud and month": lambda: reports.rows(project, query(group=("cloud",), step="month")),
        "3 months by cloud and month": lambda: reports.rows(
            project, query(three, group=("cloud",), step="month")
        ),
        "13 months by service, region and month": lambda: reports.rows(
            project, query(group=("service", "region"), step="month")
        ),
        "13 months by cloud and day": lambda: reports.rows(project, query(group=("cloud",), step="day")),
        "13 months by cloud and week": lambda: reports.rows(project, query(group=("cloud",), step="week")),
        "13 months by target": lambda: reports.rows(project, query(group=("target",))),
        "13 months by tag and month": lambda: reports.rows(project, query(group=("tag:team",), step="month")),
        "one month by service and day, one cloud": lambda: reports.rows(
            project, query(last, group=("service",), step="day", filters={"cloud": ("AWS",)})
        ),
        "one month beside the one before, by service": lambda: reports.compared(
            project, query(last, group=("cloud", "service"))
        ),
        "forecast of the month": lambda: forecasts.month_forecast(project, last),
        "anomalies of 30 days": lambda: forecasts.anomalies(project, last, end),
    }
    said.section("Reports")
    found = {name: asked(call) for name, call in calls.items()}
    said.table(["report", "median ms", "slowest ms"], [[name, *times] for name, times in found.items()])
    said.target("slowest report, median", max(median for median, _ in found.values()), most=300, unit=" ms")
    long, short = list(found.values())[:2]
    said.target("13 months beside 3, a monthly view", long[0] / short[0], most=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--rows", type=int, default=1_000_000, help="Records, over 13 months and three clouds."
    )
    parser.add_argument("--keep", action="store_true", help="Keep the result in bench/results.")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="aindus-bench-costs-"))
    os.environ["AINDUS_DATA_DIR"] = str(folder / "data")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings")
    said = Report()
    said.say(
        f"bench/costs, {options.rows:,} records of {MONTHS} months, {len(CLOUDS)} clouds,"
        f" {RESOURCES} resources each"
    )
    said.say(machine_line())
    try:
        with (
            redis(embedded.Layout(folder / "data")) as os.environ["REDIS_URL"],
            Postgres(os.environ.get("DATABASE_URL")) as server,
            server.database("costs") as url,
        ):
            os.environ["DATABASE_URL"] = url
            measure(said, url, folder, options.rows)
        said.summary()
        if options.keep:
            said.keep(ROOT / "bench" / "results", "costs")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def redis(layout: embedded.Layout):
    """The URL of a Redis of its own, which workers are rung through."""
    embedded.prepare(layout)
    command, arguments = embedded.redis_command(layout)
    with child(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **arguments):
        yield layout.redis_url


def measure(said: Report, url: str, folder: Path, rows: int) -> None:
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connections

    from controlplane.models import Project

    call_command("migrate", verbosity=0)
    project = Project.objects.create(name="bench")
    files = prepared(folder, rows)
    said.say(
        f"{sum(path.stat().st_size for of in files.values() for path in of) / 2**20:,.0f} MiB of Parquet"
    )
    measure_imports(said, url, project, files, folder)
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("VACUUM ANALYZE costs_daily, costs_monthly, costs_tag")
        sizes = db.execute(
            "SELECT (SELECT count(*) FROM costs_daily), (SELECT count(*) FROM costs_monthly),"
            " (SELECT count(*) FROM costs_tag)"
        ).fetchone()
    said.say("\nrows of roll-ups: daily {:,}, monthly {:,}, by tag {:,}".format(*sizes))
    measure_reports(said, project)
    connections.close_all()


if __name__ == "__main__":
    main()
