"""Canaries on this machine: steps, gates, what people do to them, and what dies meanwhile."""

import threading
import time

import pytest
from django.db import connections

from controlplane.errors import ConflictError, InvalidError
from deployments.gateway.replicas import Backend, Entry, Table
from deployments.models import LIVE_REPLICA, Analysis, Replica, Rollout, RolloutStatus, TargetStatus
from deployments.rollouts import rollout_abort, rollout_pause, rollout_promote, rollout_resume
from deployments.services import rollout_start, target_create
from deployments.strategies import validated_strategy
from tests.deployments.conftest import replica_processes
from tests.deployments.mortal import Mortal
from tests.deployments.test_operations import kill_replica
from worker import engine
from worker.models import Operation, Status
from worker.services import operation_retry

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def target(project, stand_in, run, settings):
    settings.GATEWAY_REFRESH_SECONDS = 0
    target, _, operation = target_create(project=project, name="one", provider="local", created_by="test")
    assert run(operation).status == Status.SUCCEEDED, operation.error
    target.refresh_from_db()
    return target


def live(target, release=None):
    rows = Replica.objects.filter(target=target, status__in=LIVE_REPLICA).order_by("pk")
    return list(rows.filter(release=release) if release else rows)


def canary(target, *, env=None, **values):
    values = {"steps": [{"weight": 50, "pause_seconds": None}], "gates": {}} | values
    config = {"env": {"STAND_IN": "", "GENERATION": "2", **(env or {})}}
    return rollout_start(target=target, config=config, strategy="canary", requested_by="test", **values)


