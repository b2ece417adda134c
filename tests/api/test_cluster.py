"""What REST tells of a target's cluster: pods, revisions, events."""

from datetime import UTC, datetime, timedelta

import pytest

from deployments.errors import Transient
from deployments.mirroring import mirror, mirror_failed
from deployments.models import ClusterEvent, ClusterState, HealthTransition, Replica
from deployments.runtimes.workload import Pod, PodProblem, RevisionStatus, WorkloadStatus
from tests.api.conftest import assert_problem
from worker.models import OperationEvent

pytestmark = pytest.mark.django_db
CRASH = PodProblem(
    "crash_loop", "It crashes again and again.", "Read its previous log.", "Back-off restarting"
)


@pytest.fixture
def seen(world):
    """A target whose cluster has a pod that serves and one that crashes."""
    common = {"role": "stable", "release": world.release.pk}
    pods = (
        Pod("api-1", "u1", phase="ready", host="10.0.0.1", node="n1", started_at=datetime.now(UTC), **common),
        Pod("api-2", "u2", phase="running", host="10.0.0.2", node="n2", restarts=4, problem=CRASH, **common),
    )
    revision = RevisionStatus("stable", world.release.pk, 2, 2, 1, False, CRASH)
    mirror(world.target, WorkloadStatus((revision,), pods, {"stable": 100}, "istio"))
    used = {"api-1": {"cpu_cores": 0.25, "memory_bytes": 100 << 20}}
    ClusterState.objects.filter(target=world.target).update(usage={"pods": used, "problem": ""})
    return world


def test_replicas_are_pods(viewer, seen):
    items = viewer.get("targets/alpha/replicas").json()["items"]
    by_name = {item["pod"]["name"]: item for item in items if item["pod"]}
    assert len(items) == 3 and set(by_name) == {"api-1", "api-2"}
    well, ill = by_name["api-1"], by_name["api-2"]
    assert (well["status"], well["pod"]["node"], well["pod"]["problem"]) == ("ready", "n1", None)
    assert (well["pod"]["cpu_cores"], well["pod"]["memory_bytes"]) == (0.25, 100 << 20)
    assert datetime.fromisoformat(well["pod"]["started_at"]).tzinfo
    assert (ill["pod"]["restarts"], ill["pod"]["cpu_cores"]) == (4, None)
    assert ill["pod"]["problem"] == {
        "code": "crash_loop",
        "message": CRASH.message,
        "remedy": CRASH.remedy,
        "event": CRASH.event,
    }
    assert ill["reason"] == "It crashes again and again. Read its previous log."


def test_health_tells_of_the_cluster(viewer, seen):
    cluster = viewer.get("targets/alpha/health").json()["cluster"]
    assert (cluster["routing"], cluster["weights"], cluster["error"]) == ("istio", {"stable": 100}, "")
    assert [(one["ready"], one["problem"]["code"]) for one in cluster["revisions"]] == [(1, "crash_loop")]
    mirror_failed(seen.target, Transient("It does not answer.", remedy="See that it runs."))
    cluster = viewer.get("targets/alpha/health").json()["cluster"]
    assert (cluster["error"], cluster["remedy"]) == ("It does not answer.", "See that it runs.")
    assert cluster["failing_since"] and cluster["seen_at"]


def test_a_local_target_has_no_cluster(viewer, world):
    assert viewer.get("targets/alpha/health").json()["cluster"] is None
    assert viewer.get("targets/alpha/replicas").json()["items"][0]["pod"] is None


def test_events_of_the_cluster_stand_among_the_others(viewer, seen):
    at = datetime(2026, 5, 1, 12, tzinfo=UTC)
    OperationEvent.objects.filter(operation=seen.operation).delete()
    seen.operation.subject = seen.target.subject
    seen.operation.save()
    for number in (1, 2):
        moment = at if number == 1 else at + timedelta(seconds=1)
        ClusterEvent.objects.create(
            target=seen.target,
            uid=f"e{number}",
            kind="Pod",
            name="api-2",
            is_warning=True,
            reason="BackOff",
            message="Back-off restarting failed container",
            count=7,
            first_at=at - timedelta(minutes=5),
            last_at=moment,
        )
        HealthTransition.objects.create(
            target=seen.target, at=moment, previous="healthy", health="degraded", reason="1 of 2"
        )
        OperationEvent.objects.create(
            operation=seen.operation, sequence=number, at=moment, step="go", outcome="info", message="hi"
        )
    everything = viewer.get("targets/alpha/events").json()["items"]
    assert [event["source"] for event in everything] == ["operation", "health", "cluster"] * 2
    crash = Replica.objects.get(handle__pod="api-2")
    assert everything[2] == {
        "at": "2026-05-01T12:00:01Z",
        "source": "cluster",
        "operation": None,
        "sequence": None,
        "kind": "Pod",
        "step": "",
        "outcome": "BackOff",
        "message": "Back-off restarting failed container",
        "replica": crash.pk,
        "object": "Pod/api-2",
        "warning": True,
        "count": 7,
    }
    # By pages, however they cut what happened in one moment.
    for limit in (1, 2, 4, 5):
        found, cursor = [], ""
        while cursor is not None:
            page = viewer.get(f"targets/alpha/events?limit={limit}{cursor and '&cursor=' + cursor}").json()
            found += page["items"]
            cursor = page["next_cursor"]
        assert found == everything
    only = viewer.get("targets/alpha/events?source=cluster,health").json()["items"]
    assert {event["source"] for event in only} == {"cluster", "health"}
    late = viewer.get("targets/alpha/events?source=cluster&since=2026-05-01T12:00:01Z").json()["items"]
    assert len(late) == 1
    assert_problem(viewer.get("targets/alpha/events?source=weather"), 422, field="source")
