"""Pages of estimates, budgets, channels, recommendations: forms to rows, and what they say when something
is wrong.
"""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from costs.models_planning import AlertChannel, Budget, Estimate, NodePrice, Recommendation
from costs.recommendations import recommendations_store
from tests.costs.billing import bill, record
from tests.costs.test_recommendations import example
from tests.pages.conftest import make_target
from worker.models import Operation

pytestmark = pytest.mark.django_db


def test_an_estimate_is_priced_by_its_address_and_kept(project, signed_in):
    make_target(project, "search", port=9100)
    client = signed_in("operator")
    given = {"cloud": "aws", "region": "us-east-1", "sku.0": "node/m6g.xlarge", "quantity.0": "3"}
    page = client.get("/costs/estimates/", given).content.decode()
    assert "337.26 USD" in page and "looked up on that day" in page
    wrong = client.get("/costs/estimates/", given | {"quantity.0": "many"})
    assert wrong.status_code == 422 and "is not a number" in wrong.content.decode()
    kept = client.post("/costs/estimates/", given | {"keep_as": "nodes", "target": "search"}, follow=True)
    assert "no settled day since it was made" in kept.content.decode()
    estimate = Estimate.objects.get()
    assert (estimate.name, estimate.target.name) == ("nodes", "search")
    client.post(f"/costs/estimates/{estimate.pk}/delete/")
    assert not Estimate.objects.exists()


def test_a_node_price_makes_plans_of_this_machine_have_an_estimate(project, signed_in):
    make_target(project, "search", port=9100)
    client = signed_in("operator")
    given = {"provider": "local", "cpus": "4", "memory_gib": "16", "amount": "0.2", "currency": "eur"}
    client.post("/costs/prices/nodes/", given | {"cpus": "x"})
    assert not NodePrice.objects.exists()
    client.post("/costs/prices/nodes/", given)
    plan = client.post("/targets/search/change/", {"spec.replicas": "4"}, follow=True).content.decode()
    assert "Estimate a month" in plan and "+36.50 EUR" in plan
    summary = client.get("/new-target/summary/?name=x&provider=local&spec.replicas=1").content.decode()
    assert "18.25 EUR a month" in summary


def test_a_budget_from_form_to_standing(project, signed_in):
    today = timezone.now().date()
    bill(project, [record(today - timedelta(days=back), 10) for back in range(0, 40)])
    AlertChannel.objects.create(project=project, name="ops", kind="email", recipients=["a@example.org"])
    client = signed_in("operator")
    given = {
        "name": "all",
        "scope": "project",
        "amount": "1,200",
        "currency": "usd",
        "period": "year",
        "measure": "EffectiveCost",
        "actual": "50, 80 100%",
        "forecast": "",
        "channels": ["ops"],
    }
    wrong = client.post("/costs/budgets/new/", given | {"actual": "half"})
    assert wrong.status_code == 422 and "whole per cent" in wrong.content.decode()
    page = client.post("/costs/budgets/new/", given, follow=True).content.decode()
    made = Budget.objects.get()
    assert [one["percent"] for one in made.thresholds] == [50, 80, 100] and made.amount == 1200
    assert "1,200.00 USD" in page and "ops" in page
    listed = client.get("/costs/budgets/").content.decode()
    assert "all" in listed and "progress" in listed
    form = client.get(f"/costs/budgets/{made.pk}/change/").content.decode()
    assert 'value="50, 80, 100"' in form and "checked" in form
    client.post(f"/costs/budgets/{made.pk}/change/", given | {"amount": "5"})
    assert "Exceeded" in client.get(f"/costs/budgets/{made.pk}/").content.decode()
    assert signed_in("viewer").post(f"/costs/budgets/{made.pk}/delete/").status_code == 403
    client.post(f"/costs/budgets/{made.pk}/delete/")
    assert not Budget.objects.exists()


def test_a_webhook_s_key_is_shown_once_and_its_address_never(project, signed_in):
    client = signed_in("admin")
    given = {"name": "hook", "kind": "webhook", "url": "https://hooks.example.org/T/secret-path"}
    assert client.post("/costs/alert-channels/", given | {"url": "nonsense"}).status_code == 422
    made = client.post("/costs/alert-channels/", given).content.decode()
    channel = AlertChannel.objects.get()
    assert channel.secrets["signing_key"] in made
    page = client.get("/costs/alert-channels/").content.decode()
    assert channel.secrets["signing_key"] not in page and "secret-path" not in page
    client.post(f"/costs/alert-channels/{channel.pk}/test/")
    assert Operation.objects.get(kind="budget.alert").input["channel"] == channel.pk
    client.post(f"/costs/alert-channels/{channel.pk}/delete/")
    assert not AlertChannel.objects.exists()


def test_recommendations_are_decided_on_from_their_page(project, signed_in):
    found = [
        example("arm64", "i-1", "20"),
        example("spot", "i-1", "60"),
        example("right_size", "i-2", "9", refused="No."),
    ]
    recommendations_store(project=project, found=found)
    client = signed_in("operator")
    page = client.get("/costs/recommendations/").content.decode()
    assert "60.00 USD" in page and "another counts" in page and "Considered and refused" in page
    spot = Recommendation.objects.get(type="spot")
    where = f"/costs/recommendations/{spot.pk}/"
    assert "Do it." in client.get(where).content.decode()
    client.post(f"{where}decide/", {"do": "dismiss", "reason": ""})
    spot.refresh_from_db()
    assert spot.status == "open"
    client.post(f"{where}decide/", {"do": "snooze", "days": "7", "reason": "later"})
    assert "later" in client.get(where).content.decode()
    client.post(f"{where}decide/", {"do": "accept"})
    assert "after 3 settled days" in client.get(where).content.decode()
    client.post(f"{where}decide/", {"do": "reopen"})
    spot.refresh_from_db()
    assert spot.status == "open" and spot.amount == Decimal(60)
    assert signed_in("viewer").post(f"{where}decide/", {"do": "accept"}).status_code == 403
