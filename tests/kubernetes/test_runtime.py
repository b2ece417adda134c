"""The runtime against a simulated cluster: applied, compared, pruned, migrated, routed, logged, removed."""

from dataclasses import replace

import pytest

from deployments.errors import Conflict, Denied, Invalid, NotFound, Transient
from deployments.runtimes.kubernetes.client import FieldConflict
from deployments.runtimes.kubernetes.kinds import kind_named
from tests.deployments.conftest import wait_until
from tests.kubernetes.conftest import client_of, ended, settle
from tests.kubernetes.shapes import SECRETS, revision, two
from tests.simulators.kubernetes import Served, completes, crash_loop, ready

DEPLOYMENT = kind_named("Deployment")


def space(made) -> str:
    return made.spec["namespace"]


def names(cluster, kind: str, made) -> set[str]:
    return {one["metadata"]["name"] for one in cluster.objects(kind, space(made))}


def edit(
    made, patch: dict, manager: str = "kubectl-edit", kind: str = "Deployment", name: str = "aindusdb-api"
):
    """Somebody else changes an object, as kubectl edit would."""
    return client_of(made).call(
        "PATCH",
        kind_named(kind).path(space(made), name),
        query={"fieldManager": manager},
        body=patch,
        content_type="application/strategic-merge-patch+json",
    )


def test_applied_twice_is_applied_once(cluster, runtime, make):
    made = make()
    planned = {(one.action, one.kind, one.name) for one in runtime.diff(made)}
    done = {(one.action, one.kind, one.name) for one in runtime.apply(made)}
    assert planned == done
    assert {one[0] for one in done} == {"create"}
    status = settle(runtime, made)
    (stable,) = status.revisions
    assert (stable.role, stable.release, stable.desired, stable.ready) == ("stable", "rel_1", 3, 3)
    assert len(status.pods) == 3
    assert {one.phase for one in status.pods} == {"ready"}
    before = cluster.objects("Deployment", space(made))
    assert runtime.apply(made) == ()
    assert runtime.diff(made) == ()
    assert runtime.drift(made) == []
    assert cluster.objects("Deployment", space(made)) == before


def test_a_release_of_canary_comes_and_goes(cluster, runtime, make):
    made = make()
    runtime.apply(made)
    settle(runtime, made)
    both = replace(made, revisions=two())
    changes = {(one.action, one.kind) for one in runtime.apply(both)}
    assert ("create", "Deployment") in changes
    status = settle(runtime, both)
    assert {one.role: one.release for one in status.revisions} == {"stable": "rel_1", "canary": "rel_2"}
    assert {one.role: one.ready for one in status.revisions} == {"stable": 3, "canary": 1}
    runtime.apply(made)
    assert names(cluster, "Deployment", made) == {"aindusdb-api"}
    assert [one.role for one in settle(runtime, made).revisions] == ["stable"]


def test_weights_are_changed_alone(cluster, runtime, make):
    made = make("istio", *two(stable=90))
    runtime.apply(made)
    before = cluster.objects("Deployment", space(made))
    runtime.route(replace(made, revisions=two(stable=50)))
    assert runtime.status(made).weights == {"stable": 50, "canary": 50}
    assert runtime.status(made).routing == "istio"
    assert [one["metadata"]["generation"] for one in cluster.objects("Deployment", space(made))] == [
        one["metadata"]["generation"] for one in before
    ]


def test_what_is_not_ours_is_never_touched(cluster, runtime, make):
    made = make()
    other = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space(made)}}
    client = client_of(made)
    client.create(kind_named("Namespace"), other)
    changes, problems = runtime.compare(made)
    assert changes == ()
    assert problems[0].code == "not_ours"
    assert "create_namespace" in problems[0].remedy
    with pytest.raises(Conflict, match="was not made by us"):
        runtime.apply(made)
    mine = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "aindusdb-api"}, "data": {"a": "b"}}
    client.create(kind_named("ConfigMap"), mine, space(made))
    used = replace(made, spec={**made.spec, "create_namespace": False})
    with pytest.raises(Conflict, match="ConfigMap aindusdb-api exists already"):
        runtime.apply(used)
    assert names(cluster, "Deployment", made) == set()
    client.delete(kind_named("ConfigMap"), "aindusdb-api", space(made))
    keep = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs"}, "data": {"a": "b"}}
    client.create(kind_named("ConfigMap"), keep, space(made))
    runtime.apply(used)
    assert ended(lambda: runtime.delete(used)).state == "succeeded"
    assert names(cluster, "ConfigMap", made) >= {"theirs"}
    assert client.get(kind_named("Namespace"), space(made)) is not None


