"""The simulated API server, held against the documented behaviour of the real one by the official client."""

import threading

import pytest
import urllib3
from kubernetes import client, watch
from kubernetes.client.exceptions import ApiException

from tests.simulators.documents import NAMESPACE, config_map, deployment, refused
from tests.simulators.kubernetes import Cluster
from tests.simulators.kubernetes.schema import versions


@pytest.fixture(scope="module")
def cluster():
    with Cluster() as cluster:
        yield cluster


def test_stale_writes_and_second_creations_are_conflicts(api):
    core = client.CoreV1Api(api)
    made = core.create_namespaced_config_map(NAMESPACE, config_map("stale", a="1"))
    status, told = refused(core.create_namespaced_config_map, NAMESPACE, config_map("stale"))
    assert (status, told["reason"]) == (409, "AlreadyExists")
    assert told["message"] == 'configmaps "stale" already exists'
    fresh = core.patch_namespaced_config_map("stale", NAMESPACE, {"data": {"a": "2", "b": "3"}})
    assert fresh.metadata.resource_version != made.metadata.resource_version
    made.data["a"] = "9"
    status, told = refused(core.replace_namespaced_config_map, "stale", NAMESPACE, made)
    assert status == 409 and "the object has been modified" in told["message"]
    status, told = refused(
        core.delete_namespaced_config_map, "stale", NAMESPACE, body={"preconditions": {"uid": "another"}}
    )
    assert status == 409
    assert refused(core.read_namespaced_config_map, "nothing", NAMESPACE)[0] == 404
    assert (
        refused(core.create_namespaced_config_map, "nowhere", config_map("x") | {"metadata": {"name": "x"}})[
            1
        ]["message"]
        == 'namespaces "nowhere" not found'
    )


def test_lists_are_selected_and_paged(cluster, api):
    core = client.CoreV1Api(api)
    for number in range(5):
        labels = {"page": "yes", "odd": str(number % 2)}
        core.create_namespaced_config_map(
            NAMESPACE, {"metadata": {"name": f"page-{number}", "labels": labels}}
        )
    names, token = [], None
    while token != "":
        found = core.list_namespaced_config_map(NAMESPACE, label_selector="page", limit=2, _continue=token)
        names += [item.metadata.name for item in found.items]
        token = found.metadata._continue or ""
    assert names == [f"page-{number}" for number in range(5)]
    chosen = core.list_namespaced_config_map(NAMESPACE, label_selector="page in (yes),odd!=0")
    assert [item.metadata.name for item in chosen.items] == ["page-1", "page-3"]
    chosen = core.list_namespaced_config_map(NAMESPACE, field_selector="metadata.name=page-2")
    assert len(chosen.items) == 1
    token = core.list_namespaced_config_map(NAMESPACE, label_selector="page", limit=2).metadata._continue
    cluster.store.compact()
    core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="page")
    cluster.store.compact()
    status, told = refused(
        core.list_namespaced_config_map, NAMESPACE, label_selector="page", limit=2, _continue=token
    )
    assert (status, told["reason"]) == (410, "Expired")


def test_watches_see_each_change_once_and_old_ones_end_with_410(cluster, api):
    core = client.CoreV1Api(api)
    start = core.list_namespaced_secret(NAMESPACE).metadata.resource_version
    events, started = [], threading.Event()

    def look():
        stream = watch.Watch().stream(
            core.list_namespaced_secret,
            NAMESPACE,
            resource_version=start,
            label_selector="watched",
            timeout_seconds=20,
            allow_watch_bookmarks=True,
        )
        started.set()
        for event in stream:
            events.append(
                (event["type"], event["object"].metadata.name if event["type"] != "BOOKMARK" else "")
            )
            if event["type"] == "DELETED":
                break

    thread = threading.Thread(target=look)
    thread.start()
    started.wait(5)
    core.create_namespaced_secret(NAMESPACE, {"metadata": {"name": "other"}})
    core.create_namespaced_secret(NAMESPACE, {"metadata": {"name": "seen", "labels": {"watched": "y"}}})
    core.patch_namespaced_secret("seen", NAMESPACE, {"stringData": {"a": "b"}})
    core.patch_namespaced_secret("seen", NAMESPACE, {"metadata": {"labels": {"watched": None}}})
    thread.join(10)
    assert events == [("ADDED", "seen"), ("MODIFIED", "seen"), ("DELETED", "seen")]
    assert core.read_namespaced_secret("seen", NAMESPACE).data == {"a": "Yg=="}
    cluster.store.compact()
    with pytest.raises(ApiException) as gone:
        list(
            watch.Watch().stream(
                core.list_namespaced_secret, NAMESPACE, resource_version="1", timeout_seconds=5
            )
        )
    assert gone.value.status == 410


