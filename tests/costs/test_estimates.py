"""Estimates: arithmetic by unit, presets, plans with their difference, and the bill afterwards."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from controlplane import ids
from costs.estimates import (
    as_money,
    compared,
    estimate_keep,
    estimate_make,
    node_price_set,
    plan_estimated,
)
from costs.estimates_math import price_lines, totals
from costs.estimates_presets import PRESETS, preset
from costs.models_planning import Estimate
from costs.prices import FoundPrice
from costs.variance import estimate_variance
from deployments.previews import target_preview
from deployments.providers.base import TargetSpec, provider_for
from deployments.services import target_plan
from tests.costs.billing import bill, record

pytestmark = pytest.mark.django_db
TODAY = date(2026, 11, 25)


def of(unit, amount="2", currency="USD"):
    def lookup(cloud, region, kind, sku, on):
        return FoundPrice(Decimal(amount), currency, unit, on, "test", "list", region)

    return lookup


def line(unit, **resource):
    resource = {"cloud": "aws", "region": "r", "kind": "node", "sku": "x"} | resource
    return price_lines([resource], TODAY, of(unit))[0].amount


def test_each_unit_counts_what_it_is_for():
    assert line("hour", quantity=3) == 2 * 3 * 730
    assert line("hour", quantity=3, hours=73) == 2 * 3 * 73
    assert line("gib_month", quantity=2, gib=10) == 2 * 2 * 10
    assert line("gib_month", gib=10, hours=365) == 2 * 10 / Decimal(2)
    assert line("gib_hour", gib="1.5") == 2 * Decimal("1.5") * 730
    assert line("month", quantity=4) == 8
    assert line("gib", gib=100) == 200
    assert line("million", millions=7) == 14


def test_currencies_are_never_added_and_what_has_no_price_is_told():
    resource = {"cloud": "aws", "region": "r", "kind": "node", "sku": "x"}
    lines = price_lines([resource], TODAY, of("hour")) + price_lines(
        [resource], TODAY, of("hour", "3", "EUR")
    )
    lines += price_lines([resource], TODAY, lambda *given: None)
    assert totals(lines) == {"USD": Decimal(1460), "EUR": Decimal(2190)}
    assert as_money(totals(lines)) == [
        {"amount": "2190.00", "currency": "EUR"},
        {"amount": "1460.00", "currency": "USD"},
    ]
    assert lines[2].amount is None and "No price of node x" in lines[2].note


def test_every_preset_can_be_priced_whole(project):
    for cloud, presets in PRESETS.items():
        monthly = {}
        for name in presets:
            region = {"aws": "us-east-1", "azure": "westeurope", "gcp": "asia-southeast1"}[cloud]
            lines, sums = estimate_make(project=project, resources=preset(cloud, name, region), on=TODAY)
            assert [line.note for line in lines if line.amount is None] == [], (cloud, name)
            monthly[name] = sums["USD"]
        assert monthly["small"] < monthly["standard"] < monthly["source"], monthly
    # The source's three db.r6g.2xlarge, worked out by hand.
    lines, _ = estimate_make(project=project, resources=preset("aws", "source", "us-east-1"), on=TODAY)
    assert (
        next(one.amount for one in lines if one.resource["kind"] == "database") == Decimal("1.038") * 3 * 730
    )


def test_a_plan_tells_what_it_would_cost_and_what_that_changes(project, target):
    plain = target_plan(target=target, spec={"replicas": 4}, created_by="test")
    assert plain.estimate == {}
    node_price_set(
        project=project,
        provider="local",
        target=None,
        cpus=Decimal(4),
        memory_gib=Decimal(16),
        amount=Decimal("0.2"),
        currency="EUR",
        set_by="test",
    )
    plan = target_plan(target=target, spec={"replicas": 4, "connection_limit": -1}, created_by="test")
    # Half a CPU of four is the larger share: 0.125 of a node at 0.2 an hour, 730 hours, 4 replicas for 2.
    assert plan.estimate["monthly"] == [{"amount": "73.00", "currency": "EUR"}]
    assert plan.estimate["before"] == [{"amount": "36.50", "currency": "EUR"}]
    assert plan.estimate["difference"] == [{"amount": "36.50", "currency": "EUR"}]
    assert plan.estimate["lines"][0]["difference"] == {"amount": "36.50", "currency": "EUR"}
    assert (plan.estimate["amount"], plan.estimate["currency"]) == ("73.00", "EUR")
    preview = target_preview(
        project=project, name="new", provider="local", region="local", spec={"replicas": 1}
    )
    assert preview.estimate["amount"] == "18.25"


def test_a_difference_of_what_cannot_be_priced_is_not_made_up():
    resource = {"cloud": "aws", "region": "r", "kind": "node", "sku": "x", "name": "Nodes"}
    known = price_lines([resource], TODAY, of("hour"))
    unknown = price_lines([{**resource, "sku": "y"}], TODAY, lambda *given: None)
    change = compared(known, unknown)["lines"][0]
    assert change["before"] == {"amount": "1460.00", "currency": "USD"}
    assert change["after"] is None and change["difference"] is None
    gone = compared(known, [])
    assert gone["difference"] == [{"amount": "-1460.00", "currency": "USD"}]


def test_an_estimate_is_held_against_its_target_s_bill(project, target):
    today = timezone.now().date()
    kept = estimate_keep(
        project=project,
        name="november",
        target=target,
        resources=[
            {"cloud": "aws", "region": "us-east-1", "kind": "node", "sku": "m6g.xlarge", "quantity": 1}
        ],
        created_by="test",
    )
    assert kept.totals == [{"amount": "112.42", "currency": "USD"}]
    assert estimate_variance(kept, today)[0]["billed"] is None
    Estimate.objects.filter(pk=kept.pk).update(created_at=timezone.now() - timedelta(days=12))
    kept.refresh_from_db()
    tags = {"aindusdb:target": target.pk}
    bill(project, [record(today - timedelta(days=back), "4", Tags=tags) for back in range(1, 12)])
    found = estimate_variance(kept, today)[0]
    # 4 a day is 4 * 730 / 24 a month; the last two days are not settled.
    assert found["days"] == 9
    assert found["billed"] == {"amount": "121.67", "currency": "USD"}
    assert found["difference"] == {"amount": "9.25", "currency": "USD"}
    assert found["percent"] == pytest.approx(8.2, abs=0.1)


def test_a_kubernetes_plan_prices_what_its_pods_ask_for(project):
    node_price_set(
        project=project,
        provider="kubernetes",
        target=None,
        cpus=Decimal(4),
        memory_gib=Decimal(16),
        amount=Decimal("0.16"),
        currency="USD",
        set_by="test",
    )
    spec = {
        "replicas": 3,
        "resources": {"cpu_request": "500m", "memory_request": "4Gi"},
        "database": {"cpu": "1", "memory": "2Gi", "instances": 2},
        "redis": {"memory_mib": 512},
    }
    wanted = TargetSpec(target_id=ids.new("tgt"), name="k", region="", spec=spec)
    found = plan_estimated(project=project, provider=provider_for("kubernetes"), wanted=wanted, current=None)
    after = {line["name"]: Decimal(line["after"]["amount"]) for line in found["lines"]}
    # 4 of 16 GiB is a quarter of a node, 1 of 4 CPUs too, half a GiB a thirty-second; 730 h at 0.16.
    assert after == {"Replicas": Decimal("87.60"), "Database": Decimal("58.40"), "Redis": Decimal("3.65")}
    assert found["monthly"] == [{"amount": "149.65", "currency": "USD"}] and found["before"] == []
