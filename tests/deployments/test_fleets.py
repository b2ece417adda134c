"""Rollouts over fleets of targets on this machine, with real databases and processes."""

import pytest

from controlplane.errors import ConflictError, InvalidError
from deployments.fleets import selectors, services
from deployments.fleets.models import Fleet, FleetMove, FleetRollout
from deployments.models import LIVE_REPLICA, Replica, Target, TargetStatus
from deployments.operations.fleet import FleetRolloutOperation
from deployments.providers.local.provider import object_name
from deployments.services import rollout_start, target_create, target_scale
from worker import engine, signals
from worker.models import Operation, OperationEvent, Status
from worker.services import operation_cancel, operation_retry

pytestmark = pytest.mark.django_db(transaction=True)
NAMES = ("one", "two", "three")


@pytest.fixture
def fleet(project, stand_in, settings, monkeypatch):
    """Three targets that serve with one replica each, as a fleet."""
    settings.REPLICA_READY_SECONDS = 2
    settings.GATEWAY_REFRESH_SECONDS = 0
    monkeypatch.setattr("deployments.operations.fleet.POLL_SECONDS", 0.1)
    for name in NAMES:
        target_create(project=project, name=name, provider="local", spec={"replicas": 1}, created_by="test")
    engine.drain()
    assert set(Target.objects.values_list("status", flat=True)) == {TargetStatus.READY}
    members = [
        {"target": "one"},
        {"target": "two", "role": "secondary"},
        {"target": "three", "role": "tertiary"},
    ]
    return services.fleet_create(project=project, name="world", members=members, created_by="test")


def start(fleet, broken_at: str = "", mode: str = "exit", **values):
    """A rollout of a new release, which does not start at the target of that name."""
    env = {"GENERATION": str(FleetRollout.objects.count() + 2)}
    if broken_at:
        at = object_name(Target.objects.get(name=broken_at).pk)
        env |= {"STAND_IN": mode, "STAND_IN_AT": at}
    return services.fleet_rollout_start(fleet=fleet, config={"env": env}, requested_by="test", **values)


def report(rollout) -> dict[str, str]:
    return dict(rollout.moves.values_list("target__name", "status"))


def serving() -> dict[str, int]:
    """The number of the release that each target says it runs; its live replicas must agree."""
    found = {}
    for target in Target.objects.select_related("release"):
        live = Replica.objects.filter(target=target, status__in=LIVE_REPLICA)
        assert {(replica.status, replica.release_id) for replica in live} == {("ready", target.release_id)}
        found[target.name] = target.release.number
    return found


def ended(rollout, operation):
    """Everything run to its end, in this process."""
    engine.drain(seconds=40)
    rollout.refresh_from_db()
    operation.refresh_from_db()
    return operation


def until(operation, condition):
    """Advance all that is due until the condition holds."""
    for _ in range(4000):
        if condition():
            return
        for pk in Operation.objects.unfinished().values_list("pk", flat=True):
            engine.advance(pk)
    raise AssertionError("it did not happen in time")


def test_a_release_reaches_all_wave_after_wave_and_stops_at_the_one_it_breaks(fleet):
    rollout, operation = start(fleet, canary="two", max_parallel=2)
    assert list(rollout.moves.values_list("target__name", "wave", "role")) == [
        ("two", 0, "secondary"),
        ("one", 1, "primary"),
        ("three", 1, "tertiary"),
    ]
    with pytest.raises(ConflictError, match=operation.pk):
        start(fleet)
    with pytest.raises(ConflictError, match="abort it or wait"):
        services.fleet_delete(fleet=fleet, requested_by="test")
    operation = ended(rollout, operation)
    assert (operation.status, rollout.status) == (Status.SUCCEEDED, "succeeded"), operation.error
    assert FleetRolloutOperation.title(operation) == "Rollout over fleet world"
    assert report(rollout) == dict.fromkeys(NAMES, "moved")
    assert serving() == dict.fromkeys(NAMES, 2)
    moves = list(rollout.moves.all())
    assert all(move.before.number == 1 and move.after.number == 2 and move.seconds > 0 for move in moves)
    assert max(moves[0].finished_at, moves[1].started_at) == moves[1].started_at, "the canary went first"
    assert {move.rollout.status for move in moves} == {"succeeded"}
    told = list(OperationEvent.objects.filter(operation=operation.pk).values_list("message", flat=True))
    assert "Moving 3 targets to v2 in 2 waves, two first" in told and "Wave 2" in told

    # One that fails: what has moved is left, what has not is not reached.
    rollout, operation = start(fleet, broken_at="two")
    operation = ended(rollout, operation)
    assert (operation.status, operation.error_code, rollout.status) == ("failed", "stopped", "failed")
    assert report(rollout) == {"one": "moved", "two": "failed", "three": "skipped"}
    assert serving() == {"one": 3, "two": 2, "three": 2}
    assert "two did not take v3" in operation.error and "exit code 1" in operation.error
    assert "one runs v3." in operation.remedy
    failed = rollout.moves.get(target__name="two")
    assert (failed.rollout.status, failed.after.number) == ("rolled_back", 2)
    assert "exit code 1" in failed.reason

    # Again: what runs it already is left, one failure is put up with, and the rest goes on.
    again = operation_retry(operation=operation, requested_by="test")
    rollout = FleetRollout.objects.get(operation=again.pk)
    FleetRollout.objects.filter(pk=rollout.pk).update(max_failures=1)
    again = ended(rollout, again)
    assert (again.status, again.retry_of_id, again.result["failed"]) == ("succeeded", operation.pk, ["two"])
    assert report(rollout) == {"one": "unchanged", "two": "failed", "three": "moved"}
    assert serving() == {"one": 3, "two": 2, "three": 3}


