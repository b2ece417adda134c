"""Imports: every digit of every row, replaced as a whole, refused with line, column and reason."""

import json
import os
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection

from controlplane.models import Project
from costs.models import CostFilePart, CostImport, CostLoad, CostSource
from tests.api.conftest import Api, assert_problem, key_of, operator, viewer  # noqa: F401
from tests.costs.conftest import COSTS, as_csv, as_gzip, as_parquet, record, sums, told_sums
from worker import engine

ROWS = [
    *(record(number) for number in range(150)),
    *(record(number, provider="Azure", BillingCurrency="EUR") for number in range(30)),
    record(200, ChargeCategory="Credit", BilledCost=Decimal("-12.50")),
    record(201, ChargeClass="Correction", BilledCost=Decimal("-0.00000000001")),
    record(202, month="2026-12"),
]


def query(sql: str, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall()


def kept() -> dict:
    """Sums of what reports see."""
    names = ", ".join(f'sum("{cost}")::text' for cost in COSTS)
    rows = query(
        f'SELECT "ProviderName", "BillingCurrency", count(*), {names} FROM costs_record GROUP BY 1, 2'
    )
    return {
        (provider, currency): {"rows": count} | {c: Decimal(v) for c, v in zip(COSTS, costs, strict=True)}
        for provider, currency, count, *costs in rows
    }


@pytest.mark.django_db
@pytest.mark.parametrize("form", [as_csv, as_gzip, as_parquet])
def test_every_row_comes_in_and_a_second_import_changes_nothing(form, bring):
    for _ in range(2):
        made = bring({"bill": form(ROWS)})
        assert made.status == "succeeded", made.error
        assert made.rows == len(ROWS) and made.rejected == 0
        assert told_sums(made.totals) == sums(ROWS) == kept()
        rolled = query('SELECT sum("BilledCost"), sum(records) FROM costs_daily')
        assert rolled == query('SELECT sum("BilledCost"), count(*) FROM costs_record')
        assert rolled == query('SELECT sum("BilledCost"), sum(records) FROM costs_monthly')
    assert made.periods == [
        {"month": "2026-09", "rows": len(ROWS) - 1, "replaced_rows": len(ROWS) - 1},
        {"month": "2026-12", "rows": 1, "replaced_rows": 1},
    ]
    assert CostLoad.objects.filter(live=True).count() == CostLoad.objects.count() == 2
    assert not CostFilePart.objects.exists()
    # Nothing of a row is lost on the way.
    [(description, tags, extra, start, charge)] = query(
        'SELECT "ChargeDescription", "Tags", x_columns, "ChargePeriodStart"::text, "ChargeClass"'
        " FROM costs_record WHERE \"ProviderName\" = 'Azure' AND \"ResourceId\" = 'machine/1' LIMIT 1"
    )
    assert description == ROWS[1]["ChargeDescription"]
    assert json.loads(tags) == {"env": "prod", "team": 'zoé "a"'}
    assert json.loads(extra) == {"x_Own": ROWS[1]["x_Own"]}
    assert start.startswith("2026-09-02 11:00:00")
    assert charge is None
    categories = dict(query('SELECT "ChargeCategory", sum("BilledCost") FROM costs_daily GROUP BY 1'))
    assert categories["Credit"] == Decimal("-12.50")
    [(corrected,)] = query('SELECT sum("BilledCost") FROM costs_daily WHERE "ChargeClass" = \'Correction\'')
    assert corrected == Decimal("-0.00000000001")


@pytest.mark.django_db
def test_a_correction_of_one_month_leaves_the_others_alone(bring):
    bring({"bill": as_csv(ROWS)}, source="aws")
    bring({"other": as_csv(ROWS[:10])}, source="other")
    corrected = [record(number, BilledCost=Decimal("1.00")) for number in range(5)]
    bring({"bill": as_csv(corrected)}, source="aws")
    assert kept() == sums([*corrected, ROWS[-1], *ROWS[:10]])


@pytest.mark.django_db
def test_other_versions_of_focus(bring):
    newest = [
        {
            {"ProviderName": "ServiceProviderName", "PublisherName": "HostProviderName"}.get(
                name, name
            ): value
            for name, value in row.items()
            if name != "InvoiceIssuerName"
        }
        for row in ROWS[:20]
    ]
    made = bring({"v13": as_csv(newest)})
    assert made.status == "succeeded", made.error
    assert told_sums(made.totals) == sums(newest)
    assert query('SELECT DISTINCT "ProviderName", "InvoiceIssuerName" FROM costs_record') == [("AWS", "AWS")]


BROKEN = {
    5: {"BilledCost": "12,5"},
    9: {"ChargeCategory": "Usages"},
    11: {"BillingCurrency": "dollar", "ListCost": "NULL"},
    14: {"ChargePeriodStart": "yesterday"},
    16: {"Tags": "{env"},
}


@pytest.mark.django_db
@pytest.mark.parametrize("form", [as_csv, as_gzip])
def test_broken_rows_are_told_and_nothing_is_imported(form, bring):
    bring({"bill": as_csv(ROWS[:3])}, source="bill")
    before = kept()
    rows = [record(number, ChargeDescription="one line") for number in range(20)]
    for number, values in BROKEN.items():
        rows[number] |= values
    made = bring({"bill": form(rows)}, source="bill")
    assert made.status == "failed"
    assert "line 7, column BilledCost: '12,5' is not a number" in made.error
    # The header is line 1, and row 0 line 2.
    assert [(one["line"], one["column"]) for one in made.problems] == [
        (number + 2, column) for number, values in BROKEN.items() for column in values
    ]
    assert all(one["reason"] and one["file"] == "bill" for one in made.problems)
    assert made.rejected == len(BROKEN)
    assert kept() == before
    assert query("SELECT count(*) FROM pg_class WHERE relname LIKE 'costs\\_record\\_load\\_%%'") == [(1,)]
    # On request they are left out, and told all the same.
    made = bring({"bill": form(rows)}, source="bill", on_error="skip")
    assert made.status == "succeeded", made.error
    assert made.rejected == len(made.problems) - 1 == len(BROKEN)
    assert told_sums(made.totals) == sums([row for place, row in enumerate(rows) if place not in BROKEN])


@pytest.mark.django_db
def test_lines_are_those_of_the_file(bring):
    """Rows of several lines, too few and too many fields, bytes that are no text."""
    lines = as_csv([record(number) for number in range(4)]).split(b"\n")
    # Each record takes two lines, because its description has a line feed.
    lines[3] = lines[3].replace(b"Inc.", b"Inc\xff")
    lines[5:7] = [b"1,2,3"]
    made = bring({"bill": b"\n".join(lines)})
    found = {(one["line"], one["reason"]) for one in made.problems}
    assert found == {(4, "is not UTF-8"), (6, f"has 3 fields, the header has {len(record(0))}")}, found


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"a,b\n1,2\n", "This is no FOCUS file"),
        (as_csv(ROWS[:3]).replace(b"ListCost", b"Lost", 1), "lacks ListCost"),
        (as_parquet(ROWS[:3])[:-200], "cannot be read"),
        (as_gzip(ROWS[:3])[:-100], "cannot be read"),
        (as_csv(ROWS[:1]).replace(b"BilledCost", b"ListCost", 1), "more than once"),
    ],
)
def test_files_that_cannot_be_read_are_refused(data, reason, bring):
    made = bring({"bill": data})
    assert made.status == "failed"
    assert reason in made.error, made.error
    assert not query("SELECT 1 FROM costs_record")


