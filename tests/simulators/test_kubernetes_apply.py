"""Server-side apply of the simulated API server, by the official dynamic client."""

import pytest

from tests.simulators.documents import NAMESPACE, config_map, deployment, owner_of_field, refused
from tests.simulators.kubernetes import Cluster

APPLY = "application/apply-patch+yaml"


@pytest.fixture(scope="module")
def cluster():
    with Cluster(crds=("istio", "gateway")) as cluster:
        yield cluster


def test_a_manager_owns_what_it_applied_and_loses_what_it_no_longer_applies(dynamic):
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


def test_a_conflict_names_the_other_manager_and_is_taken_over_by_force_only(dynamic):
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
    assert body_["message"].startswith('Apply failed with 1 conflict: conflict with "theirs" using apps/v1')
    (cause,) = body_["details"]["causes"]
    assert (cause["reason"], cause["field"]) == ("FieldManagerConflict", ".spec.replicas")
    kept = deployments.get(name="contested", namespace=NAMESPACE)
    assert kept.spec.replicas == 5
    forced = deployments.server_side_apply(body=body, field_manager="ours", force_conflicts=True).to_dict()
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


def test_items_of_associative_lists_are_owned_one_by_one(dynamic):
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


def test_dry_run_and_typos_change_nothing(cluster, dynamic, raw):
    deployments = dynamic.resources.get(api_version="apps/v1", kind="Deployment")
    body = deployment("dry", replicas=3)
    made = deployments.server_side_apply(body=body, field_manager="ours", dry_run="All")
    assert made.spec.progressDeadlineSeconds == 600 and cluster.object("Deployment", "dry", NAMESPACE) is None
    body["spec"]["replica"] = 4
    status, told = refused(deployments.server_side_apply, body=body, field_manager="ours")
    assert status == 500 and ".spec.replica: field not declared in schema" in told["message"]
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
    status, told = raw("POST", f"{path}?fieldValidation=Strict", body)
    assert status == 400 and told["message"].endswith('strict decoding error: unknown field "spec.replica"')
    status, _ = raw("PATCH", f"{path}/dry", deployment("dry"), APPLY)
    assert status == 422
    assert cluster.object("Deployment", "dry", NAMESPACE) is None


def test_a_custom_resource_merges_maps_and_replaces_lists(dynamic):
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


def test_a_custom_resource_is_held_to_its_definition(dynamic, raw):
    path = f"/apis/networking.istio.io/v1/namespaces/{NAMESPACE}/destinationrules"
    body = {
        "metadata": {"name": "strict"},
        "spec": {"host": "api", "trafficPolicy": {"tls": {"mode": "NONE"}}},
    }
    status, told = raw("POST", path, body)
    assert status == 422 and told["message"] == (
        'DestinationRule.networking.istio.io "strict" is invalid: '
        "spec.trafficPolicy.tls.mode: Unsupported value: "
        '"NONE": supported values: "DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"'
    )
    status, told = raw("POST", path, {"metadata": {"name": "strict"}, "spec": {"subsets": "v1"}})
    assert status == 422 and "spec.subsets in body must be of type array" in told["message"]
    status, told = raw("POST", path, {"metadata": {"name": "strict"}, "spec": {}})
    assert status == 422 and told["message"].endswith("spec.host: Required value")
    body = {"metadata": {"name": "strict"}, "spec": {"host": "api", "hostname": "x"}}
    status, told = raw("POST", f"{path}?fieldValidation=Strict", body)
    assert status == 400 and 'unknown field "spec.hostname"' in told["message"]
    status, told = raw("POST", path, body)
    assert status == 201 and told["spec"] == {"host": "api"}
    routes = dynamic.resources.get(api_version="gateway.networking.k8s.io/v1", kind="HTTPRoute")
    body = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "api", "namespace": NAMESPACE},
        "spec": {"rules": [{"matches": [{}], "backendRefs": [{"name": "api", "port": 80}]}]},
    }
    made = routes.server_side_apply(body=body, field_manager="ours").to_dict()
    assert made["spec"]["rules"][0] == {
        "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
        "backendRefs": [{"group": "", "kind": "Service", "name": "api", "port": 80, "weight": 1}],
    }


def test_an_item_of_a_list_may_be_applied_once_only(dynamic):
    deployments = dynamic.resources.get(api_version="apps/v1", kind="Deployment")
    body = deployment("twice")
    body["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "A", "value": "1"}] * 2
    status, told = refused(deployments.server_side_apply, body=body, field_manager="ours")
    assert status == 500 and 'duplicate entries for key [name="A"]' in told["message"]
