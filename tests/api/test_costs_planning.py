"""REST of estimates, budgets, recommendations and unit costs: shapes, and what is refused by which field."""

from datetime import timedelta

import pytest
from django.utils import timezone

from costs.models_planning import Recommendation
from costs.recommendations import recommendations_store
from tests.api.conftest import assert_problem
from tests.costs.billing import bill, record
from tests.costs.test_recommendations import example

pytestmark = pytest.mark.django_db
NODE = {"cpus": "4", "memory_gib": "16", "amount": "0.20", "currency": "EUR"}


def test_an_estimate_tells_where_each_price_is_from(operator, viewer):
    resources = [
        {"cloud": "aws", "region": "us-east-1", "kind": "node", "sku": "m6g.xlarge", "quantity": 3},
        {"cloud": "aws", "region": "xx-none-9", "kind": "disk", "sku": "gp3", "gib": "100"},
        {"cloud": "aws", "region": "us-east-1", "kind": "node", "sku": "m99.huge"},
        {
            "cloud": "kubernetes",
            "kind": "requests",
            "quantity": 3,
            "cpus": "0.5",
            "memory_gib": "1",
            "node": NODE,
        },
    ]
    answer = operator.post("costs/estimates", {"resources": resources, "name": "all"})
    assert answer.status_code == 201, answer.content
    body = answer.json()
    nodes, disk, unknown, pods = body["lines"]
    assert nodes["monthly"] == {"amount": "337.26", "currency": "USD"}
    assert nodes["unit_price"]["unit"] == "hour" and nodes["unit_price"]["origin"] == "list"
    assert nodes["unit_price"]["as_of"] == "2026-11-25" and nodes["unit_price"]["checked"] is True
    assert disk["unit_price"]["region"] == "us-east-1" and "none is known for xx-none-9" in disk["note"]
    assert unknown["monthly"] is None and "No price" in unknown["note"]
    # Half a CPU of four is an eighth of 0.20 EUR, 730 hours, three times.
    assert (
        pods["monthly"] == {"amount": "54.75", "currency": "EUR"} and pods["unit_price"]["origin"] == "given"
    )
    assert body["totals"] == [{"amount": "54.75", "currency": "EUR"}, {"amount": "345.26", "currency": "USD"}]
    shown = viewer.get(answer["Location"]).json()
    assert shown["variance"] == [] and shown["totals"] == body["totals"]
    for wrong, field in (
        ({"cloud": "aws", "kind": "node"}, "resources.0.sku"),
        ({"cloud": "moon", "kind": "node", "sku": "x"}, "resources.0.cloud"),
        ({"cloud": "aws", "kind": "requests", "cpus": 1}, "resources.0.cloud"),
        ({"cloud": "local", "kind": "requests"}, "resources.0.cpus"),
        ({"cloud": "aws", "kind": "node", "sku": "x", "quantity": -1}, "resources.0.quantity"),
    ):
        assert_problem(operator.post("costs/estimates", {"resources": [wrong]}), 422, field=field)
    assert_problem(operator.post("costs/estimates", {"resources": []}), 422, field="resources")


def test_a_budget_s_life(operator, admin, viewer, project):
    today = timezone.now().date()
    bill(project, [record(today - timedelta(days=back), 10) for back in range(0, 40)])
    channel = admin.post(
        "costs/alert-channels", {"name": "ops", "kind": "email", "recipients": ["a@example.org"]}
    )
    assert channel.json()["signing_key"] is None
    given = {"name": "all", "amount": "10000", "currency": "USD", "period": "year", "channels": ["ops"]}
    made = operator.post("costs/budgets", given)
    assert made.status_code == 201, made.content
    standing = made.json()["standing"]
    assert standing["state"] == "ok" and standing["data_until"] == (today + timedelta(days=1)).isoformat()
    assert set(standing["forecast"]) == {"amount", "low", "high", "currency"}
    assert_problem(operator.post("costs/budgets", given), 409, "name_taken", "name")
    assert_problem(operator.post("costs/budgets", given | {"name": "b", "channels": ["x"]}), 404)
    changed = operator.patch(
        "costs/budgets/all", {"amount": "50", "thresholds": [{"on": "actual", "percent": 90}]}
    )
    assert changed.json()["standing"]["state"] == "exceeded" and changed.json()["channels"] == ["ops"]
    assert_problem(operator.patch("costs/budgets/all", {"scope": "cloud"}), 422, field="scope")
    assert viewer.get("costs/budgets/all/alerts").json()["items"] == []
    assert operator.delete("costs/budgets/all").status_code == 204
    assert_problem(viewer.get("costs/budgets/all"), 404)


def test_recommendations_are_decided_on(operator, viewer, project):
    recommendations_store(
        project=project, found=[example("arm64", "i-1", "20"), example("spot", "i-1", "60")]
    )
    spot, arm = viewer.get("costs/recommendations").json()["items"]
    assert spot["savings"] == {"amount": "60.00", "currency": "USD"} and spot["superseded_by"] is None
    assert arm["superseded_by"] == spot["id"] and arm["implementation"]["steps"] == ["Do it."]
    assert len(viewer.get("costs/recommendations?counted=true").json()["items"]) == 1
    where = f"costs/recommendations/{arm['id']}"
    assert_problem(operator.post(f"{where}/dismiss", {}), 422, field="reason")
    assert operator.post(f"{where}/dismiss", {"reason": "No."}).json()["status"] == "dismissed"
    assert_problem(operator.post(f"{where}/snooze", {"days": 3}), 409, "already_decided")
    assert (
        viewer.get("costs/recommendations?status=dismissed&type=arm64").json()["items"][0]["reason"] == "No."
    )
    assert operator.post(f"{where}/reopen").json()["status"] == "open"
    taken = operator.post(f"costs/recommendations/{spot['id']}/accept").json()
    assert taken["status"] == "accepted" and taken["realised"] is None and taken["plan"] is None
    assert Recommendation.objects.get(pk=spot["id"]).decided_by == "key:key-operator"


def test_unit_costs_want_a_span(viewer, project, world):
    today = timezone.now().date()
    tags = {"aindusdb:target": world.target.name}
    bill(project, [record(today - timedelta(days=back), 10, Tags=tags) for back in range(1, 11)])
    body = viewer.get("costs/unit-costs").json()
    assert body["items"][0]["cost"] == {"amount": "100.00", "currency": "USD"}
    assert body["items"][0]["per_million_requests"] is None and body["items"][0]["basis"] == "attributed"
    assert_problem(viewer.get(f"costs/unit-costs?since={today}&until={today}"), 422, field="since")
    assert_problem(viewer.get("costs/unit-costs?by=moon"), 422, field="by")