def advance_until(operation, condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        engine.advance(operation.pk)
        assert time.monotonic() < deadline, list(operation.events.values_list("step", "message"))
        time.sleep(0.01)
    operation.refresh_from_db()


def at_step(rollout, step, number=None):
    def reached():
        rollout.refresh_from_db()
        operation = Operation.objects.get(pk=rollout.operation)
        return operation.step == step and (number is None or rollout.step == number)

    return reached


def test_steps_and_gates_are_checked():
    steps, gates = validated_strategy("canary", [10, {"weight": 50, "pause_seconds": None}], None)
    assert steps == [{"weight": 10, "pause_seconds": 60}, {"weight": 50, "pause_seconds": None}]
    assert gates == {"readiness": True, "min_requests": 30, "inconclusive": "hold"}
    assert [step["weight"] for step in validated_strategy("canary", None, None)[0]] == [10, 25, 50, 100]
    for strategy, steps, gates, field in [
        ("blue", None, None, "strategy"),
        ("rolling", [10], None, "steps"),
        ("rolling", None, {"p95_ms": 5}, "gates"),
        ("canary", [], None, "steps"),
        ("canary", [50, 50], None, "steps"),
        ("canary", [101], None, "steps"),
        ("canary", None, {"p99": 5}, "gates.p99"),
        ("canary", None, {"recall": {}}, "gates.recall"),
        ("canary", None, {"error_rate": 2}, "gates.error_rate"),
    ]:
        with pytest.raises(InvalidError) as caught:
            validated_strategy(strategy, steps, gates)
        assert caught.value.errors[0]["field"] == field


def test_a_canary_passes_its_steps(target, run, stand_in):
    before = {replica.pk for replica in live(target)}
    rollout, operation = canary(target, steps=[{"weight": 10, "pause_seconds": 0}, {"weight": 60}])
    assert rollout.steps[1]["pause_seconds"] == 60
    advance_until(operation, at_step(rollout, "observe", 1))
    assert rollout.weight == 60
    assert before < {replica.pk for replica in live(target)}, "the stable release keeps all its replicas"
    assert len(live(target, rollout.release)) == 2
    engine.advance(operation.pk)
    rollout_promote(rollout=rollout, requested_by="test")
    assert run(operation).status == Status.SUCCEEDED, operation.error
    rollout.refresh_from_db()
    target.refresh_from_db()
    assert (rollout.status, rollout.weight, target.release) == ("succeeded", 100, rollout.release)
    assert [(r.status, r.release_id) for r in live(target)] == [("ready", rollout.release_id)] * 2
    assert len(replica_processes(stand_in)) == 4
    kept = Analysis.objects.filter(rollout=rollout).order_by("pk")
    assert {(one.step, one.weight, one.verdict) for one in kept} == {(0, 10, "passed"), (1, 60, "passed")}
    assert kept[0].readings[0]["text"] == "1 of 1 replicas of the new release are ready."
    with pytest.raises(ConflictError) as caught:
        rollout_abort(rollout=rollout, requested_by="test")
    assert caught.value.code == "rollout_finished"


def test_killed_at_every_step(target, run, stand_in, tmp_path_factory):
    """A good canary and one that is taken back; each step's worker dies before and after it."""
    mortal = Mortal(tmp_path_factory.mktemp("kills"))
    steps = [{"weight": 50, "pause_seconds": 0}, {"weight": 100, "pause_seconds": 0}]
    good, operation = canary(target, steps=steps)
    assert mortal.run(operation).status == Status.SUCCEEDED, operation.error
    target.refresh_from_db()
    assert target.release == good.release
    assert [(r.status, r.release_id) for r in live(target)] == [("ready", good.release_id)] * 2
    assert len(replica_processes(stand_in)) == 4
    seen = Analysis.objects.filter(rollout=good).values_list("step", "verdict")
    assert set(seen) == {(0, "passed"), (1, "passed")}
    before = {replica.pk for replica in live(target)}
    _, operation = canary(target, env={"STAND_IN": "exit"}, steps=steps)
    operation = mortal.run(operation)
    assert operation.error_code == "rolled_back", operation.error
    assert {replica.pk for replica in live(target)} == before
    assert len(replica_processes(stand_in)) == 4
    assert len(mortal.kills) >= 12, mortal.kills


def test_paused_resumed_aborted(target, run):
    """A person may stop it at any step, and the stable release has served all the while."""
    before = {replica.pk for replica in live(target)}
    rollout, operation = canary(target, steps=[{"weight": 20, "pause_seconds": 0}, 50, 100])
    rollout_pause(rollout=rollout, requested_by="test")
    advance_until(operation, lambda: at_step(rollout, "observe", 0)() and rollout.hold)
    assert "it is paused" in rollout.hold
    rollout_resume(rollout=rollout, requested_by="test")
    with pytest.raises(ConflictError):
        rollout_resume(rollout=rollout, requested_by="test")
    advance_until(operation, at_step(rollout, "observe", 1))
    read = Table()._read([target.pk])[target.pk]
    assert read["canary"] == (rollout.release_id, 50), "what the gateway goes by"
    assert {release for *_, release in read["replicas"]} == {rollout.release_id, rollout.previous_id}
    rollout_abort(rollout=rollout, requested_by="test")
    with pytest.raises(ConflictError) as caught:
        rollout_promote(rollout=rollout, requested_by="test")
    assert caught.value.code == "rollout_aborting"
    assert run(operation).status == Status.CANCELLED
    rollout.refresh_from_db()
    assert (rollout.status, rollout.weight) == (RolloutStatus.CANCELLED, 0)
    assert {replica.pk for replica in live(target)} == before
    again = operation_retry(operation=operation, requested_by="test")
    retried = Rollout.objects.get(operation=again.pk)
    assert (retried.strategy, retried.steps, retried.gates) == ("canary", rollout.steps, rollout.gates)
    rollout_abort(rollout=retried, requested_by="test")
    assert run(again).status == Status.CANCELLED


def test_an_abort_wins_over_a_promotion_of_the_same_moment(target, run):
    rollout, operation = canary(target)
    advance_until(operation, at_step(rollout, "observe"))
    together = threading.Barrier(2)
    answers = {}

    def do(name, act):
        together.wait()
        try:
            act(rollout=rollout, requested_by=name)
            answers[name] = "taken"
        except ConflictError as error:
            answers[name] = error.code
        finally:
            connections.close_all()

    threads = [
        threading.Thread(target=do, args=["promote", rollout_promote]),
        threading.Thread(target=do, args=["abort", rollout_abort]),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers["abort"] == "taken"
    assert answers["promote"] in ("taken", "rollout_aborting")
    assert run(operation).status == Status.CANCELLED
    target.refresh_from_db()
    assert target.release != rollout.release


def test_an_abort_in_the_last_moment(target, run):
    """Asked for after the last step's decision, and before the new release was made the target's."""
    rollout, operation = canary(target, steps=[{"weight": 100, "pause_seconds": 0}])
    advance_until(operation, at_step(rollout, "finish"))
    assert {r.release_id for r in live(target) if r.status == "ready"} == {rollout.release_id}
    lease = engine.take_lease(operation.pk)
    rollout_abort(rollout=rollout, requested_by="test")
    outcome = engine.handler_for(operation.kind)(lease).finish()
    assert outcome.name == "take_back"
    lease.commit(engine.handler_for(operation.kind)(lease), outcome)
    assert run(operation).status == Status.CANCELLED, operation.error
    target.refresh_from_db()
    assert (target.status, target.release == rollout.previous) == (TargetStatus.READY, True)
    assert [(r.status, r.release_id) for r in live(target)] == [("ready", target.release_id)] * 2


def test_a_release_that_does_not_start_or_does_not_live(target, run):
    before = {replica.pk for replica in live(target)}
    _, operation = canary(target, env={"STAND_IN": "exit"})
    operation = run(operation)
    assert (operation.error_code, "exit code 1" in operation.error) == ("rolled_back", True)
    rollout, operation = canary(target)
    advance_until(operation, at_step(rollout, "observe"))
    [one] = live(target, rollout.release)
    kill_replica(one)
    operation = run(operation)
    rollout.refresh_from_db()
    assert operation.error_code == "rolled_back"
    assert "readiness" in rollout.reason and "SIGKILL" in rollout.reason
    assert {replica.pk for replica in live(target)} == before
    with pytest.raises(InvalidError) as caught:
        rollout_start(target=target, release=target.release, strategy="canary", requested_by="test")
    assert caught.value.code == "same_release"


def test_gates_that_say_nothing_are_not_passed(target, run):
    gates = {"p95_ms": 100, "min_requests": 5}
    steps = [{"weight": 50, "pause_seconds": 0}]
    rollout, operation = canary(target, steps=steps, gates=gates)
    advance_until(operation, lambda: at_step(rollout, "observe")() and rollout.hold)
    assert "gates that say nothing yet: p95_ms: Only 0 of the 5 requests" in rollout.hold
    rollout_promote(rollout=rollout, full=True, requested_by="test")
    assert run(operation).status == Status.SUCCEEDED, "a person may know better"
    target.refresh_from_db()
    _, operation = canary(target, env={"N": "3"}, steps=steps, gates=gates | {"inconclusive": "abort"})
    operation = run(operation)
    assert operation.error_code == "rolled_back"
    assert "Gates say nothing at the end of the pause. p95_ms: Only 0 of " in operation.error


def test_the_gateway_keeps_to_the_weight():
    entry = Entry("t", "t", "ready", "", "s", canary="new", weight=10)
    for number in range(4):
        release = "new" if number == 3 else "old"
        entry.backends[str(number)] = Backend(str(number), None, "ready", "", release)
    chosen = [entry.choose([]).release_id for _ in range(1000)]
    assert chosen.count("new") == 100
    assert max(len(run) for run in "".join("n" if c == "new" else " " for c in chosen).split()) == 1
    assert entry.choose(["3"]).release_id == "old", "another try is made where there is another replica"
    assert entry.choose(["0"]).release_id == "old"
    entry.weight = 0
    assert {entry.choose([]).release_id for _ in range(200)} == {"old"}
    entry.weight = 100
    assert {entry.choose([]).release_id for _ in range(200)} == {"new"}
    entry.backends["3"].status = "unready"
    assert entry.choose([]).release_id == "old"
