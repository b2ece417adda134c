"""Providers, targets, plans, releases, rollouts and the work on targets."""

import pytest
from django.utils import timezone

from deployments import services
from deployments.models import Analysis, HealthTransition, Plan, Rollout, Target
from tests.api.conftest import assert_problem, make_release, make_replica, make_target
from worker import engine
from worker.models import Operation
from worker.services import operation_submit

pytestmark = pytest.mark.django_db
NEW = {"name": "beta", "provider": "local"}


def accepted(answer) -> dict:
    """202 with the operation and where it is followed."""
    assert answer.status_code == 202, answer.content
    body = answer.json()
    assert answer["Location"] == body["url"] == f"/api/v1/operations/{body['id']}"
    assert Operation.objects.filter(pk=body["id"]).exists()
    return body


def test_providers(viewer):
    page = viewer.get("providers").json()
    local = next(item for item in page["items"] if item["name"] == "local")
    assert local["spec_schema"]["type"] == "object"
    assert local["capabilities"]["strategies"] == ["rolling", "canary"]
    assert viewer.get("providers/local").json() == local
    assert_problem(viewer.get("providers/mars"), 404)


def test_a_provider_that_is_switched_off(operator, settings):
    settings.PROVIDERS_OFF = ["local"]
    assert "local" not in [one["name"] for one in operator.get("providers").json()["items"]]
    answer = operator.post("targets", {"name": "here", "provider": "local"})
    assert "choose kubernetes" in assert_problem(answer, 422, field="provider")["detail"]


def test_create_show_and_follow(operator):
    operation = accepted(operator.post("targets", NEW))
    assert operation["kind"] == "target.provision"
    target = operator.get(f"targets/{operation['input']['target']}").json()
    assert target == operator.get("targets/beta").json()
    assert (target["name"], target["status"], target["deletion_protection"]) == ("beta", "provisioning", True)
    assert target["vectors_url"] == "/api/v1/targets/beta/vectors"
    assert "secrets" not in target and "engine_ref" not in target
    assert_problem(operator.post("targets", NEW), 409, "name_taken", "name")