class WorkerDied(BaseException):
    """Stands for SIGKILL: nothing of the engine runs after it."""


def test_a_failure_rolls_back_and_a_worker_killed_at_every_moment_starts_no_child_twice(fleet):
    """It dies the first two times that each moment of each step of the fleet's operation is reached."""
    rollout, operation = start(fleet, broken_at="three", on_failure="roll_back")
    visits: dict[tuple, int] = {}
    moments = {signals.step_leased: "before", signals.step_ran: "after", signals.step_committed: "committed"}

    def die(sender, signal, **told):
        if told["operation_id"] != operation.pk:
            return
        key = (told["step"], moments[signal])
        visits[key] = visits.get(key, 0) + 1
        if visits[key] <= 2:
            raise WorkerDied

    for moment in moments:
        moment.connect(die)
    deaths = 0
    try:
        while True:
            try:
                engine.drain(seconds=40)
                break
            except WorkerDied:
                deaths += 1
                # What a lease looks like after its owner's death: expired.
                now = engine.database_now()
                mine = Operation.objects.filter(pk=operation.pk, finished_at=None)
                mine.update(run_after=now)
                mine.filter(lease_token__isnull=False).update(lease_expires_at=now)
    finally:
        for moment in moments:
            moment.disconnect(die)
    assert {step for step, _ in visits} == {"begin", "move", "stop", "take_back"} and deaths >= 20
    operation.refresh_from_db()
    rollout.refresh_from_db()
    assert (operation.error_code, rollout.status) == ("rolled_back", "rolled_back"), operation.error
    assert "three did not take v2" in rollout.reason
    assert report(rollout) == {"one": "rolled_back", "two": "rolled_back", "three": "failed"}
    assert serving() == dict.fromkeys(NAMES, 1)
    moves = list(rollout.moves.all())
    for kind, wanted in (
        ("target.rollout", [move.rollout.operation for move in moves]),
        ("target.rollback", [move.rollback.operation for move in moves[:2]]),
    ):
        children = Operation.objects.filter(kind=kind).order_by("pk").values_list("pk", flat=True)
        assert sorted(children) == sorted(wanted), kind
    assert (moves[0].rollback.status, moves[0].after.number) == ("succeeded", 1)
    numbers = list(operation.events.values_list("sequence", flat=True))
    assert numbers == list(range(1, operation.last_sequence + 1))