def test_what_cannot_change_is_refused_in_the_servers_words(api):
    apps, core, batch = client.AppsV1Api(api), client.CoreV1Api(api), client.BatchV1Api(api)
    apps.create_namespaced_deployment(NAMESPACE, deployment("fixed"))
    body = {
        "spec": {
            "selector": {"matchLabels": {"app": "other"}},
            "template": {"metadata": {"labels": {"app": "other"}}},
        }
    }
    status, told = refused(apps.patch_namespaced_deployment, "fixed", NAMESPACE, body)
    assert status == 422 and told["reason"] == "Invalid"
    assert told["message"].startswith('Deployment.apps "fixed" is invalid: spec.selector: Invalid value:')
    assert told["message"].endswith("field is immutable")
    assert told["details"]["causes"][0]["field"] == "spec.selector"
    ports = [{"port": 80}]
    made = core.create_namespaced_service(
        NAMESPACE, {"metadata": {"name": "fixed"}, "spec": {"ports": ports}}
    )
    assert made.spec.cluster_ip.startswith("10.96.") and made.spec.ports[0].target_port == 80
    status, told = refused(
        core.patch_namespaced_service, "fixed", NAMESPACE, {"spec": {"clusterIP": "10.96.9.9"}}
    )
    assert status == 422 and "may not change once set" in told["message"]
    job = {
        "metadata": {"name": "fixed"},
        "spec": {
            "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "a:1"}]}}
        },
    }
    batch.create_namespaced_job(NAMESPACE, job)
    body = {"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "a:2"}]}}}}
    status, told = refused(batch.patch_namespaced_job, "fixed", NAMESPACE, body)
    assert status == 422 and "spec.template: Invalid value" in told["message"]
    claim = {
        "metadata": {"name": "fixed"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}},
    }
    core.create_namespaced_persistent_volume_claim(NAMESPACE, claim)
    body = {"spec": {"resources": {"requests": {"storage": "1Gi"}}}}
    status, told = refused(core.patch_namespaced_persistent_volume_claim, "fixed", NAMESPACE, body)
    assert status == 422 and "spec.resources.requests.storage: Forbidden" in told["message"]
    nameless = deployment("bad")
    nameless["spec"]["template"]["metadata"]["labels"] = {"app": "other"}
    nameless["spec"]["template"]["spec"]["containers"] = []
    status, told = refused(apps.create_namespaced_deployment, NAMESPACE, nameless)
    assert "`selector` does not match template `labels`" in told["message"]
    assert "spec.template.spec.containers: Required value" in told["message"]


def test_dependents_go_with_their_owner_before_it_or_stay(cluster, api):
    apps = client.AppsV1Api(api)

    def left(name):
        return [
            d
            for kind in ("ReplicaSet", "Pod")
            for d in cluster.objects(kind)
            if d["metadata"]["labels"].get("app") == name
        ]

    for name, policy in (("back", "Background"), ("front", "Foreground"), ("orphans", "Orphan")):
        apps.create_namespaced_deployment(NAMESPACE, deployment(name))
        cluster.wait(lambda name=name: len(left(name)) == 2)
        apps.delete_namespaced_deployment(name, NAMESPACE, propagation_policy=policy)
        cluster.wait(lambda name=name: cluster.object("Deployment", name, NAMESPACE) is None)
    cluster.wait(lambda: not left("back"))
    assert not left("front")
    cluster.settle()
    assert len(left("orphans")) == 2
    held = config_map("held")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    core = client.CoreV1Api(api)
    core.create_namespaced_config_map(NAMESPACE, held)
    core.delete_namespaced_config_map("held", NAMESPACE)
    assert core.read_namespaced_config_map("held", NAMESPACE).metadata.deletion_timestamp
    core.patch_namespaced_config_map("held", NAMESPACE, {"metadata": {"finalizers": None}})
    assert refused(core.read_namespaced_config_map, "held", NAMESPACE)[0] == 404


