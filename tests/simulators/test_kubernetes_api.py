"""The simulated API server, held against the documented behaviour of the real one by the official client."""

import json
import ssl
import threading

import pytest
import urllib3
from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient

from tests.simulators.kubernetes import Cluster

NAMESPACE = "default"
APPLY = "application/apply-patch+yaml"


@pytest.fixture(scope="module")
def cluster():
    with Cluster(crds=("istio", "metrics")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def api(cluster, tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "kubeconfig"
    cluster.kubeconfig(path, certificate=True)
    with config.new_client_from_config(str(path)) as made:
        yield made


@pytest.fixture(scope="module")
def dynamic(api):
    return DynamicClient(api)


@pytest.fixture(scope="module")
def raw(cluster):
    context = ssl.create_default_context(cadata=cluster.certificate_authority)
    with urllib3.PoolManager(ssl_context=context) as pool:

        def send(method, path, body=None, kind="application/json", token=cluster.token, **headers):
            given = {"Content-Type": kind, "User-Agent": "raw/1.0", **headers}
            if token:
                given["Authorization"] = f"Bearer {token}"
            answer = pool.request(
                method,
                cluster.server + path,
                body=json.dumps(body) if body else None,
                headers=given,
                retries=False,
            )
            return answer.status, answer.json() if "json" in answer.headers["Content-Type"] else answer.data

        yield send


def deployment(name, image="registry.example/api:1", replicas=1, **template):
    labels = {"app": name}
    spec = {"containers": [{"name": "api", "image": image, "ports": [{"containerPort": 8000}]}], **template}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def config_map(name, **data):
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "data": data,
    }


def refused(call, *arguments, **options):
    with pytest.raises(ApiException) as error:
        call(*arguments, **options)
    return error.value.status, json.loads(error.value.body)


def owner_of_field(document, *path):
    found = set()
    for entry in document["metadata"]["managedFields"]:
        node = entry["fieldsV1"]
        for part in path:
            node = node.get(part) if node is not None else None
        if node is not None:
            found.add((entry["manager"], entry["operation"]))
    return found


class TestApply:
    def test_a_manager_owns_what_it_applied_and_loses_what_it_no_longer_applies(self, dynamic):
        maps = dynamic.resources.get(api_version="v1", kind="ConfigMap")

        def apply(manager, force=False, **data):
            made = maps.server_side_apply(
                body=config_map("owned", **data), field_manager=manager, force_conflicts=force
            )
            return made.to_dict()

        first = apply("one", a="1", b="2")
        assert first["metadata"]["managedFields"] == [
            {
                "manager": "one",
                "operation": "Apply",
                "apiVersion": "v1",
                "time": first["metadata"]["creationTimestamp"],
                "fieldsType": "FieldsV1",
                "fieldsV1": {"f:data": {"f:a": {}, "f:b": {}}},
            }
        ]
        again = apply("one", a="1", b="2")
        assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        shared = apply("two", b="2", c="3")
        assert owner_of_field(shared, "f:data", "f:b") == {("one", "Apply"), ("two", "Apply")}
        # What another manager owns too stays; what nobody owns any more goes.
        assert apply("one", a="1")["data"] == {"a": "1", "b": "2", "c": "3"}
        assert apply("two", c="3")["data"] == {"a": "1", "c": "3"}

    def test_a_conflict_names_the_other_manager_and_is_taken_over_by_force_only(self, dynamic):
        deployments = dynamic.resources.get(api_version="apps/v1", kind="Deployment")
        body = deployment("contested", replicas=2)
        deployments.server_side_apply(body=body, field_manager="ours")
        deployments.patch(
            name="contested",
            namespace=NAMESPACE,
            body={"spec": {"replicas": 5}},
            content_type="application/merge-patch+json",
            field_manager="theirs",
        )
        status, body_ = refused(deployments.server_side_apply, body=body, field_manager="ours")
        assert status == 409 and body_["reason"] == "Conflict"
        assert body_["message"].startswith(
            'Apply failed with 1 conflict: conflict with "theirs" using apps/v1'
        )
        (cause,) = body_["details"]["causes"]
        assert (cause["reason"], cause["field"]) == ("FieldManagerConflict", ".spec.replicas")
        kept = deployments.get(name="contested", namespace=NAMESPACE)
        assert kept.spec.replicas == 5
        forced = deployments.server_side_apply(
            body=body, field_manager="ours", force_conflicts=True
        ).to_dict()
        assert forced["spec"]["replicas"] == 2
        assert owner_of_field(forced, "f:spec", "f:replicas") == {("ours", "Apply")}
        # Two fields at once are told as a list.
        other = deployment("contested", image="registry.example/other:1", replicas=7)
        status, body_ = refused(deployments.server_side_apply, body=other, field_manager="third")
        assert body_["message"].splitlines() == [
            'Apply failed with 2 conflicts: conflicts with "ours":',
            "- .spec.replicas",
            '- .spec.template.spec.containers[name="api"].image',
        ]

    def test_items_of_associative_lists_are_owned_one_by_one(self, dynamic):
        deployments = dynamic.resources.get(api_version="apps/v1", kind="Deployment")
        body = deployment("items")
        container = body["spec"]["template"]["spec"]["containers"][0]
        container["env"] = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
        deployments.server_side_apply(body=body, field_manager="ours")
        meta = {"name": "items", "namespace": NAMESPACE}
        extra = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": meta,
            "spec": {
                "template": {
                    "spec": {
                        "containers": [
                            {"name": "api", "env": [{"name": "C", "value": "3"}]},
                            {"name": "proxy", "image": "proxy:1"},
                        ]
                    }
                }
            },
        }
        made = deployments.server_side_apply(body=extra, field_manager="mesh").to_dict()
        containers = made["spec"]["template"]["spec"]["containers"]
        assert [c["name"] for c in containers] == ["api", "proxy"]
        key = ("f:spec", "f:template", "f:spec", "f:containers", 'k:{"name":"proxy"}')
        assert owner_of_field(made, *key) == {("mesh", "Apply")}
        container["env"] = [{"name": "B", "value": "2"}]
        made = deployments.server_side_apply(body=body, field_manager="ours").to_dict()
        containers = made["spec"]["template"]["spec"]["containers"]
        assert [e["name"] for e in containers[0]["env"]] == ["B", "C"] and len(containers) == 2
        # Defaults belong to nobody, so that they conflict with nobody.
        assert owner_of_field(made, "f:spec", "f:strategy") == set()
        ports = (*key[:4], 'k:{"name":"api"}', "f:ports", 'k:{"containerPort":8000,"protocol":"TCP"}')
        assert owner_of_field(made, *ports) == {("ours", "Apply")}

    def test_dry_run_and_typos_change_nothing(self, cluster, dynamic, raw):
        deployments = dynamic.resources.get(api_version="apps/v1", kind="Deployment")
        body = deployment("dry", replicas=3)
        made = deployments.server_side_apply(body=body, field_manager="ours", dry_run="All")
        assert (
            made.spec.progressDeadlineSeconds == 600
            and cluster.object("Deployment", "dry", NAMESPACE) is None
        )
        body["spec"]["replica"] = 4
        status, told = refused(deployments.server_side_apply, body=body, field_manager="ours")
        assert status == 500 and ".spec.replica: field not declared in schema" in told["message"]
        path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
        status, told = raw("POST", f"{path}?fieldValidation=Strict", body)
        assert status == 400 and told["message"].endswith(
            'strict decoding error: unknown field "spec.replica"'
        )
        status, _ = raw("PATCH", f"{path}/dry", deployment("dry"), APPLY)
        assert status == 422
        assert cluster.object("Deployment", "dry", NAMESPACE) is None

    def test_a_custom_resource_merges_maps_and_replaces_lists(self, dynamic):
        services = dynamic.resources.get(api_version="networking.istio.io/v1", kind="VirtualService")
        body = {
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": {"name": "api", "namespace": NAMESPACE},
            "spec": {"hosts": ["a"], "http": [{"route": [{"destination": {"host": "api"}, "weight": 100}]}]},
        }
        assert services.server_side_apply(body=body, field_manager="ours").metadata.generation == 1
        body["spec"]["http"][0]["route"][0]["weight"] = 90
        made = services.server_side_apply(body=body, field_manager="ours")
        assert made.metadata.generation == 2
        body["spec"]["hosts"] = ["b"]
        status, told = refused(services.server_side_apply, body=body, field_manager="theirs")
        assert status == 409 and [cause["field"] for cause in told["details"]["causes"]] == [".spec.hosts"]


