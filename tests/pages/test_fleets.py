"""Pages of fleets: forms keep what was typed, dialogs start what they say, reports tell how it went."""

from datetime import timedelta

import pytest
from django.utils import timezone

from deployments.fleets.models import Fleet, FleetMove, FleetRollout
from tests.pages.conftest import make_target
from worker.models import Operation

pytestmark = pytest.mark.django_db


def test_a_fleet_is_made_and_changed(signed_in, project, seeded):
    make_target(project, "second", port=9300)
    client = signed_in("operator")
    data = {"name": "Bad Name", "target": ["second", "", "search"], "role": ["secondary", "", ""]}
    refused = client.post("/new-fleet/", data)
    text = refused.content.decode()
    assert refused.status_code == 422 and 'value="Bad Name"' in text and "lower-case letters" in text
    assert '<option value="second" selected>' in text
    made = client.post("/new-fleet/", data | {"name": "earth"})
    assert made["Location"] == "/fleets/earth/"
    fleet = Fleet.objects.get(name="earth")
    assert [(m.target.name, m.role) for m in fleet.members.all()] == [
        ("second", "secondary"),
        ("search", "primary"),
    ]
    twice = client.post("/fleets/earth/edit/", {"name": "earth", "target": ["search"] * 2, "role": ["", ""]})
    assert twice.status_code == 422 and b"named twice" in twice.content
    client.post("/fleets/earth/edit/", {"name": "moon", "target": ["search"], "role": ["tertiary"]})
    assert [(m.target.name, m.role) for m in fleet.members.all()] == [("search", "tertiary")]
    assert b"search" in client.get("/fleets/moon/").content
    assert client.post("/fleets/moon/delete/")["Location"] == "/fleets/"
    assert not Fleet.objects.filter(name="moon").exists()
    assert b"Keep it" in client.get("/fleets/world/delete/").content


def test_a_rollout_is_started_from_the_dialog(signed_in, seeded):
    client = signed_in("operator")
    FleetRollout.objects.update(status="cancelled", finished_at=timezone.now())
    busy = client.post("/fleets/world/roll-out/", {"release": seeded.release.pk})
    assert busy.status_code == 422 and b"wait for it to end" in busy.content
    for field, value, told in (
        ("max_parallel", "0", b"from 1 to 100"),
        ("max_failures", "many", b"from 0 to 100"),
        ("release", "rel_gone", b"no such release"),
        ("on_failure", "panic", b"is not one of"),
        ("strategy", "brave", b"is not a strategy"),
    ):
        answer = client.post("/fleets/world/roll-out/", {"release": seeded.release.pk, field: value})
        assert answer.status_code == 422 and told in answer.content, field
    FleetRollout.objects.get().delete()
    Operation.objects.filter(kind="fleet.rollout").update(status="cancelled", finished_at=timezone.now())
    data = {
        "release": "new",
        "image": "aindusdb/api:0.1.0",
        "env_name": "A",
        "env_value": "2",
        "canary": "search",
        "max_parallel": "3",
        "max_failures": "1",
        "on_failure": "roll_back",
        "pause_after": "canary",
        "strategy": "canary",
        "weights": "20, 100",
        "pause_seconds": "5",
        "error_percent": "2",
    }
    begun = client.post("/fleets/world/roll-out/", data)
    rollout = FleetRollout.objects.get()
    assert begun["Location"] == f"/fleet-rollouts/{rollout.pk}/"
    assert (rollout.max_parallel, rollout.max_failures, rollout.on_failure, rollout.pause_after) == (
        3,
        1,
        "roll_back",
        "canary",
    )
    assert rollout.release.config["env"] == {"A": "2"}
    assert rollout.options["strategy"] == "canary" and rollout.options["gates"]["error_rate"] == 0.02
    assert rollout.options["steps"] == [
        {"weight": 20, "pause_seconds": 5},
        {"weight": 100, "pause_seconds": 5},
    ]
    text = client.get(f"/operations/{rollout.operation}/").content.decode()
    assert "Rollout over fleet world" in text and f"/fleet-rollouts/{rollout.pk}/" in text


def test_the_report_tells_each_target(signed_in, seeded):
    held = seeded.fleet_rollout
    now = timezone.now()
    FleetMove.objects.update(
        status="failed",
        reason="exit code 1: cannot start",
        rollout=seeded.rollout,
        after=seeded.target.release,
        started_at=now,
        finished_at=now + timedelta(seconds=4.2),
    )
    FleetRollout.objects.update(status="failed", reason="search did not take v2", finished_at=now)
    text = signed_in("viewer").get(f"/fleet-rollouts/{held.pk}/").content.decode()
    for told in (
        "search did not take v2",
        "exit code 1",
        "4.2 s",
        f"/rollouts/{seeded.rollout.pk}/",
        "0 of 1",
    ):
        assert told in text, told
    assert "Abort everywhere" not in text
    child = signed_in("viewer").get(f"/rollouts/{seeded.rollout.pk}/").content.decode()
    assert f"/fleet-rollouts/{held.pk}/" in child and "over the fleet world" in child
    listed = signed_in("viewer").get("/fleets/").content.decode()
    assert "world" in listed and "Failed" in listed