def test_who_is_not_known_or_not_allowed(cluster, api, raw):
    path = f"/api/v1/namespaces/{NAMESPACE}/pods"
    token = cluster.token_for("someone", "people")
    assert raw("GET", path, token=token)[0] == 200
    cluster.revoke(token)
    status, told = raw("GET", path, token=token)
    assert (status, told["reason"]) == (401, "Unauthorized")
    status, told = raw("GET", path, token="")
    assert status == 403 and 'User "system:anonymous" cannot list resource "pods"' in told["message"]
    denial = cluster.access.deny("create", "deployments", group="apps", namespace=NAMESPACE)
    review = {
        "spec": {
            "resourceAttributes": {
                "verb": "create",
                "group": "apps",
                "resource": "deployments",
                "namespace": NAMESPACE,
            }
        }
    }
    may = client.AuthorizationV1Api(api).create_self_subject_access_review
    try:
        assert may(review).status.allowed is False
        status, told = refused(
            client.AppsV1Api(api).create_namespaced_deployment, NAMESPACE, deployment("no")
        )
        assert status == 403 and told["message"] == (
            'deployments.apps is forbidden: User "kubernetes-admin" cannot create resource "deployments" '
            'in API group "apps" in the namespace "default"'
        )
    finally:
        cluster.access.allow(denial)
    assert may(review).status.allowed is True
    fault = cluster.refuse(status=429, path="*/pods", retry_after_seconds=1, times=1)
    assert raw("GET", path)[0] == 429 and raw("GET", path)[0] == 200
    fault.stop()
    # The answer is lost, the object was made all the same.
    fault = cluster.refuse(path="*/configmaps", method="POST", hang_up=True, after=True, times=1)
    with pytest.raises(urllib3.exceptions.ProtocolError):
        raw("POST", f"/api/v1/namespaces/{NAMESPACE}/configmaps", {"metadata": {"name": "lost"}})
    assert cluster.object("ConfigMap", "lost", NAMESPACE)


def test_quota_limits_and_pod_security_are_enforced(cluster, api):
    core, apps = client.CoreV1Api(api), client.AppsV1Api(api)
    labels = {
        "pod-security.kubernetes.io/enforce": "restricted",
        "pod-security.kubernetes.io/warn": "restricted",
    }
    core.create_namespace({"metadata": {"name": "strict", "labels": labels}})
    body = deployment("loose")
    body["metadata"]["namespace"] = "strict"
    apps.create_namespaced_deployment("strict", body)

    def told(text):
        return lambda: [e for e in cluster.events if e["reason"] == "FailedCreate" and text in e["message"]]

    found = cluster.wait(told('violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false'))
    assert 'seccompProfile (pod or container "api" must set' in found[0]["message"]
    condition = cluster.wait(
        lambda: [
            c
            for c in (cluster.object("Deployment", "loose", "strict").get("status") or {}).get(
                "conditions", ()
            )
            if c["type"] == "ReplicaFailure"
        ]
    )
    assert condition[0]["reason"] == "FailedCreate"

    core.create_namespace({"metadata": {"name": "small"}})
    core.create_namespaced_resource_quota(
        "small", {"metadata": {"name": "most"}, "spec": {"hard": {"limits.cpu": "1", "pods": "5"}}}
    )
    container = [{"name": "api", "image": "a:1", "resources": {"limits": {"cpu": "800m"}}}]
    body = deployment("big", replicas=2, containers=container)
    body["metadata"]["namespace"] = "small"
    apps.create_namespaced_deployment("small", body)
    cluster.wait(
        told("exceeded quota: most, requested: limits.cpu=800m, used: limits.cpu=800m, limited: limits.cpu=1")
    )
    cluster.wait(
        lambda: (
            (cluster.object("ResourceQuota", "most", "small").get("status") or {}).get("used")
            == {"limits.cpu": "800m", "pods": "1"}
        )
    )
    bare = {"metadata": {"name": "bare"}, "spec": {"containers": [{"name": "a", "image": "a:1"}]}}
    status, answer = refused(core.create_namespaced_pod, "small", bare)
    assert status == 403 and "failed quota: most: must specify limits.cpu for: a" in answer["message"]
    core.create_namespaced_limit_range(
        "small",
        {
            "metadata": {"name": "d"},
            "spec": {"limits": [{"type": "Container", "default": {"cpu": "100m"}, "max": {"cpu": "500m"}}]},
        },
    )
    made = core.create_namespaced_pod("small", bare)
    assert made.spec.containers[0].resources.limits == {"cpu": "100m"}
    for name in ("strict", "small"):
        core.delete_namespace(name)
        cluster.wait(lambda name=name: cluster.object("Namespace", name) is None)


@pytest.mark.parametrize("version", ["1.30", versions()[-1]])
def test_the_oldest_and_the_newest_version_are_served(version):
    with Cluster(version=version) as cluster:
        cluster.create(deployment("api", replicas=2))
        held = lambda: cluster.object("Deployment", "api", NAMESPACE).get("status") or {}  # noqa: E731
        cluster.wait(lambda: held().get("availableReplicas") == 2)
        cluster.delete("Deployment", "api", NAMESPACE)
        cluster.wait(lambda: not cluster.objects("Pod"))
