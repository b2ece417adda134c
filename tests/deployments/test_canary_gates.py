"""A canary of the vector API itself, judged by what it does to the requests and answers of callers."""

import random
import threading

import pytest
from django.db import connections

from deployments.models import LIVE_REPLICA, Analysis, Replica
from deployments.operations.gates import Counted, Recalls, Standing, judge
from deployments.services import rollout_start, target_create
from deployments.target_api import TargetApi
from tests.deployments.conftest import wait_until
from worker.models import Status

DIMENSION, POINTS = 32, 1500


def counted(requests, errors=0, *, bucket=6):
    """So many requests, all of which took up to 0.05 s (bucket 6) or what another bucket says."""
    buckets = [0] * 15
    buckets[bucket] = requests
    return Counted(requests, errors, buckets)


def test_judging():
    gates = {"readiness": True, "min_requests": 100, "error_rate": 0.02, "p95_ms": 60, "p95_ratio": 2.0}
    well = Standing(2, 2)
    verdict, readings = judge(gates, counted(200, 2), counted(900), well, None)
    assert verdict == "passed"
    assert [(one.gate, one.value) for one in readings][:2] == [("readiness", 2), ("error_rate", 0.01)]
    assert readings[1].text == "1 % of 200 requests failed, at most 2 % may; stable: 0 % of 900."
    verdict, readings = judge(gates, counted(200, bucket=8), counted(900), well, None)
    assert verdict == "failed"
    assert {one.gate for one in readings if one.verdict == "failed"} == {"p95_ms", "p95_ratio"}
    assert "times the stable release's 48.8 ms; at most 2 times may be." in readings[3].text
    verdict, readings = judge(gates, counted(99), counted(900), well, None)
    assert verdict == "inconclusive"
    assert readings[1].text.startswith("Only 99 of the 100 requests of the new release")
    verdict, readings = judge(gates, counted(200), counted(5), well, None)
    assert [one.gate for one in readings if one.verdict == "inconclusive"] == ["p95_ratio"]
    for standing, verdict in (
        (Standing(1, 2, unready_seconds=3), "inconclusive"),
        (Standing(1, 2, unready_seconds=11), "failed"),
        (Standing(2, 2, "rep_x ended: killed."), "failed"),
    ):
        assert judge({}, Counted(), Counted(), standing, None)[0] == verdict
    gates = {"readiness": False, "recall": {"min": 0.9, "max_drop": 0.02}}
    for recalls, verdicts in (
        (Recalls(0.95, 0.96, 0.97, 20, ("docs",)), ["passed", "passed"]),
        (Recalls(0.91, 0.96, 0.9, 20, ("docs",)), ["passed", "failed"]),
        (Recalls(0.85, 0.86, 0.9, 20, ("docs",)), ["failed", "passed"]),
        (Recalls(why="The target holds no points to ask for."), ["inconclusive"] * 2),
        (None, ["inconclusive"] * 2),
    ):
        assert [one.verdict for one in judge(gates, Counted(), Counted(), well, recalls)[1]] == verdicts
    assert counted(10).since(counted(4)) == counted(6)


class Callers:
    """Requests that the target is sent, to each of its replicas in turn, while the block runs."""

    def __init__(self, target):
        self.target = target
        self.thread = threading.Thread(target=self.ask)
        self.over = threading.Event()
        self.answered = 0

    def ask(self):
        source = random.Random(5)
        while not self.over.is_set():
            live = Replica.objects.filter(target=self.target, status="ready")
            for release in set(live.values_list("release", flat=True)):
                vector = [source.gauss(0, 1) for _ in range(DIMENSION)]
                api = TargetApi(self.target, subject="test", release=release)
                try:
                    api.query("docs", {"vector": vector, "top_k": 10})
                    self.answered += 1
                except Exception:
                    # A drill fails, and replicas come and go: what counts is what was measured of them.
                    self.over.wait(0.01)
        connections.close_all()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


