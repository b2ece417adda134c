"""Clusters under watch: what pods do shows up in rows, events, logs and pages, in the cluster's own words."""

import json
import socket

import pytest
from django.test import Client

from controlplane.models import Membership, Role, User
from controlplane.services import api_key_create
from deployments import logs, reaching
from deployments.errors import NotFound, ProviderError
from deployments.fetching import fetch_all
from deployments.models import Account, ClusterEvent, ClusterState, Replica, Target
from deployments.probing import probe_round
from deployments.providers.base import ClusterAccess, Secret
from deployments.runtimes.kubernetes.client import ClusterClient
from deployments.runtimes.kubernetes.watching import quantity
from deployments.runtimes.kubernetes.watching import usage as usage_of
from deployments.watching import watch, watch_round
from deployments.workloads import workload_of, workload_runtime
from tests.deployments import in_cluster
from tests.deployments.conftest import wait_until
from tests.simulators.kubernetes import Cluster, Served, crash_loop, ready

pytestmark = pytest.mark.django_db(transaction=True)
PODS = "app.kubernetes.io/name=aindusdb-api"
WELL = {"/ready": Served(200, {"status": "ready"}), "/metrics": Served(200, "")}


@pytest.fixture(scope="module")
def shared():
    with Cluster(crds=("metrics",), speed=50) as cluster:
        yield cluster


@pytest.fixture
def cluster(shared):
    reaching.forget()
    yield shared
    shared.pods.forget()
    for namespace in shared.objects("Namespace"):
        if namespace["metadata"]["name"].startswith("aindus"):
            shared.delete("Namespace", namespace["metadata"]["name"])
    reaching.forget()


@pytest.fixture
def account(project, cluster):
    return in_cluster.make_account(project, cluster)


def rows(target: Target) -> dict[str, Replica]:
    return {row.handle["pod"]: row for row in Replica.objects.filter(target=target)}


def seen(target: Target, **wanted) -> list[Replica]:
    """The rows with these values, after one more look at the cluster."""
    watch(Target.objects.get(pk=target.pk))
    return list(Replica.objects.filter(target=target, **wanted))


def test_a_crash_loop_is_told_with_what_the_crashed_container_wrote(project, cluster, account):
    stamp = "2026-05-01T12:00:00.000Z"
    wrote = (f"{stamp} INFO api starting", f"{stamp} ERROR api no such setting: FOO", "  Traceback", "  end")
    cluster.pods.behave(PODS, crash_loop(exit_code=3, logs=wrote))
    target = in_cluster.make_target(account, in_cluster.make_release(project), "aindus-crash")
    in_cluster.apply(target)
    wait_until(lambda: [row for row in seen(target) if row.handle.get("problem") and row.handle["restarts"]])
    [row] = seen(target)
    problem = row.handle["problem"]
    assert problem["code"] == "crash_loop"
    assert "exit code 3" in row.reason and problem["remedy"] in row.reason
    [revision] = ClusterState.objects.get(target=target).workload["revisions"]
    assert revision["problem"]["code"] == "crash_loop"

    page = logs.target_logs(target, previous=True)
    assert [(line.replica_id, line.level) for line in page.lines] == [(row.pk, "INFO"), (row.pk, "ERROR")]
    assert page.lines[1].text == "api no such setting: FOO\n  Traceback\n  end"
    assert [line.level for line in logs.target_logs(target, previous=True, level="WARNING").lines] == [
        "ERROR"
    ]
    found = logs.target_logs(target, previous=True, search="traceback")
    assert len(found.lines) == 1

    wait_until(lambda: seen(target) and ClusterEvent.objects.filter(target=target, reason="BackOff").exists())
    event = ClusterEvent.objects.get(target=target, reason="BackOff")
    assert (event.kind, event.name, event.is_warning) == ("Pod", row.handle["pod"], True)
    before = event.count
    ClusterState.objects.filter(target=target).update(events_at=None)
    wait_until(lambda: seen(target) and _again(event) >= before)
    # The health of the target is told by it, and no heal is asked for.
    assert probe_round()
    target.refresh_from_db()
    assert target.health == "unhealthy"
    assert "0 of 1 replica" in target.health_reason and "exit code 3" in target.health_reason


def _again(event: ClusterEvent) -> int:
    event.refresh_from_db()
    return event.count


def test_secrets_are_blotted_out_and_a_pod_without_a_log_says_why(project, cluster, account):
    cluster.pods.behave(
        PODS, ready(serve=WELL, logs=(f"cannot connect to {in_cluster.NOWHERE}",), cpu="250m")
    )
    target = in_cluster.make_target(account, in_cluster.make_release(project), "aindus-logs")
    in_cluster.apply(target)
    wait_until(lambda: seen(target, status="ready"))
    [line] = logs.target_logs(target).lines
    assert line.text == "cannot connect to ***"
    # None of its containers has ended: nothing, and why only when it was asked for by name.
    nothing = logs.target_logs(target, previous=True)
    assert (nothing.lines, nothing.problems) == ([], {})
    [row] = seen(target)
    told = logs.target_logs(target, previous=True, replica=row.pk).problems
    assert told == {row.pk: f"No container of {row.handle['pod']} has ended before."}

    # What it uses, and the objects that we keep.
    usage = ClusterState.objects.get(target=target).usage
    assert usage["pods"][row.handle["pod"]] == {"cpu_cores": 0.25, "memory_bytes": 64 << 20}
    runtime, workload = workload_runtime(target), workload_of(target, ())
    found = {(one.kind, one.name): one for one in runtime.objects(workload)}
    deployment = found["Deployment", "aindusdb-api"]
    assert (deployment.state, deployment.told, deployment.part) == ("ready", "1 of 1 pods ready", "workload")
    assert deployment.made_at is not None
    cluster.delete("Service", "aindusdb-api", "aindus-logs")
    found = {(one.kind, one.name): one for one in runtime.objects(workload)}
    assert found["Service", "aindusdb-api"].state == "absent"

    # The pod goes: its row ends, and the next one's begins.
    cluster.delete("Pod", row.handle["pod"], "aindus-logs")
    wait_until(lambda: seen(target, status="stopped") and seen(target, status="ready"))
    assert len(rows(target)) == 2