@pytest.mark.django_db
def test_by_rest(operator, viewer, project):  # noqa: F811
    data = as_gzip(ROWS)
    answer = operator.client.post(
        "/api/v1/costs/imports?name=Bill+09.csv.gz",
        data=data,
        content_type="application/gzip",
        headers=operator.headers,
    )
    assert answer.status_code == 202, answer.content
    operation = answer.json()
    engine.drain(seconds=30)
    shown = viewer.get(f"costs/imports/{operation['input']['import']}").json()
    assert (shown["status"], shown["source"]) == ("succeeded", "bill-09")
    assert told_sums(shown["totals"]) == sums(ROWS)
    assert shown["bytes"] == len(data)
    result = viewer.get(f"operations/{operation['id']}").json()["result"]
    assert result["rows"] == len(ROWS)
    assert [one["id"] for one in viewer.get("costs/imports?source=bill-09").json()["items"]] == [shown["id"]]
    post = {"path": "/api/v1/costs/imports", "headers": operator.headers}
    assert_problem(operator.client.post(**post, data=b"", content_type="text/csv"), 422, "empty_file")
    assert_problem(operator.client.post(**post, data=b"a\0b", content_type="text/csv"), 422, "unknown_format")
    assert_problem(operator.client.post(**post, data={"file": "x"}), 415)
    CostSource.objects.create(project=project, name="own", kind="s3", created_by="test")
    post["path"] += "?source=own"
    assert_problem(operator.client.post(**post, data=data, content_type="text/csv"), 409, "source_is_read")


@pytest.mark.django_db
def test_the_command_tells_rows_sums_and_problems(project, tmp_path, capsys):
    path = tmp_path / "Bill.csv"
    path.write_bytes(as_csv(ROWS))
    call_command("import_costs", str(path))
    out = capsys.readouterr().out
    for (provider, currency), told in sums(ROWS).items():
        line = next(line for line in out.splitlines() if line.startswith(f"{provider}: {told['rows']} rows"))
        assert f"in {currency} billed {told['BilledCost']}" in line
    path.write_bytes(as_csv([record(1, ListCost="x")]))
    with pytest.raises(CommandError, match="1 rows are broken"):
        call_command("import_costs", str(path))
    assert "Bill.csv:2 ListCost: 'x' is not a number" in capsys.readouterr().err
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("import_costs", str(tmp_path / "none.csv"))


@pytest.mark.django_db(transaction=True)
def test_a_killed_import_goes_on_and_counts_nothing_twice(tmp_path, emptied):
    """kill -9 between two batches; another process finishes the operation."""
    Project.objects.create(name="default")
    path = tmp_path / "bill.csv"
    row = record(1, ChargeDescription="x" * 700)
    lines = as_csv([row]).splitlines()
    count = 30_000
    path.write_bytes(b"\n".join([lines[0], *[lines[1]] * count]) + b"\n")
    environment = os.environ | {"DATABASE_URL": database_url()}
    command = [sys.executable, "-W", "ignore", str(Path(settings.BASE_DIR) / "manage.py"), "import_costs"]
    process = subprocess.Popen([*command, str(path)], env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not CostImport.objects.filter(rows__gt=0).exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    made = CostImport.objects.get()
    assert 0 < made.rows < count, "it was killed too late to show anything"
    assert not query("SELECT 1 FROM costs_record LIMIT 1")
    engine.drain(made.source.subject, seconds=60)
    made.refresh_from_db()
    assert (made.status, made.rows) == ("succeeded", count)
    assert query('SELECT count(*), sum("BilledCost") FROM costs_record') == [
        (count, count * row["BilledCost"])
    ]


def database_url() -> str:
    """The test database, for another process."""
    of = connection.settings_dict
    return f"postgresql://{of['USER']}@/{of['NAME']}?host={of['HOST']}&port={of['PORT']}"