def test_another_manager_is_named_and_never_overruled(cluster, runtime, make):
    made = make()
    runtime.apply(made)
    container = {"name": "api", "image": "aindusdb/api:hotfix"}
    edit(made, {"spec": {"template": {"spec": {"containers": [container]}}}})
    newer = replace(made, revisions=(revision(number=3),))
    changes, problems = runtime.compare(newer)
    (problem,) = problems
    assert "kubectl-edit" in problem.message
    assert "image" in problem.message
    (deployment,) = [one for one in changes if one.kind == "Deployment"]
    assert deployment.fields["spec.template.spec.containers[api].image"] == [
        "aindusdb/api:hotfix",
        "aindusdb/api:0.3",
    ]
    with pytest.raises(FieldConflict, match="kubectl-edit") as caught:
        runtime.apply(newer)
    assert caught.value.permanent
    assert caught.value.remedy
    live = client_of(made).get(DEPLOYMENT, "aindusdb-api", space(made))
    assert live["spec"]["template"]["spec"]["containers"][0]["image"] == "aindusdb/api:hotfix"


def test_drift_is_told_by_field_and_manager(runtime, make):
    made = make()
    runtime.apply(made)
    container = {"name": "api", "image": "aindusdb/api:hotfix", "env": [{"name": "DEBUG", "value": "1"}]}
    edit(made, {"spec": {"template": {"spec": {"containers": [container]}}}})
    client_of(made).delete(kind_named("PodDisruptionBudget"), "aindusdb-api", space(made))
    edit(made, {"data": {"jwt-secret": "aGlkZGVu"}}, "thief", "Secret")
    found = {(one.kind, one.field): one for one in runtime.drift(made)}
    image = found["Deployment", "spec.template.spec.containers[api].image"]
    assert (image.expected, image.actual) == ("aindusdb/api:0.1", "aindusdb/api:hotfix")
    assert image.manager == "kubectl-edit"
    added = found["Deployment", "spec.template.spec.containers[api].env[DEBUG].value"]
    assert (added.expected, added.actual, added.manager) == (None, "1", "kubectl-edit")
    assert found["PodDisruptionBudget", ""].actual is None
    secret = found["Secret", "data.jwt-secret"]
    assert (secret.expected, secret.actual) == ("***", "***")
    ignored = frozenset({"Deployment/aindusdb-api#spec.template.spec.containers[api].image"})
    left = {(one.kind, one.field) for one in runtime.drift(replace(made, ignored=ignored))}
    assert left == set(found) - {("Deployment", "spec.template.spec.containers[api].image")}
    # What is left to others does not stand in the way of the rest.
    edit(made, {"data": {"jwt-secret": None}}, "thief", "Secret")
    runtime.apply(replace(made, ignored=ignored))
    live = client_of(made).get(DEPLOYMENT, "aindusdb-api", space(made))
    assert live["spec"]["template"]["spec"]["containers"][0]["image"] == "aindusdb/api:hotfix"


def test_a_kill_in_the_middle_leaves_no_orphan(cluster, runtime, make):
    made = make()
    full = runtime.render(made)
    wanted = {one.key for one in full}
    cluster.refuse(status=500, method="PATCH", path="*/deployments/*", times=1)
    with pytest.raises(Transient):
        runtime.apply(made)
    # Gone without another try: all of it is known, and removed.
    assert names(cluster, "Service", made)
    assert ended(lambda: runtime.delete(made)).state == "succeeded"
    assert cluster.objects("Namespace", "") and space(made) not in {
        one["metadata"]["name"] for one in cluster.objects("Namespace")
    }
    assert wanted
    again = runtime.apply(made)
    assert {one.action for one in again} == {"create"}


def test_the_autoscaler_keeps_its_number(cluster, runtime, make):
    made = make(routing={"mode": "none"})
    client = client_of(made)

    def replicas() -> int:
        return client.get(DEPLOYMENT, "aindusdb-api", space(made))["spec"]["replicas"]

    cluster.pods.behave("aindusdb/api:*", ready(cpu="10m"))
    runtime.apply(made)
    assert replicas() == 3
    cluster.pods.behave("aindusdb/api:*", ready(cpu="2"))
    wait_until(lambda: replicas() == 10)
    runtime.apply(replace(made, revisions=(revision(number=2),)))
    assert replicas() == 10, "load holds it up"
    cluster.pods.behave("aindusdb/api:*", ready(cpu="10m"))
    wait_until(lambda: replicas() == 3)
    runtime.apply(replace(made, revisions=(revision(number=2, replicas=5),)))
    assert replicas() == 5, "the least is more"
    runtime.apply(replace(made, revisions=(revision(number=2, replicas=4),)))
    assert replicas() == 4, "it was at its least, and follows it"
    # A canary by numbers takes the number back, from the autoscaler alone.
    runtime.apply(replace(made, revisions=two()))
    assert replicas() == 3
    assert not cluster.objects("HorizontalPodAutoscaler", space(made))
    managers = {
        one["manager"]
        for one in client.get(DEPLOYMENT, "aindusdb-api", space(made))["metadata"]["managedFields"]
        if "f:replicas" in one["fieldsV1"].get("f:spec", {})
    }
    assert managers == {"aindusdb"}
    runtime.apply(made)
    assert replicas() == 3
    assert cluster.objects("HorizontalPodAutoscaler", space(made))