def test_a_cluster_that_does_not_answer_holds_nobody_up_and_is_told(project, cluster, account):
    cluster.pods.behave(PODS, ready(serve=WELL))
    target = in_cluster.make_target(account, in_cluster.make_release(project), "aindus-well")
    in_cluster.apply(target)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        gone = dict(account.credentials) | {"server": f"https://127.0.0.1:{silent.getsockname()[1]}"}
        other = Account.objects.create(
            project=project, name="silent", provider="kubernetes", credentials=gone, created_by="test"
        )
        lost = in_cluster.make_target(other, target.release, "aindus-lost")
        wait_until(lambda: watch_round() and Replica.objects.filter(target=target, status="ready").exists())
        state = ClusterState.objects.get(target=lost)
        assert "does not answer" in state.error and state.remedy
        assert (state.seen_at, state.failing_since is not None) == (None, True)
        tried = state.tried_at
        assert watch_round()
        state.refresh_from_db()
        assert state.tried_at == tried, "it is left alone for a while"
        told = logs.target_logs(target)
        assert (told.lines, told.problems) == ([], {})


def test_permissions_that_are_missing_are_told(project, cluster, account):
    cluster.pods.behave(PODS, ready(serve=WELL))
    target = in_cluster.make_target(account, in_cluster.make_release(project), "aindus-denied")
    in_cluster.apply(target)
    wait_until(lambda: seen(target, status="ready"))
    [row] = seen(target)
    fault = cluster.refuse(path="*/proxy/*", status=403)
    answers = fetch_all({row.pk: reaching.way_of(row)}, "/ready", timeout_seconds=5, most_bytes=1000)
    assert answers[row.pk].status == 0
    assert answers[row.pk].error.startswith("cannot be reached through the cluster (403: ")
    fault.stop()
    assert probe_round()
    fault = cluster.refuse(path="/apis/metrics.k8s.io/*", status=503)
    ClusterState.objects.filter(target=target).update(usage={})
    watch(Target.objects.get(pk=target.pk))
    usage = ClusterState.objects.get(target=target).usage
    assert usage["pods"] == {} and usage["problem"].startswith("What its pods use cannot be read: ")
    fault.stop()


def test_a_cluster_without_the_metrics_api_is_told_plainly():
    with Cluster() as bare:
        access = ClusterAccess(bare.server, bare.certificate_authority, Secret({"token": bare.token}))
        with pytest.raises(NotFound, match="Install metrics-server"):
            usage_of(ClusterClient(access), "default")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("250m", 0.25),
        ("2", 2),
        ("12345678n", 0.012345678),
        ("64Mi", 64 << 20),
        ("1k", 1000),
        ("1Gi", 1 << 30),
    ],
)
def test_quantities(text, value):
    assert quantity(text) == pytest.approx(value)


def test_a_quantity_that_is_none_is_an_error():
    with pytest.raises(ProviderError, match="a quantity that is none"):
        quantity("a lot")


@pytest.fixture
def browser(project):
    user = User.objects.create_user("ada", "ada@example.org", "correct-horse-7")
    Membership.objects.create(user=user, project=project, role=Role.VIEWER)
    client = Client()
    client.force_login(user)
    return client


def test_rest_and_pages_show_it(project, cluster, account, browser):
    cluster.pods.behave(PODS, crash_loop(exit_code=3, logs=("it begins",)))
    target = in_cluster.make_target(account, in_cluster.make_release(project), "aindus-shown")
    in_cluster.apply(target)
    wait_until(lambda: [row for row in seen(target) if row.handle.get("problem") and row.handle["restarts"]])
    [row] = seen(target)
    base = "/targets/aindus-shown/"
    overview = browser.get(base).content.decode()
    assert row.handle["pod"] in overview and "ends as soon as it starts" in overview
    assert f"{base}logs/?replica={row.pk}&amp;previous=1" in overview
    page = browser.get(f"{base}logs/?previous=1&range=all").content.decode()
    assert "it begins" in page
    wait_until(lambda: seen(target) and ClusterEvent.objects.filter(target=target, is_warning=True).exists())
    events = browser.get(f"{base}events/?kind=warning").content.decode()
    assert "BackOff" in events and "Scheduled" not in events
    objects = browser.get(f"{base}infrastructure/objects/").content.decode()
    assert "Deployment" in objects and "0 of 1 pods ready" in objects
    _, key = api_key_create(project=project, name="ci", role="viewer", created_by="test")
    address = "/api/v1/targets/aindus-shown/logs?previous=true"
    answer = browser.get(address, headers={"Authorization": f"Bearer {key}"})
    assert [item["text"] for item in json.loads(answer.content)["items"]] == ["it begins"]
