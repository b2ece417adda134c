"""Fleets and the reports of their rollouts over REST."""

import pytest

from deployments.fleets.models import FleetRollout
from tests.api.conftest import assert_problem, make_target

pytestmark = pytest.mark.django_db


def test_a_fleet_from_its_making_to_its_end(operator, viewer, world):
    make_target(world.project, "beta", release=world.release)
    body = {
        "name": "world",
        "members": [{"target": "beta", "role": "secondary"}, {"target": world.target.pk}],
    }
    made = operator.post("fleets", body)
    assert (made.status_code, made["Location"]) == (201, "/api/v1/fleets/world")
    shown = viewer.get("fleets/world").json()
    assert [(one["target"]["name"], one["role"]) for one in shown["members"]] == [
        ("beta", "secondary"),
        ("alpha", "primary"),
    ]
    assert shown["members"][0]["target"]["release"]["name"] == "v1"
    assert [fleet["name"] for fleet in viewer.get("fleets").json()["items"]] == ["all", "world"]
    assert_problem(operator.post("fleets", body), 409, "name_taken")
    wrong = {"name": "more", "members": [{"target": "nope"}]}
    assert_problem(operator.post("fleets", wrong), 422, field="members.0.target")
    changed = operator.patch("fleets/world", {"name": "earth", "members": [{"target": "alpha"}]})
    assert [one["target"]["name"] for one in changed.json()["members"]] == ["alpha"]
    assert_problem(operator.patch("fleets/earth", {"members": [{"target": "alpha"}] * 2}), 422, "duplicate")

    path = "fleets/earth/rollouts"
    assert_problem(operator.post(path, {"release": "v9"}), 422, field="release")
    assert_problem(operator.post(path, {"release": "v1", "note": "x"}), 422, field="release")
    assert_problem(operator.post(path, {"release": "v1", "canary": "beta"}), 422, field="canary")
    assert_problem(operator.post(path, {"release": "v1", "on_failure": "panic"}), 422, field="on_failure")
    assert_problem(
        operator.post(path, {"release": "v1", "strategy": "rolling", "steps": [5]}), 422, field="steps"
    )
    begun = operator.post(
        path, {"release": "v1", "max_failures": 1, "on_failure": "roll_back", "strategy": "rolling"}
    )
    assert begun.status_code == 202 and begun.json()["label"] == "Rollout over fleet earth"
    assert_problem(operator.post(path, {"release": "v1"}), 409, "operation_in_progress")
    assert_problem(operator.delete("fleets/earth"), 409, "operation_in_progress")
    report = f"fleet-rollouts/{begun.json()['input']['fleet_rollout']}"
    shown = viewer.get(report).json()
    assert (shown["status"], shown["fleet"]["name"], shown["release"]["name"]) == ("running", "earth", "v1")
    assert (shown["max_failures"], shown["on_failure"], shown["options"]) == (
        1,
        "roll_back",
        {"strategy": "rolling"},
    )
    line = shown["targets"][0]
    assert (line["target"]["name"], line["wave"], line["status"], line["seconds"]) == (
        "alpha",
        0,
        "pending",
        None,
    )
    assert len(viewer.get(f"{path}?status=running,paused").json()["items"]) == 1
    assert viewer.get(f"{path}?status=succeeded").json()["items"] == []
    assert operator.post(f"{report}/pause").json()["pause_requested"] is True
    assert operator.post(f"{report}/resume").json()["pause_requested"] is False
    assert_problem(operator.post(f"{report}/resume"), 409, "not_paused")
    assert operator.post(f"{report}/abort").json()["status"] == "cancelling"
    FleetRollout.objects.filter(fleet__name="earth").update(
        status="cancelled", finished_at="2026-01-01T00:00:00Z"
    )
    for verb in ("abort", "pause", "resume"):
        assert_problem(operator.post(f"{report}/{verb}"), 409, "rollout_finished")
    assert operator.delete("fleets/earth").status_code == 204
    assert_problem(viewer.get("fleets/earth"), 404, "not_found")
    assert_problem(viewer.get(report), 404, "not_found")
    verbs = [entry["action"] for entry in viewer.get("audit?limit=20").json()["items"]]
    assert {"fleet.create", "fleet.update", "fleet.rollout", "fleet.rollout.abort", "fleet.delete"} <= set(
        verbs
    )
