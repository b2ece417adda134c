"""Rows of replicas that are pictures of pods."""

from datetime import UTC, datetime, timedelta

import pytest

from controlplane.models import Project
from deployments.errors import Transient
from deployments.mirroring import end_all, mirror, mirror_failed
from deployments.models import (
    ClusterState,
    Health,
    Release,
    Replica,
    ReplicaStatus,
    Target,
    TargetStatus,
)
from deployments.probing import Reading, _note_readings
from deployments.runtimes.workload import Pod, PodProblem, RevisionStatus, WorkloadStatus
from worker.engine import database_now

pytestmark = pytest.mark.django_db

PULL = PodProblem(
    "image_pull",
    "The image a:2 cannot be pulled.",
    "See that it exists.",
    'Back-off pulling image "a:2"',
)


@pytest.fixture
def release():
    project = Project.objects.create(name="default")
    return Release.objects.create(project=project, number=1, image="a:1", digest="d", created_by="test")


def make_target(release: Release, name: str = "one") -> Target:
    return Target.objects.create(
        project=release.project,
        name=name,
        provider="local",
        region="local",
        status=TargetStatus.READY,
        release=release,
        created_by="test",
    )


@pytest.fixture
def target(release):
    return make_target(release)


def pod(of: Release, /, number: int = 1, phase: str = "ready", **values) -> Pod:
    defaults = {
        "release": of.pk,
        "name": f"api-{number}",
        "uid": f"uid-{number}",
        "role": "stable",
        "phase": phase,
        "host": f"10.1.0.{number}",
        "node": "node-a",
    }
    return Pod(**defaults | values)


def status(*pods: Pod, **values) -> WorkloadStatus:
    revision = RevisionStatus("stable", pods[0].release if pods else "", 2, 2, 1, False)
    return WorkloadStatus((revision,), pods, {"stable": 100}, **values)


def rows(target: Target) -> dict[str, Replica]:
    return {row.pod_uid: row for row in Replica.objects.filter(target=target)}


def test_a_pod_from_its_first_moment_to_its_end(target, release):
    mirror(target, status(pod(release, phase="pending", host="", node="")))
    row = rows(target)["uid-1"]
    assert (row.status, row.host, row.port, row.release_id) == ("starting", "", None, release.pk)
    mirror(target, status(pod(release, phase="running")))
    row.refresh_from_db()
    assert (row.status, row.host, row.port, row.ready_at) == ("starting", "10.1.0.1", 8000, None)
    assert row.handle["node"] == "node-a"
    mirror(target, status(pod(release)))
    row.refresh_from_db()
    assert row.status == "ready"
    assert row.ready_at is not None
    mirror(target, status(pod(release, phase="terminating")))
    row.refresh_from_db()
    assert row.status == "draining"
    mirror(target, status())
    row.refresh_from_db()
    assert (row.status, row.reason) == ("stopped", "The cluster ended its pod.")
    assert row.stopped_at is not None
    assert Replica.objects.count() == 1


def test_the_cluster_and_our_probe_have_to_agree_before_a_pod_serves_again(target, release):
    mirror(target, status(pod(release)))
    mirror(target, status(pod(release, phase="running")))
    row = rows(target)["uid-1"]
    assert (row.status, row.reason) == ("unready", "The cluster's readiness probe finds it not ready.")

    def well() -> str:
        replica = rows(target)["uid-1"]
        _note_readings([replica], {replica.pk: Reading("", 1.0)})
        return rows(target)["uid-1"].status

    # We find it well, the cluster does not.
    assert [well() for _ in range(3)] == ["unready"] * 3
    # The cluster does as well: it is for our probe to say so once more.
    mirror(target, status(pod(release)))
    assert rows(target)["uid-1"].status == "unready"
    assert well() == "ready"