def test_plan_only_then_apply(operator):
    answer = operator.post("targets?plan_only=true", NEW)
    assert answer.status_code == 201 and answer["Location"] == "/api/v1/targets/beta"
    body = answer.json()
    assert body["target"]["status"] == "pending" and not Operation.objects.exists()
    assert {change["action"] for change in body["plan"]["changes"]} == {"create"}
    plan = operator.get(f"plans/{body['plan']['id']}").json()
    assert plan == body["plan"] and plan["operation"] is None
    operation = accepted(operator.post(f"plans/{plan['id']}/apply"))
    assert operator.get(f"plans/{plan['id']}").json()["operation"] == operation["id"]
    assert_problem(operator.post(f"plans/{plan['id']}/apply"), 409)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "Bad Name"}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 51}, "name"),
        ({"name": None}, "name"),
        ({"provider": "mars"}, "provider"),
        ({"region": "mars"}, "region"),
        ({"role": "boss"}, "role"),
        ({"spec": []}, "spec"),
        ({"spec": {"replicas": 0.5}}, "spec.replicas"),
        ({"spec": {"colour": "red"}}, "spec.colour"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_bad_targets(operator, change, field):
    assert_problem(operator.post("targets", NEW | change), 422, field=field)
    assert not Target.objects.exists()


def test_change_with_if_match(operator, admin, world):
    shown = operator.get("targets/alpha")
    etag = shown["ETag"]
    changed = operator.patch("targets/alpha", {"role": "secondary"}, If_Match=etag)
    assert changed.status_code == 200 and changed.json()["role"] == "secondary"
    assert changed["ETag"] not in ("", etag)
    stale = operator.patch("targets/alpha", {"role": "primary"}, If_Match=etag)
    assert_problem(stale, 412, "precondition_failed")
    both = f'"other", {changed["ETag"]}'
    assert operator.patch("targets/alpha", {"role": "primary"}, If_Match=both).status_code == 200
    assert_problem(operator.patch("targets/alpha", {}, If_Match="bare"), 422, field="If-Match")
    assert_problem(operator.patch("targets/alpha", {"spec": {}}), 422, field="spec")
    assert_problem(operator.patch("targets/alpha", {"name": "UP"}), 422, field="name")
    make_target(world.project, "gamma")
    assert_problem(operator.patch("targets/alpha", {"name": "gamma"}), 409, "name_taken")
    assert operator.patch("targets/alpha", {"name": "delta"}).json()["name"] == "delta"
    assert_problem(operator.get("targets/alpha"), 404)
    # Deletion protection is the administrators'.
    assert_problem(operator.patch("targets/delta", {"deletion_protection": False}), 403)
    assert operator.patch("targets/delta", {"deletion_protection": True}).status_code == 200
    assert admin.patch("targets/delta", {"deletion_protection": False}).status_code == 200


def test_destroy_needs_name_and_no_protection(admin, world):
    assert_problem(admin.delete("targets/alpha"), 422, field="confirm")
    assert_problem(
        admin.delete("targets/alpha", {"confirm": "beta"}), 422, "confirmation_required", "confirm"
    )
    assert_problem(admin.delete("targets/alpha", {"confirm": "alpha"}), 409, "deletion_protected")
    admin.patch("targets/alpha", {"deletion_protection": False})
    assert accepted(admin.delete("targets/alpha", {"confirm": "alpha"}))["kind"] == "target.destroy"
    assert_problem(admin.delete("targets/alpha", {"confirm": "alpha"}), 409, "operation_in_progress")


def test_destroyed_targets_are_found_by_id_and_by_status_alone(viewer, project):
    gone = make_target(project, status="destroyed", destroyed_at=timezone.now())
    assert viewer.get("targets").json()["items"] == []
    assert [t["id"] for t in viewer.get("targets?status=destroyed").json()["items"]] == [gone.pk]
    assert_problem(viewer.get("targets/alpha"), 404)
    assert viewer.get(f"targets/{gone.pk}").json()["status"] == "destroyed"


def test_one_operation_at_a_time(operator, world):
    first = accepted(operator.post("targets/alpha/scale", {"replicas": 3}))
    body = assert_problem(operator.post("targets/alpha/restart"), 409, "operation_in_progress")
    assert body["operation"] == first["id"] and first["id"] in body["detail"]


def test_what_the_control_plane_does_by_itself_is_in_nobodys_way(operator, world):
    heal = services.target_heal(target=world.target, reason="a replica died")
    scale = accepted(operator.post("targets/alpha/scale", {"replicas": 3}))
    assert scale["status"] == "queued" and Operation.objects.get(pk=heal.pk).status == "queued"
    assert_problem(operator.post("targets/alpha/restart"), 409, "operation_in_progress")
    assert services.target_heal(target=world.target, reason="again") is None


def test_scale_restart_and_their_limits(operator, world):
    assert_problem(operator.post("targets/alpha/scale", {"replicas": "many"}), 422, field="replicas")
    assert_problem(operator.post("targets/alpha/scale", {"replicas": 10_000}), 422, field="replicas")
    assert_problem(operator.post("targets/alpha/scale"), 422, field="replicas")
    assert accepted(operator.post("targets/alpha/scale", {"replicas": 1}))["input"]["replicas"] == 1
    Target.objects.update(status="failed")
    assert_problem(operator.post("targets/alpha/restart"), 409, "target_not_ready")


def test_releases(operator, project):
    made = operator.post("releases", {"image": "aindusdb/api:2.0", "config": {"threads": 4}, "note": "n"})
    assert made.status_code == 201 and made["Location"] == "/api/v1/releases/v1"
    again = operator.post("releases", {"image": "aindusdb/api:2.0", "config": {"threads": 4}})
    assert again.json() == made.json() == operator.get("releases/v1").json()
    assert operator.get(f"releases/{made.json()['id']}").json() == made.json()
    assert made.json()["name"] == "v1"
    assert len(operator.get("releases?image=aindusdb/api:2.0").json()["items"]) == 1
    assert_problem(operator.post("releases", {"image": "aindusdb/api"}), 422, field="image")
    for name in ("v2", "v", "v99999999999", "1", "rel_x"):
        assert_problem(operator.get(f"releases/{name}"), 404)


def test_rollout_by_release_or_image(operator, world):
    Rollout.objects.all().delete()
    operation = accepted(operator.post("targets/alpha/rollouts", {"config": {"threads": 3}}))
    rollout = operator.get(f"rollouts/{operation['input']['rollout']}").json()
    assert (rollout["release"]["name"], rollout["previous"]["name"]) == ("v2", "v1")
    assert rollout["target"]["name"] == "alpha" and rollout["operation"] == operation["id"]
    listed = operator.get("targets/alpha/rollouts?status=running").json()["items"]
    assert rollout["id"] in [item["id"] for item in listed]
    aborted = accepted(operator.post(f"rollouts/{rollout['id']}/abort"))
    assert (aborted["id"], aborted["status"]) == (operation["id"], "cancelling")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"release": "v9"}, "release"),
        ({"release": "v1", "image": "a:1"}, "release"),
        ({"image": "a:latest"}, "image"),
        ({"image": "a:1", "config": {"env": {"DATABASE_URL": "x"}}}, "config.env.DATABASE_URL"),
        (
            {"image": "a:1", "config": {"env": {"AINDUS_TRANSFER_PATHS": "/"}}},
            "config.env.AINDUS_TRANSFER_PATHS",
        ),
        ({"release": "v1", "strategy": "blue"}, "strategy"),
        ({"release": "v1", "steps": []}, "steps"),
        ({"image": "a:1", "strategy": "canary", "steps": [20, 10]}, "steps"),
        ({"image": "a:1", "strategy": "canary", "gates": {"recall": {"max": 1}}}, "gates.recall.max"),
    ],
)
def test_bad_rollouts(operator, world, body, field):
    Rollout.objects.all().delete()
    assert_problem(operator.post("targets/alpha/rollouts", body), 422, field=field)
    assert not Rollout.objects.exists()