@pytest.mark.django_db(transaction=True)
def test_good_and_bad_releases(project, machine, run, settings):
    settings.GATEWAY_REFRESH_SECONDS = 0
    target, _, operation = target_create(
        project=project, name="real", provider="local", spec={"replicas": 1}, created_by="test"
    )
    assert run(operation).status == Status.SUCCEEDED, operation.error
    target.refresh_from_db()
    api = TargetApi(target, subject="test")
    api.collection_create({"name": "docs", "dimension": DIMENSION, "auto_index": False})
    source = random.Random(4)
    points = [
        {"id": str(number), "vector": [source.gauss(0, 1) for _ in range(DIMENSION)]}
        for number in range(POINTS)
    ]
    api.call("POST", "collections/docs/points", {"points": points}, timeout=30)
    # A graph so thin that how widely it is searched decides what is found.
    api.index_build("docs", {"type": "hnsw", "m": 4, "ef_construction": 8})
    wait_until(lambda: api.index("docs")["state"] == "ready", 30)
    before = set(Replica.objects.filter(target=target, status__in=LIVE_REPLICA).values_list("pk", flat=True))

    def roll_out(env, gates, **values):
        return rollout_start(
            target=target,
            config={"env": env},
            strategy="canary",
            steps=[{"weight": 50, "pause_seconds": 1}],
            gates={"min_requests": 20} | gates,
            requested_by="test",
            **values,
        )

    def live():
        rows = Replica.objects.filter(target=target, status__in=LIVE_REPLICA)
        return set(rows.values_list("pk", flat=True))

    with Callers(target) as callers:
        # Slower than the stable release, and failing.
        env = {"AINDUS_DRILL_DELAY_MS": "120", "AINDUS_DRILL_ERROR_PERCENT": "60"}
        rollout, operation = roll_out(env, {"p95_ratio": 3, "error_rate": 0.1})
        operation = run(operation)
        rollout.refresh_from_db()
        assert (operation.error_code, rollout.status, rollout.weight) == ("rolled_back", "rolled_back", 0)
        assert "A gate failed at 50 % (step 1 of 1). error_rate: " in rollout.reason
        assert "requests failed, at most 10 % may; stable: 0 % of " in rollout.reason
        assert "times the stable release's" in rollout.reason
        assert live() == before, "the stable release was not touched"
        failed = Analysis.objects.filter(rollout=rollout).latest("pk")
        by_gate = {reading["gate"]: reading for reading in failed.readings}
        assert by_gate["p95_ratio"]["value"] > 3 and by_gate["p95_ratio"]["requests"] >= 20

        # Worse answers, as fast as ever.
        rollout, operation = roll_out(
            {"AINDUS_DRILL_SEARCH_WIDTH": "11"}, {"recall": {"max_drop": 0.05, "queries": 20}}
        )
        assert run(operation).error_code == "rolled_back"
        rollout.refresh_from_db()
        assert "recall_drop: Recall is 0." in rollout.reason and "of docs" in rollout.reason
        readings = Analysis.objects.filter(rollout=rollout).latest("pk").readings
        [recall] = [reading for reading in readings if reading["gate"] == "recall_drop"]
        assert recall["stable"] > 0.95 and recall["value"] > 0.05
        assert 0 < recall["detail"]["overlap"] < 0.95
        assert live() == before

        # Good.
        gates = {"p95_ratio": 10, "error_rate": 0.1, "recall": {"min": 0.9, "max_drop": 0.02}}
        rollout, operation = roll_out({"GENERATION": "2"}, gates)
        assert run(operation).status == Status.SUCCEEDED, operation.error
        kept = Analysis.objects.filter(rollout=rollout).latest("pk")
        assert {reading["verdict"] for reading in kept.readings} == {"passed"}
        assert len(kept.readings) == 5
    assert callers.answered > 100
