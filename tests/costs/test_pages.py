"""The pages of costs show what was imported, lead further down, and tell what is wrong."""

import json
import re
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.test import Client

from controlplane.models import Membership, Role, User
from tests.costs.conftest import as_csv, record

pytestmark = pytest.mark.django_db
MONTH = f"{datetime.now(UTC):%Y-%m}"


@pytest.fixture
def client(project) -> Client:
    user = User.objects.create(username="ada")
    Membership.objects.create(user=user, project=project, role=Role.ADMIN)
    made = Client()
    made.force_login(user)
    return made


def shown(client: Client, address: str, status: int = 200) -> str:
    answer = client.get(address)
    assert answer.status_code == status, answer.content[-400:]
    return answer.content.decode()


def test_overview_drills_down(client, bring):
    day = {"ChargePeriodStart": f"{MONTH}-01T00:00:00Z", "ChargePeriodEnd": f"{MONTH}-01T01:00:00Z"}
    rows = [record(number, month=MONTH, EffectiveCost=Decimal("100.25"), **day) for number in range(6)] + [
        record(7, month=MONTH, provider="Azure", BillingCurrency="EUR", EffectiveCost=Decimal("7"), **day)
    ]
    assert bring({"bill": as_csv(rows)}).status == "succeeded"
    text = shown(client, "/costs/")
    assert "601.50 USD" in text and "7.00 EUR" in text
    [drawn] = re.findall(r'<script id="chart-data"[^>]*>(.*?)</script>', text)
    charts = {chart["currency"]: chart for chart in json.loads(drawn)["charts"]}
    assert set(charts) == {"USD", "EUR"}
    assert sum(charts["USD"]["series"][0]["values"]) == 601.5
    assert 'href="?cloud=AWS"' in text
    below = shown(client, "/costs/?cloud=AWS")
    assert "Managed PostgreSQL" in below and "200.50 USD" in below and "7.00 EUR" not in below
    assert "team" in shown(client, "/costs/?by=tag:team")
    alone = shown(client, "/costs/?currency=USD")
    assert "Not everything is in USD" in alone
    wrong = shown(client, "/costs/?target=none")
    assert "There is no target" in wrong
    assert "Nothing was billed here" in shown(client, "/costs/?cloud=Nowhere")


def test_an_import_tells_its_broken_rows(client, bring):
    made = bring({"bill.csv": as_csv([record(1), record(2, ListCost="much")])})
    text = shown(client, f"/costs/imports/{made.pk}/")
    assert "ListCost" in text and "is not a number" in text and "Nothing was imported" in text
    assert made.pk in shown(client, "/costs/imports/?status=failed")
    assert "No import fits" in shown(client, "/costs/imports/?status=succeeded")


def test_a_source_shows_its_months_and_is_deleted_by_its_name(client, bring):
    made = bring({"bill.csv": as_csv([record(1), record(2)])}, source="own")
    address = f"/costs/sources/{made.source.pk}/"
    text = shown(client, address)
    assert "2026-09" in text and "not told" in text
    assert "own" in shown(client, "/costs/sources/")
    assert "2 records of 1 billing month " in shown(client, f"{address}delete/")
    assert client.post(f"{address}delete/", {"confirm": "no"}).status_code == 422
    assert client.post(f"{address}delete/", {"confirm": "own"}).status_code == 302
    assert "No costs yet" in shown(client, "/costs/")
    answer = client.post("/costs/sources/new/", {"kind": "s3", "name": "x", "every_hours": "0"})
    assert answer.status_code == 422 and "1 to 168" in answer.content.decode()