class TestObjects:
    def test_stale_writes_and_second_creations_are_conflicts(self, api):
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
            refused(
                core.create_namespaced_config_map, "nowhere", config_map("x") | {"metadata": {"name": "x"}}
            )[1]["message"]
            == 'namespaces "nowhere" not found'
        )

    def test_lists_are_selected_and_paged(self, cluster, api):
        core = client.CoreV1Api(api)
        for number in range(5):
            labels = {"page": "yes", "odd": str(number % 2)}
            core.create_namespaced_config_map(
                NAMESPACE, {"metadata": {"name": f"page-{number}", "labels": labels}}
            )
        names, token = [], None
        while token != "":
            found = core.list_namespaced_config_map(
                NAMESPACE, label_selector="page", limit=2, _continue=token
            )
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

    def test_watches_see_each_change_once_and_old_ones_end_with_410(self, cluster, api):
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

    def test_what_cannot_change_is_refused_in_the_servers_words(self, api):
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
                "template": {
                    "spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "a:1"}]}
                }
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

    def test_dependents_go_with_their_owner_before_it_or_stay(self, cluster, api):
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


class TestAccess:
    def test_who_is_not_known_or_not_allowed(self, cluster, api, raw):
        path = f"/api/v1/namespaces/{NAMESPACE}/pods"
        assert raw("GET", path, token="wrong")[0] == 401
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

    def test_quota_limits_and_pod_security_are_enforced(self, cluster, api):
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
            return lambda: [
                e for e in cluster.events if e["reason"] == "FailedCreate" and text in e["message"]
            ]

        found = cluster.wait(
            told('violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false')
        )
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
            told(
                "exceeded quota: most, requested: limits.cpu=800m, used: limits.cpu=800m, "
                "limited: limits.cpu=1"
            )
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
                "spec": {
                    "limits": [{"type": "Container", "default": {"cpu": "100m"}, "max": {"cpu": "500m"}}]
                },
            },
        )
        made = core.create_namespaced_pod("small", bare)
        assert made.spec.containers[0].resources.limits == {"cpu": "100m"}
        for name in ("strict", "small"):
            core.delete_namespace(name)
            cluster.wait(lambda name=name: cluster.object("Namespace", name) is None)