def test_pause_resume_and_one_abort_for_all(fleet):
    rollout, operation = start(fleet, pause_after="canary")
    until(operation, lambda: FleetRollout.objects.get(pk=rollout.pk).status == "paused")
    assert report(rollout) == {"one": "moved", "two": "pending", "three": "pending"}
    operation.refresh_from_db()
    assert operation.waiting_for == "somebody to resume it before wave 2"
    services.fleet_rollout_resume(rollout=rollout, requested_by="test")
    with pytest.raises(ConflictError, match="not paused"):
        services.fleet_rollout_resume(rollout=rollout, requested_by="test")
    until(operation, lambda: report(rollout)["two"] == "moving")
    services.fleet_rollout_pause(rollout=rollout, requested_by="test")
    until(operation, lambda: FleetRollout.objects.get(pk=rollout.pk).status == "paused")
    assert report(rollout) == {"one": "moved", "two": "moved", "three": "pending"}
    services.fleet_rollout_resume(rollout=rollout, requested_by="test")
    until(operation, lambda: report(rollout)["three"] == "moving")
    with pytest.raises(ConflictError, match="last wave"):
        services.fleet_rollout_pause(rollout=rollout, requested_by="test")

    # Every target has moved, and the last step runs, when the abort is accepted.
    def abort(sender, **told):
        if told["operation_id"] == operation.pk and told["step"] == "finish":
            signals.step_leased.disconnect(abort)
            services.fleet_rollout_abort(rollout=rollout, requested_by="test")

    signals.step_leased.connect(abort)
    try:
        operation = ended(rollout, operation)
    finally:
        signals.step_leased.disconnect(abort)
    assert (operation.status, rollout.status) == ("cancelled", "cancelled"), operation.error
    assert report(rollout) == dict.fromkeys(NAMES, "rolled_back")
    assert serving() == dict.fromkeys(NAMES, 1)
    with pytest.raises(ConflictError, match="ended already"):
        services.fleet_rollout_abort(rollout=rollout, requested_by="test")


def test_targets_that_are_busy_aborted_by_hand_or_not_ready(fleet):
    busy = Target.objects.get(name="one")
    scaling = target_scale(target=busy, replicas=2, requested_by="test")
    rollout, operation = start(fleet, max_failures=1, max_parallel=2)
    engine.advance(operation.pk)
    engine.advance(operation.pk)
    assert scaling.pk in rollout.moves.get(target=busy).reason
    until(operation, lambda: report(rollout)["two"] == "moving")
    child = Operation.objects.get(pk=rollout.moves.get(target__name="two").rollout.operation)
    operation_cancel(operation=child, requested_by="somebody")
    operation = ended(rollout, operation)
    assert (operation.status, operation.result["failed"]) == ("succeeded", ["two"]), operation.error
    assert rollout.moves.get(target__name="two").reason == "Its rollout was cancelled by hand."
    assert serving() == {"one": 2, "two": 1, "three": 2}
    # Whoever moved a target on meanwhile is not undone by the abort.
    two = Target.objects.get(name="two")
    rollout, operation = start(fleet, canary="two", pause_after="canary")
    until(operation, lambda: FleetRollout.objects.get(pk=rollout.pk).status == "paused")
    other, _ = rollout_start(target=two, config={"env": {"OTHER": "1"}}, requested_by="test")
    engine.drain(two.subject)
    services.fleet_rollout_abort(rollout=rollout, requested_by="test")
    operation = ended(rollout, operation)
    assert (operation.error_code, report(rollout)["two"]) == ("not_restored", "not_restored")
    assert serving()["two"] == other.release.number
    # A target that cannot take it fails at once, with the reason.
    Target.objects.filter(name="one").update(status=TargetStatus.FAILED)
    rollout, operation = start(fleet)
    assert ended(rollout, operation).error_code == "stopped"
    assert rollout.moves.get(target__name="one").reason.startswith("one is failed; a rollout needs")


def test_members(project, db):
    for name in ("a", "b"):
        Target.objects.create(
            project=project, name=name, provider="local", region="local", created_by="t", role="secondary"
        )
    with pytest.raises(InvalidError) as caught:
        services.fleet_create(project=project, name="f", members=[{"target": "nope"}], created_by="t")
    assert caught.value.errors[0]["field"] == "members.0.target"
    with pytest.raises(InvalidError, match="twice"):
        services.fleet_create(project=project, name="f", members=[{"target": "a"}] * 2, created_by="t")
    with pytest.raises(InvalidError, match="lower-case"):
        services.fleet_create(project=project, name="F f", created_by="t")
    fleet = services.fleet_create(project=project, name="f", created_by="t")
    with pytest.raises(ConflictError, match="exists already"):
        services.fleet_create(project=project, name="f", created_by="t")
    with pytest.raises(ConflictError, match="no targets"):
        start(fleet)
    members = [{"target": "b", "role": "primary"}, {"target": "a"}]
    services.fleet_update(fleet=fleet, name="g", members=members, requested_by="t")
    with pytest.raises(InvalidError, match="no target of g"):
        start(Fleet.objects.get(), canary="c")
    Target.objects.filter(name="a").update(status="destroyed", destroyed_at=engine.database_now())
    found = selectors.fleet_find(project, "g")
    assert (found.size, [(m.target.name, m.role) for m in found.members.all()]) == (1, [("b", "primary")])
    services.fleet_delete(fleet=found, requested_by="t")
    assert not Fleet.objects.exists() and not FleetMove.objects.exists()