def test_what_is_wrong_is_told_in_the_clusters_words_and_not_outdone_by_a_probe(target, release):
    bad = pod(release, 2, "pending", problem=PULL)
    mirror(target, status(pod(release, 1), bad))
    row = rows(target)["uid-2"]
    assert row.status == "starting"
    assert row.reason == "The image a:2 cannot be pulled. See that it exists."
    assert row.handle["problem"]["event"] == 'Back-off pulling image "a:2"'
    # One that served, then crashed.
    crash = PodProblem("crash_loop", "It crashes again and again.", "Read its previous log.")
    mirror(target, status(pod(release, 1, "running", problem=crash, restarts=3), bad))
    row = rows(target)["uid-1"]
    assert (row.status, row.handle["restarts"]) == ("unready", 3)
    _note_readings([row], {row.pk: Reading("/ready cannot be reached", None)})
    assert rows(target)["uid-1"].reason == "It crashes again and again. Read its previous log."
    # Gone with its problem: that is what it failed of.
    mirror(target, status(bad))
    row = rows(target)["uid-1"]
    assert row.status == "failed"
    assert row.reason.startswith("It crashes again and again.")
    # An evicted pod stays in the list, and is no live replica.
    mirror(target, status(pod(release, 3, "failed")))
    row = rows(target)["uid-3"]
    assert (row.status, row.stopped_at is not None) == ("failed", True)
    before = row.stopped_at
    mirror(target, status(pod(release, 3, "failed")))
    assert rows(target)["uid-3"].stopped_at == before


def test_two_clusters_may_have_the_same_addresses_and_a_pod_has_one_row(target, release):
    other = make_target(release, "two")
    for one in (target, other, target):
        mirror(one, status(pod(release)))
    assert Replica.objects.filter(status=ReplicaStatus.READY, host="10.1.0.1", port=8000).count() == 2
    # An address is given to the next pod before the first one's row has ended.
    mirror(target, status(pod(release), pod(release, 2, host="10.1.0.1")))
    assert len(rows(target)) == 2


def test_pods_of_releases_that_are_not_ours_are_nobodys(target, release):
    stranger = Release.objects.create(
        project=Project.objects.create(name="other"), number=1, image="a:1", digest="d", created_by="x"
    )
    mirror(target, status(pod(release, 1), pod(stranger, 2), pod(release, 3, release="v1")))
    assert set(rows(target)) == {"uid-1"}


def test_rows_without_a_pod_are_left_alone(target, release):
    local = Replica.objects.create(target=target, release=release, status="ready", port=9000)
    mirror(target, status())
    end_all(target, "The target was destroyed.")
    local.refresh_from_db()
    assert local.status == "ready"


def test_a_cluster_that_does_not_answer_leaves_what_was_seen(target, release):
    began = database_now()
    mirror(target, status(pod(release), routing="istio"), now=began)
    state = ClusterState.objects.get(target=target)
    assert state.seen_at == began
    assert state.workload["routing"] == "istio"
    assert (state.workload["desired"], state.workload["ready"]) == (2, 1)
    first = began + timedelta(seconds=5)
    error = Transient("It does not answer.", remedy="See that it runs.")
    mirror_failed(target, error, now=first)
    mirror_failed(target, error, now=first + timedelta(seconds=5))
    state.refresh_from_db()
    assert (state.error, state.remedy) == ("It does not answer.", "See that it runs.")
    assert (state.seen_at, state.failing_since) == (began, first)
    assert rows(target)["uid-1"].status == "ready"
    mirror(target, status(pod(release)))
    state.refresh_from_db()
    assert (state.error, state.failing_since) == ("", None)
    end_all(target, "The target was destroyed.")
    assert rows(target)["uid-1"].status == "stopped"


def test_a_pod_that_comes_back_is_the_same_replica(target, release):
    started = datetime(2026, 1, 1, tzinfo=UTC)
    mirror(target, status(pod(release, started_at=started)))
    mirror(target, status())
    assert rows(target)["uid-1"].status == "stopped"
    mirror(target, status(pod(release, started_at=started)))
    row = rows(target)["uid-1"]
    assert (row.status, row.stopped_at) == ("ready", None)
    assert row.health == Health.UNKNOWN
    assert row.handle["started_at"] == started.isoformat()