def test_a_migration_is_a_job(cluster, runtime, make):
    made = make()
    cluster.pods.behave("aindusdb/api:0.1", completes(after=1))
    assert runtime.migrate(made, "rel_1").state == "pending"
    assert ended(lambda: runtime.migrate(made, "rel_1")).state == "succeeded"
    (job,) = cluster.objects("Job", space(made))
    assert job["spec"]["template"]["spec"]["containers"][0]["command"][-2:] == ["migrate", "--no-color"]
    cluster.pods.behave(
        "aindusdb/api:0.2",
        crash_loop(exit_code=3, logs=("starts", f"OperationalError: {SECRETS['database_url']} refused")),
    )
    newer = replace(made, revisions=(revision(number=2),))
    failed = ended(lambda: runtime.migrate(newer, "rel_2"), 60)
    assert failed.state == "failed"
    assert "OperationalError: *** refused" in failed.error
    with pytest.raises(Invalid):
        runtime.migrate(made, "rel_9")


def test_a_pod_s_log_is_read_by_records(cluster, runtime, make):
    made = make()
    lines = (
        "2026-11-25T12:00:00.000Z INFO starts",
        "2026-11-25T12:00:00.100Z ERROR it broke",
        f"2026-11-25T12:00:00.200Z WARNING the key is {SECRETS['jwt_secret']}",
    )
    cluster.pods.behave("aindusdb/api:0.1", ready(logs=lines))
    runtime.apply(made)
    pod = settle(runtime, made).pods[0]
    found = list(runtime.logs(made, pod.name))
    assert [one.level for one in found] == ["INFO", "ERROR", "WARNING"]
    assert not any(SECRETS["jwt_secret"] in one.text for one in found)
    assert [one.level for one in runtime.logs(made, pod.name, level="error")] == ["ERROR"]
    assert len(list(runtime.logs(made, pod.name, search="KEY IS"))) == 1
    rest = list(runtime.logs(made, pod.name, cursor=found[0].cursor))
    assert [one.cursor for one in rest] == [one.cursor for one in found[1:]]


def test_requests_pass_the_api_server(cluster, runtime, make):
    made = make()

    def serve(request):
        told = {"path": request.path, "query": request.query, "token": request.headers.get("authorization")}
        return Served(200, told, {"X-Of": request.pod["metadata"]["name"]})

    cluster.pods.behave("aindusdb/api:0.1", ready(serve=serve))
    runtime.apply(made)
    pod = settle(runtime, made).pods[0]
    status, headers, body = runtime.request(
        made, "GET", "/ready?deep=1", pod=pod.name, headers={"Authorization": "Bearer x"}
    )
    assert status == 200
    assert b'"/ready"' in body
    assert b"deep=1" in body
    assert b"Bearer" not in body
    assert {key.lower(): value for key, value in headers.items()}["x-of"] == pod.name
    status, _, _ = runtime.request(made, "GET", "/health")
    assert status == 200
    with pytest.raises(NotFound):
        runtime.request(made, "GET", "/health", pod="gone")


def test_errors_say_what_to_do(cluster, runtime, make):
    made = make()
    wrong = replace(made, access=replace(made.access, credentials=type(made.secrets)({"token": "wrong"})))
    with pytest.raises(Denied) as caught:
        runtime.apply(wrong)
    assert caught.value.code == "unauthorized"
    assert caught.value.remedy
    gone = replace(made, access=replace(made.access, server="https://127.0.0.1:9"))
    with pytest.raises(Transient) as caught:
        runtime.status(gone)
    assert caught.value.code == "cluster_unreachable"
    stranger = replace(made, access=replace(made.access, certificate_authority=""))
    with pytest.raises(Denied) as caught:
        runtime.status(stranger)
    assert caught.value.code == "certificate_refused"


def test_a_kind_that_is_not_served_is_named(runtime, make):
    made = make("istio")
    known = {**made.spec["capabilities"], "cert-manager": True}
    with pytest.raises(Invalid, match="does not know the kind Certificate") as caught:
        runtime.apply(replace(made, spec={**made.spec, "capabilities": known}))
    assert caught.value.code == "kind_unknown"


def test_nothing_is_left(cluster, runtime, make):
    made = make("istio")
    runtime.apply(made)
    settle(runtime, made)
    assert ended(lambda: runtime.delete(made)).state == "succeeded"
    wait_until(lambda: not cluster.objects("Pod", space(made)))
    assert space(made) not in {one["metadata"]["name"] for one in cluster.objects("Namespace")}
    assert runtime.status(made).revisions == ()
    assert runtime.delete(made).state == "succeeded"
