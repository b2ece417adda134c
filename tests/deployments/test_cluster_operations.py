"""Every operation on a target in a cluster, against the simulated API server; and with its worker killed."""

import random
import time
from collections import Counter, defaultdict
from datetime import datetime

import pytest

from controlplane.models import Project
from deployments.accounts import account_create
from deployments.models import Analysis, Replica, RolloutStatus, TargetStatus
from deployments.services import (
    plan_apply,
    rollback_start,
    rollout_start,
    target_create,
    target_destroy,
    target_plan,
    target_restart,
    target_scale,
    target_update,
)
from tests.deployments.mortal import Mortal
from tests.simulators.kubernetes import Cluster
from tests.simulators.kubernetes import behaviours as pods
from worker import engine
from worker.models import Operation, Status
from worker.services import operation_cancel

pytestmark = pytest.mark.django_db(transaction=True)

OWNED = (
    *("Deployment", "ReplicaSet", "Pod", "Service", "Secret", "ConfigMap", "ServiceAccount"),
    *("NetworkPolicy", "Job", "PodDisruptionBudget"),
)
BOUNDS = ("0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "+Inf")


class Served:
    """What the pods of the simulated cluster answer: as the vector API does, each as slow as its release."""

    def __init__(self):
        self.counts = defaultdict(Counter)
        self.slow = set()

    def __call__(self, request):
        """`/metrics` counts the requests that a pod would have answered since it was asked last."""
        pod = request.pod["metadata"]["uid"]
        if request.path != "/metrics":
            return pods.Served(200, {"status": "ok", "checks": {}})
        seconds = 0.3 if self.release_of(request.pod) in self.slow else 0.008
        counts = self.counts[pod]
        for _ in range(20):
            counts["requests"] += 1
            counts["ms"] += round(seconds * 1000)
            for bound in BOUNDS:
                counts[bound] += seconds <= float(bound)
        lines = [
            "# TYPE aindusdb_api_requests_total counter",
            f'aindusdb_api_requests_total{{route="query",status="200"}} {counts["requests"]}',
            "# TYPE aindusdb_api_request_duration_seconds histogram",
            *(
                f'aindusdb_api_request_duration_seconds_bucket{{route="query",le="{bound}"}} {counts[bound]}'
                for bound in BOUNDS
            ),
            f'aindusdb_api_request_duration_seconds_sum{{route="query"}} {counts["ms"] / 1000}',
            f'aindusdb_api_request_duration_seconds_count{{route="query"}} {counts["requests"]}',
        ]
        return pods.Served(200, "\n".join(lines) + "\n", {"Content-Type": "text/plain"})

    @staticmethod
    def release_of(pod) -> str:
        return next(value for value in pod["metadata"]["labels"].values() if value.startswith("rel_"))


def is_job(pod) -> bool:
    return "batch.kubernetes.io/job-name" in pod["metadata"].get("labels", {})


def is_api(pod) -> bool:
    return not is_job(pod) and any(
        str(value).startswith("rel_") for value in pod["metadata"].get("labels", {}).values()
    )


@pytest.fixture(scope="module")
def served():
    return Served()


@pytest.fixture(scope="module")
def cluster(served):
    with Cluster(version="1.34", crds=("metrics",), speed=10) as cluster:
        cluster.pods.behave(lambda pod: True, pods.ready())
        cluster.pods.behave(is_api, pods.ready(serve=served))
        cluster.pods.behave(is_job, pods.completes())
        yield cluster


@pytest.fixture
def project(transactional_db):
    return Project.objects.create(name="default")


@pytest.fixture
def make(project, cluster):
    """Makes a target in a namespace of its own, and its provision operation."""
    account_create(
        project=project,
        name="lab",
        provider="kubernetes",
        credentials={"kubeconfig": cluster.kubeconfig()},
        created_by="test",
    )

    def make(name, **spec):
        spec = {"namespace": f"{name}-{random.getrandbits(24):x}", "replicas": 2} | spec
        spec |= {
            "autoscaling": {"enabled": False},
            "database": {"mode": "external", "url": "postgresql://one:secret@db.test:5432/one"},
            "redis": {"mode": "none"},
        }
        target, plan, operation = target_create(
            project=project, name=name, provider="kubernetes", account="lab", spec=spec, created_by="test"
        )
        assert operation, plan.problems
        return target, operation

    return make


@pytest.fixture
def run():
    def run(operation, seconds=25.0):
        try:
            engine.drain(operation.subject, seconds=seconds)
        except TimeoutError as error:
            told = operation.events.order_by("-sequence").values_list("step", "outcome", "message")[:8]
            raise AssertionError(list(told)) from error
        operation.refresh_from_db()
        return operation

    return run


def of(cluster, target):
    """{kind: names} of what the target has in the cluster."""
    namespace = target.spec["namespace"]
    return {
        kind: sorted(one["metadata"]["name"] for one in cluster.objects(kind, namespace)) for kind in OWNED
    }


def images(cluster, target):
    """What the pods that serve run, by how many of them."""
    return Counter(
        pod["spec"]["containers"][0]["image"]
        for pod in cluster.objects("Pod", target.spec["namespace"])
        if is_api(pod) and not pod["metadata"].get("deletionTimestamp")
    )


@pytest.fixture
def ready(make, run):
    """A target that serves."""
    target, operation = make("two")
    assert run(operation).status == Status.SUCCEEDED, operation.error
    target.refresh_from_db()
    return target


def test_what_keeps_pods_from_serving_is_named(ready, run, cluster, settings):
    """Within seconds, with the cluster's own text, and the release is taken back by itself."""
    settings.WORKLOAD_UNSCHEDULABLE_SECONDS = settings.WORKLOAD_PROBLEM_SECONDS = 0.5
    before = images(cluster, ready)
    for tag, behaviour, code, words in (
        ("crash", pods.crash_loop(exit_code=3), "crash_loop", "ends as soon as it starts (exit code 3"),
        ("gone", pods.pull_error(), "image_pull", "The image aindusdb/api:gone cannot be pulled"),
        ("big", pods.unschedulable(), "unschedulable", "No node takes "),
    ):
        cluster.pods.behave(f"*/api:{tag}", behaviour)
        cluster.pods.behave(is_job, pods.completes())
        rollout, operation = rollout_start(target=ready, image=f"aindusdb/api:{tag}", requested_by="test")
        operation = run(operation)
        assert (operation.status, operation.error_code) == (Status.FAILED, "rolled_back"), operation.error
        assert f"{rollout.release} does not come up. " in operation.error and words in operation.error
        named = next(e for e in operation.events.order_by("sequence") if e.detail.get("problem") == code)
        happened = min(
            event_time(event)
            for event in cluster.events
            if event["metadata"]["namespace"] == ready.spec["namespace"]
            and event["type"] == "Warning"
            and event_time(event) >= operation.created_at.timestamp() - 1
        )
        assert named.at.timestamp() - happened < 10
        assert "The cluster says: " in named.message or words in named.message
        rollout.refresh_from_db()
        assert rollout.status == RolloutStatus.ROLLED_BACK
        assert images(cluster, ready) == before
    ready.refresh_from_db()
    assert ready.status == TargetStatus.READY


def event_time(event) -> float:
    text = event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"]
    return datetime.fromisoformat(text).timestamp()


def pod_uids(cluster, target, release):
    return {
        pod["metadata"]["uid"]
        for pod in cluster.objects("Pod", target.spec["namespace"])
        if is_api(pod) and Served.release_of(pod) == release.pk
    }


def advance_until(operation, condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        engine.advance(operation.pk)
        assert time.monotonic() < deadline, list(operation.events.values_list("step", "message"))


def test_what_is_cancelled_is_taken_back(make, run, cluster):
    """A first provisioning leaves nothing; a change of a serving target is as if it had not been."""
    serving = set()

    def is_new(pod):
        return is_api(pod) and pod["metadata"]["uid"] not in serving

    cluster.pods.behave(is_new, pods.unready())
    try:
        target, operation = make("four")
        advance_until(operation, lambda: of(cluster, target)["Deployment"])
        operation_cancel(operation=operation, requested_by="test")
        assert run(operation).status == Status.CANCELLED, operation.error
        assert all(not names for names in of(cluster, target).values())
        assert cluster.object("Namespace", target.spec["namespace"]) is None
        target.refresh_from_db()
        # What people gave is kept for the next try; what was made is gone.
        assert (target.status, set(target.secrets)) == (TargetStatus.PENDING, {"database_url"})

        cluster.pods.forget(is_new)
        target, operation = make("five")
        assert run(operation).status == Status.SUCCEEDED, operation.error
        target.refresh_from_db()
        serving |= pod_uids(cluster, target, target.release)
        cluster.pods.behave(is_new, pods.unready())
        plan = target_plan(target=target, spec=target.spec | {"replicas": 3}, created_by="test")
        operation = plan_apply(plan=plan, requested_by="test")
        advance_until(operation, lambda: images(cluster, target).total() == 3)
        operation_cancel(operation=operation, requested_by="test")
        assert run(operation).status == Status.CANCELLED, operation.error
        target.refresh_from_db()
        assert pod_uids(cluster, target, target.release) == serving
        assert (target.status, target.desired_replicas, target.spec["replicas"]) == ("ready", 2, 2)
    finally:
        cluster.pods.forget(is_new)


def test_killed_at_every_step(make, cluster, served, tmp_path):
    """Provision, canaries bad and good, rollback, scale, restart, destroy: nothing twice, nothing left."""
    mortal = Mortal(tmp_path, lambda: cluster.requests)
    target, operation = make("three")
    assert mortal.run(operation).status == Status.SUCCEEDED, operation.error
    target.refresh_from_db()
    first = without_pods(of(cluster, target))
    assert images(cluster, target) == {target.release.image: 2}
    assert Replica.objects.filter(target=target, status="ready").count() == 2

    steps = [{"weight": 50, "pause_seconds": 0}]
    ask = {"target": target, "strategy": "canary", "steps": steps, "requested_by": "test"}
    gates = {"p95_ratio": 2, "min_requests": 20}
    stable = pod_uids(cluster, target, target.release)
    bad, operation = rollout_start(image="aindusdb/api:slower", gates=gates, **ask)
    served.slow.add(bad.release_id)
    operation = mortal.run(operation)
    bad.refresh_from_db()
    assert (operation.error_code, bad.status) == ("rolled_back", RolloutStatus.ROLLED_BACK), operation.error
    assert "A gate failed at 50 % (step 1 of 1). p95_ratio: p95 is " in bad.reason
    assert Analysis.objects.filter(rollout=bad, verdict="failed").exists()
    assert pod_uids(cluster, target, target.release) == stable, "the stable release was not touched"
    assert not pod_uids(cluster, target, bad.release)
    assert without_pods(of(cluster, target)) == first

    good, operation = rollout_start(image="aindusdb/api:better", gates=gates, **ask)
    assert mortal.run(operation).status == Status.SUCCEEDED, operation.error
    target.refresh_from_db()
    assert images(cluster, target) == {"aindusdb/api:better": 2}
    assert target.release == good.release
    assert without_pods(of(cluster, target)) == first

    _, operation = rollback_start(target=target, requested_by="test")
    assert mortal.run(operation).status == Status.SUCCEEDED, operation.error
    target.refresh_from_db()
    assert target.release != good.release

    operation = mortal.run(target_scale(target=target, replicas=3, requested_by="test"))
    assert operation.status == Status.SUCCEEDED, operation.error
    assert images(cluster, target) == {target.release.image: 3}
    before = pod_uids(cluster, target, target.release)
    operation = mortal.run(target_restart(target=target, requested_by="test"))
    assert operation.status == Status.SUCCEEDED, operation.error
    now = pod_uids(cluster, target, target.release)
    assert len(now) == 3 and before.isdisjoint(now)
    assert without_pods(of(cluster, target)) == first

    target_update(target=target, deletion_protection=False, requested_by="test")
    operation = mortal.run(target_destroy(target=target, confirm="three", requested_by="test"))
    assert operation.status == Status.SUCCEEDED, operation.error
    assert all(not names for names in of(cluster, target).values())
    assert cluster.object("Namespace", target.spec["namespace"]) is None
    assert not Replica.objects.filter(target=target, status="ready").exists()
    for one in Operation.objects.filter(subject=target.subject):
        numbers = list(one.events.order_by("sequence").values_list("sequence", flat=True))
        assert numbers == list(range(1, len(numbers) + 1))
    assert len(mortal.kills) > 40, mortal.kills


def without_pods(objects):
    """The names of what lasts: pods and sets of former templates come and go."""
    return {kind: names for kind, names in objects.items() if kind not in ("Pod", "ReplicaSet")}
