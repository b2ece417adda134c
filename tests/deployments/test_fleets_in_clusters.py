"""A rollout over a fleet of targets in clusters, against the simulated API server."""

import pytest

from deployments.fleets import services
from deployments.models import Target
from tests.deployments.in_cluster import apply, make_account, make_release, make_target
from tests.simulators.kubernetes import Cluster
from tests.simulators.kubernetes import behaviours as pods
from worker import engine

pytestmark = pytest.mark.django_db(transaction=True)
NAMES = ("east", "west")
BROKEN = "registry.example/aindusdb:2"


@pytest.fixture(scope="module")
def cluster():
    """A cluster that can pull the second image everywhere but in one namespace."""
    with Cluster(version="1.34", speed=20) as cluster:
        is_job = {"batch.kubernetes.io/job-name"}
        cluster.pods.behave(lambda pod: True, pods.ready(serve=lambda _: pods.Served(200, {"status": "ok"})))
        cluster.pods.behave(
            lambda pod: bool(is_job & set(pod["metadata"].get("labels", {}))), pods.completes()
        )
        cluster.pods.behave(
            lambda pod: (
                pod["metadata"]["namespace"] == "west"
                and pod["spec"]["containers"][0]["image"] == BROKEN
                and not is_job & set(pod["metadata"].get("labels", {}))
            ),
            pods.pull_error("manifest unknown"),
        )
        yield cluster


def test_one_cluster_that_cannot_pull_takes_all_back(project, cluster, monkeypatch, settings):
    monkeypatch.setattr("deployments.operations.fleet.POLL_SECONDS", 0.1)
    settings.WORKLOAD_PROBLEM_SECONDS = 0.5
    account = make_account(project, cluster)
    first, second = make_release(project), make_release(project, 2, BROKEN)
    for name in NAMES:
        apply(make_target(account, first, name))
    members = [{"target": name} for name in NAMES]
    fleet = services.fleet_create(project=project, name="clusters", members=members, created_by="test")
    rollout, operation = services.fleet_rollout_start(
        fleet=fleet, release=second, on_failure="roll_back", requested_by="test"
    )
    engine.drain(seconds=60)
    operation.refresh_from_db()
    rollout.refresh_from_db()
    assert (operation.error_code, rollout.status) == ("rolled_back", "rolled_back"), operation.error
    moves = {move.target.name: move for move in rollout.moves.select_related("target", "after")}
    assert moves["west"].status == "failed" and "manifest unknown" in moves["west"].reason
    assert moves["east"].status == "rolled_back"
    for name in NAMES:
        target = Target.objects.get(name=name)
        assert (target.status, target.release, moves[name].after) == ("ready", first, first), name
        deployments = cluster.objects("Deployment", name)
        images = {one["spec"]["template"]["spec"]["containers"][0]["image"] for one in deployments}
        assert images == {first.image}, name
