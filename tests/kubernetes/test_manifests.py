"""Every object we would apply, against the schemas of every version, and what the product asks of each."""

import base64
import json
from dataclasses import replace

import kubernetes_validate
import pytest

from deployments.runtimes.base import runtime_for
from deployments.runtimes.kubernetes.manifests import whole
from deployments.runtimes.kubernetes.manifests.place import Place
from deployments.runtimes.kubernetes.versions import NEWEST, OLDEST
from tests.kubernetes.shapes import SECRETS, SPECS, two, workload

VERSIONS = [f"1.{minor}" for minor in range(OLDEST[1], NEWEST[1] + 1)]
CUSTOM = {
    "networking.istio.io",
    "gateway.networking.k8s.io",
    "monitoring.coreos.com",
    "cert-manager.io",
    "postgresql.cnpg.io",
}


def objects(made) -> list:
    """The workload, what it stands on, and its migration job."""
    place = whole.place_of(made)
    return [
        *whole.infrastructure(place),
        *runtime_for("kubernetes").render(made),
        whole.migration(made, made.revisions[0]),
    ]


def by_key(made) -> dict[str, dict]:
    return {
        f"{one.document['kind']}/{one.document['metadata']['name']}": one.document for one in objects(made)
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_of_every_shape_is_valid(version):
    """What several shapes have alike is checked once; its names and values make no difference to a schema."""
    known, checked = set(), set()
    for name in SPECS:
        for one in objects(workload(name, *two())):
            text = json.dumps(one.document, sort_keys=True)
            if text in known:
                continue
            known.add(text)
            try:
                kubernetes_validate.validate(dict(one.document), version, strict=True)
            except kubernetes_validate.SchemaNotFoundError:
                # A custom resource: the simulator's own schemas hold it.
                assert one.document["apiVersion"].split("/")[0] in CUSTOM
            else:
                checked.add(one.document["kind"])
    assert {"Namespace", "Deployment", "StatefulSet", "Job", "HorizontalPodAutoscaler"} <= checked


def test_the_newest_version_is_the_newest_there_is():
    assert VERSIONS[-1] == kubernetes_validate.latest_version()[:4].rstrip(".")


@pytest.mark.parametrize("name", SPECS)
def test_the_same_workload_gives_the_same_bytes(name):
    once, again = ([json.dumps(one.document) for one in objects(workload(name, *two()))] for _ in range(2))
    assert once == again
    keys = [one.key for one in runtime_for("kubernetes").render(workload(name, *two()))]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("name", SPECS)
def test_secrets_stand_in_secrets_alone(name):
    for one in objects(workload(name, *two())):
        redacted = json.dumps(one.redacted)
        shown = json.dumps(one.document) if one.document["kind"] != "Secret" else ""
        for value in SECRETS.values():
            for text in (value, base64.b64encode(value.encode()).decode()):
                assert text not in redacted
                assert text not in shown


@pytest.mark.parametrize("name", SPECS)
def test_every_pod_is_restricted(name):
    found = 0
    for one in objects(workload(name, *two())):
        spec = one.document.get("spec") or {}
        if one.document["kind"] not in ("Deployment", "StatefulSet", "Job"):
            continue
        pod = spec["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            found += 1
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert container["resources"]["limits"].keys() == {"cpu", "memory"}
            assert not container["image"].endswith(":latest") and ":" in container["image"]
        assert one.document["spec"].get("selector", {"matchLabels": {}})["matchLabels"].items() <= (
            spec["template"]["metadata"]["labels"].items()
        )
    assert found >= 3


def test_the_deployment_is_as_the_product_asks():
    found = by_key(workload("standard"))
    spec = found["Deployment/aindusdb-api"]["spec"]
    pod = spec["template"]["spec"]
    (api,) = pod["containers"]
    assert spec["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    }
    assert api["ports"][0]["containerPort"] == 8000
    assert pod["securityContext"]["runAsUser"] == 1000
    assert api["resources"] == {
        "requests": {"cpu": "500m", "memory": "1Gi"},
        "limits": {"cpu": "2", "memory": "4Gi"},
    }
    probe = api["livenessProbe"]
    assert probe["httpGet"]["path"] == "/health"
    seconds = ("initialDelaySeconds", "periodSeconds", "timeoutSeconds", "failureThreshold")
    assert [probe[name] for name in seconds] == [30, 10, 5, 3]
    probe = api["readinessProbe"]
    assert probe["httpGet"]["path"] == "/ready"
    assert [probe[name] for name in seconds] == [5, 5, 3, 3]
    by_secret = {one["name"] for one in api["env"] if "valueFrom" in one}
    assert by_secret == {"DATABASE_URL", "REDIS_URL", "JWT_SECRET_KEY"}
    config = found["ConfigMap/aindusdb-api"]["data"]
    assert {"CLUSTER_REGION": "cluster", "CLOUD_PROVIDER": "kubernetes"}.items() <= config.items()
    (zones,) = pod["topologySpreadConstraints"]
    assert zones["topologyKey"] == "topology.kubernetes.io/zone"
    assert "replicas" not in spec, "the autoscaler decides"
    scaler = found["HorizontalPodAutoscaler/aindusdb-api"]["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (3, 10)
    labels = found["Namespace/aindusdb"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_network_is_closed_but_for_what_is_needed():
    found = by_key(workload("standard"))
    policy = found["NetworkPolicy/aindusdb-api"]["spec"]
    assert [port["port"] for rule in policy["ingress"] for port in rule["ports"]] == [8000]
    assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} == {53, 5432, 6379}
    assert all(rule.get("to") for rule in policy["egress"][1:])
    denied = found["NetworkPolicy/aindusdb-default-deny"]["spec"]
    assert denied["policyTypes"] == ["Ingress", "Egress"]
    assert denied["ingress"] == denied["egress"] == []
    url = "postgresql://u:p@10.9.8.7:6432/x"
    outside = by_key(workload("minimal"))
    assert not any(key.startswith("NetworkPolicy/") for key in outside)
    place = whole.place_of(workload("standard"))
    spec = {**place.spec, "database": {"mode": "external"}, "redis": {"mode": "none"}}
    place = Place(place.owner, place.target_name, spec, type(place.secrets)({"database_url": url}))
    from deployments.runtimes.kubernetes.manifests.security import api_policies

    egress = api_policies(place)[0]["spec"]["egress"]
    assert egress[1] == {
        "to": [{"ipBlock": {"cidr": "10.9.8.7/32"}}],
        "ports": [{"protocol": "TCP", "port": 6432}],
    }
    assert len(egress) == 2


def test_istio_splits_by_weight():
    found = by_key(workload("istio", *two(stable=90)))
    (rule,) = found["VirtualService/aindusdb-api"]["spec"]["http"]
    assert [(one["destination"]["subset"], one["weight"]) for one in rule["route"]] == [
        ("stable", 90),
        ("canary", 10),
    ]
    assert rule["match"] == [{"uri": {"prefix": "/api/v1/vectors"}}]
    assert rule["retries"]["attempts"] == 3
    assert rule["retries"]["perTryTimeout"] == "2s"
    assert rule["fault"]["delay"]["percentage"] == {"value": 0.1}
    servers = found["Gateway/aindusdb-api"]["spec"]["servers"]
    assert [one["port"]["number"] for one in servers] == [443, 80]
    assert servers[1]["tls"] == {"httpsRedirect": True}
    assert found["Certificate/aindusdb-api"]["spec"]["dnsNames"] == ["search.example.org"]
    plain = by_key(workload("standard"))
    assert "VirtualService/aindusdb-api" not in plain


def test_gateway_api_splits_by_weight():
    found = by_key(workload("gateway", *two(stable=75)))
    (rule,) = found["HTTPRoute/aindusdb-api"]["spec"]["rules"]
    assert [(one["name"], one["weight"]) for one in rule["backendRefs"]] == [
        ("aindusdb-api-stable", 75),
        ("aindusdb-api-canary", 25),
    ]
    shared = by_key(workload("shared gateway", *two()))
    (parent,) = shared["HTTPRoute/aindusdb-api"]["spec"]["parentRefs"]
    assert (parent["namespace"], parent["name"]) == ("edge", "public")
    assert "Gateway/aindusdb-api" not in shared


def test_numbers_of_pods_split_where_nothing_else_does():
    found = by_key(workload("standard", *two()))
    assert "HorizontalPodAutoscaler/aindusdb-api" not in found, "it would undo the ratio"
    assert found["Deployment/aindusdb-api"]["spec"]["replicas"] == 3
    assert found["Deployment/aindusdb-api-canary"]["spec"]["replicas"] == 1
    meshed = by_key(workload("istio", *two()))
    assert "HorizontalPodAutoscaler/aindusdb-api" in meshed


def test_a_revision_carries_its_own_settings():
    found = by_key(workload("standard", *two()))
    stable, canary = (found[f"Deployment/aindusdb-api{suffix}"] for suffix in ("", "-canary"))
    names = [
        {one["name"] for one in each["spec"]["template"]["spec"]["containers"][0]["env"]}
        for each in (stable, canary)
    ]
    assert names[1] - names[0] == {"A"}
    labels = [each["metadata"]["labels"]["aindusdb.io/release"] for each in (stable, canary)]
    assert labels == ["rel_1", "rel_2"]


def test_changed_secrets_and_a_restart_replace_the_pods():
    made = workload("standard")

    def annotations(one):
        return by_key(one)["Deployment/aindusdb-api"]["spec"]["template"]["metadata"]["annotations"]

    changed = replace(made, secrets=type(made.secrets)({**SECRETS, "database_url": "postgresql://other/x"}))
    assert annotations(made) != annotations(changed)
    restarted = replace(made, restarted_at="2026-11-25T12:00:00Z")
    assert annotations(restarted)["aindusdb.io/restarted-at"] == "2026-11-25T12:00:00Z"
    assert annotations(made) != annotations(restarted)