def test_a_rolling_rollout_has_nothing_to_promote(operator, world):
    for verb in ("promote", "pause", "resume"):
        body = assert_problem(operator.post(f"rollouts/{world.rollout.pk}/{verb}"), 409, "strategy_rolling")
        assert verb in body["detail"]
    Rollout.objects.update(status="succeeded", finished_at=timezone.now())
    assert_problem(operator.post(f"rollouts/{world.rollout.pk}/abort"), 409, "rollout_finished")


def test_a_canary_is_shown_and_controlled(operator, world):
    Rollout.objects.all().delete()
    body = {"config": {"threads": 3}, "strategy": "canary", "steps": [20, {"weight": 60}]}
    gates = {"p95_ratio": 1.5, "recall": {"max_drop": 0.02}}
    operation = accepted(operator.post("targets/alpha/rollouts", body | {"gates": gates}))
    address = f"rollouts/{operation['input']['rollout']}"
    rollout = operator.get(address).json()
    assert rollout["steps"] == [{"pause_seconds": 60, "weight": 20}, {"pause_seconds": 60, "weight": 60}]
    assert rollout["gates"]["recall"] == {"max_drop": 0.02, "queries": 20, "k": 10}
    assert (rollout["step"], rollout["weight"], rollout["analysis"]) == (0, 0, None)
    reading = {"gate": "p95_ratio", "verdict": "failed", "value": 2.5, "limit": 1.5, "text": "p95 is 5 ms."}
    reading |= {"stable": 1.0, "requests": 40, "detail": {}}
    for verdict in ("passed", "failed"):
        Analysis.objects.create(
            rollout_id=rollout["id"],
            at=timezone.now(),
            step=0,
            weight=20,
            verdict=verdict,
            readings=[reading],
        )
    assert operator.get(address).json()["analysis"]["readings"] == [reading]
    listed = operator.get(f"{address}/analyses").json()["items"]
    assert [one["verdict"] for one in listed] == ["failed", "passed"]
    assert len(operator.get(f"{address}/analyses?verdict=failed").json()["items"]) == 1
    for verb, body, state in (
        ("pause", None, {"paused": True}),
        ("resume", None, {"paused": False}),
        ("promote", {"full": True}, {"command": "full"}),
    ):
        assert accepted(operator.post(f"{address}/{verb}", body))["id"] == operation["id"]
        assert Rollout.objects.filter(pk=rollout["id"], **state).exists()
    assert_problem(operator.post(f"{address}/resume"), 409, "rollout_not_paused")
    accepted(operator.post(f"{address}/abort"))
    assert_problem(operator.post(f"{address}/promote", {}), 409, "rollout_aborting")


def test_rollback(operator, world):
    Rollout.objects.all().delete()
    assert_problem(operator.post("targets/alpha/rollback"), 409, "nothing_to_roll_back_to")
    make_release(world.project, 2)
    operation = accepted(operator.post("targets/alpha/rollback", {"release": "v2"}))
    assert operation["kind"] == "target.rollback"


def test_plans(operator, world):
    made = operator.post("targets/alpha/plans", {"spec": {"replicas": 3}})
    assert made.status_code == 201
    changes = made.json()["changes"]
    assert any(change["action"] == "change" for change in changes), changes
    assert_problem(operator.post("targets/alpha/plans", {"spec": {"colour": 1}}), 422, field="spec.colour")
    Target.objects.update(spec={"replicas": 5})
    assert_problem(operator.post(f"plans/{made.json()['id']}/apply"), 409, "plan_outdated")
    wrong = Plan.objects.create(
        target=world.target,
        spec={},
        digest="0" * 64,
        created_by="t",
        problems=[
            {"severity": "error", "field": "spec", "code": "full", "message": "Full.", "remedy": "Wait."}
        ],
    )
    assert_problem(operator.post(f"plans/{wrong.pk}/apply"), 422, field="spec")


def test_replicas(viewer, world):
    make_replica(world.target, 19002, "stopped")
    [replica] = viewer.get("targets/alpha/replicas").json()["items"]
    assert (replica["id"], replica["status"], replica["port"]) == (world.replica.pk, "ready", 19001)
    assert len(viewer.get("targets/alpha/replicas?status=ready,stopped").json()["items"]) == 2
    assert viewer.get("targets/alpha").json()["ready_replicas"] == 1


def test_what_happened_to_a_target(viewer, world):
    for _ in range(3):
        operation_submit(
            project=world.project, kind="sample.api", subject=world.target.subject, exclusive=False
        )
    engine.drain()
    at = timezone.now()
    for health in ("healthy", "unhealthy", "healthy"):
        HealthTransition.objects.create(
            target=world.target, replica=world.replica, at=at, previous="unknown", health=health, reason="r"
        )
    everything = viewer.get("targets/alpha/events?limit=200").json()["items"]
    assert len(everything) == 3 * 4 + 3
    assert [event["source"] for event in everything[:3]] == ["health"] * 3
    assert everything[0]["replica"] == world.replica.pk
    assert [event["at"] for event in everything] == sorted((e["at"] for e in everything), reverse=True)
    paged, cursor = [], ""
    while cursor is not None:
        page = viewer.get(f"targets/alpha/events?limit=2{cursor and '&cursor=' + cursor}").json()
        paged += page["items"]
        cursor = page["next_cursor"]
    assert paged == everything
    moment = at.isoformat().replace("+00:00", "Z")
    assert len(viewer.get(f"targets/alpha/events?since={moment}").json()["items"]) == 3
    assert len(viewer.get(f"targets/alpha/events?until={moment}").json()["items"]) == 12
    for cursor in ("x", "WzEsMiwzXQ", "WyJub3ciLCJoZWFsdGgiLDFd"):
        assert_problem(viewer.get(f"targets/alpha/events?cursor={cursor}"), 422, field="cursor")


def test_a_target_that_was_never_applied_is_forgotten_without_ceremony(operator, admin):
    name = operator.post("targets?plan_only=true", NEW).json()["target"]["name"]
    assert_problem(
        admin.delete(f"targets/{name}", {"confirm": "no"}), 422, "confirmation_required", "confirm"
    )
    assert accepted(admin.delete(f"targets/{name}", {"confirm": name}))["kind"] == "target.destroy"
