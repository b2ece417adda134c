"""The simulated cluster, used with kubectl as an operator would."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.simulators.kubernetes import Cluster, ready

# From this minor version on kubectl lets the server look at the fields, and reads OpenAPI v3.
MODERN = 27

pytestmark = pytest.mark.skipif(
    shutil.which("kubectl") is None,
    reason="kubectl is not installed (Debian: apt-get install kubernetes-client)",
)


@pytest.fixture(scope="module")
def cluster():
    with Cluster(crds=("gateway", "keda", "metrics", "prometheus")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def minor():
    """The minor version of the kubectl that is installed."""
    told = subprocess.run(
        ["kubectl", "version", "--client", "-o", "json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return int(json.loads(told.stdout)["clientVersion"]["minor"].rstrip("+"))


@pytest.fixture(scope="module")
def kubectl(cluster, minor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kubectl")
    cluster.kubeconfig(folder / "config")

    def run(*arguments, given=None, fails=False):
        if minor < MODERN and arguments[0] == "apply":
            # It would want OpenAPI v2 as protobuf.
            arguments = (*arguments, "--validate=false")
        done = subprocess.run(
            [
                "kubectl",
                "--kubeconfig",
                str(folder / "config"),
                "--cache-dir",
                str(folder / "cache"),
                *arguments,
            ],
            input=json.dumps(given) if given is not None else None,
            capture_output=True,
            text=True,
            timeout=60,
            env={"PATH": os.environ["PATH"], "HOME": str(folder)},
            check=False,
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


def deployment(image="registry.example/api:1", replicas=2):
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "api", "namespace": "default", "labels": {"app": "api"}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "api"}},
            "template": {
                "metadata": {"labels": {"app": "api"}},
                "spec": {
                    "containers": [{"name": "api", "image": image, "env": [{"name": "A", "value": "1"}]}]
                },
            },
        },
    }


def test_kubectl_works_with_the_cluster(cluster, kubectl, minor):
    cluster.pods.behave("registry.example/api:*", ready(logs=("hello from the pod",)))
    assert "deployment.apps/api created" in kubectl("apply", "-f", "-", given=deployment())
    assert "deployment.apps/api unchanged" in kubectl("apply", "-f", "-", given=deployment())
    assert 'deployment "api" successfully rolled out' in kubectl(
        "rollout", "status", "deployment/api", "--timeout=20s"
    )
    lines = kubectl("get", "deployments,pods").splitlines()
    assert lines[0].split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert lines[1].split()[:4] == ["deployment.apps/api", "2/2", "2", "2"]
    assert [line.split()[1:3] for line in lines[4:]] == [["1/1", "Running"]] * 2
    assert "hello from the pod" in kubectl("logs", "deployment/api")

    changed = deployment("registry.example/api:2")
    told = kubectl("diff", "-f", "-", given=changed, fails=True)
    assert "+      - env" in told or "api:2" in told
    assert "configured" in kubectl("apply", "-f", "-", given=changed)
    kubectl("rollout", "status", "deployment/api", "--timeout=20s")
    assert "REVISION" in kubectl("rollout", "history", "deployment/api")
    assert "rolled back" in kubectl("rollout", "undo", "deployment/api")
    kubectl("rollout", "status", "deployment/api", "--timeout=20s")
    images = {
        pod["spec"]["containers"][0]["image"]
        for pod in cluster.objects("Pod")
        if "deletionTimestamp" not in pod["metadata"]
    }
    assert images == {"registry.example/api:1"}

    told = kubectl("apply", "--server-side", "-f", "-", given=deployment(replicas=3), fails=True)
    assert 'conflict with "kubectl-client-side-apply"' in told and ".spec.replicas" in told
    assert "serverside-applied" in kubectl(
        "apply", "--server-side", "--force-conflicts", "-f", "-", given=deployment(replicas=3)
    )
    assert "scaled" in kubectl("scale", "deployment/api", "--replicas=1")
    kubectl("rollout", "status", "deployment/api", "--timeout=20s")
    assert json.loads(kubectl("get", "deployment/api", "-o", "json"))["status"]["readyReplicas"] == 1
    assert "Scaled down replica set" in kubectl("describe", "deployment/api")
    assert "10m" in kubectl("top", "pods")

    if minor >= MODERN:
        misspelt = deployment()
        misspelt["spec"]["replica"] = 3
        assert 'unknown field "spec.replica"' in kubectl("apply", "-f", "-", given=misspelt, fails=True)
        assert "FIELDS" in kubectl("explain", "deployment.spec.strategy")
        assert "kubernetes-admin" in kubectl("auth", "whoami")
    assert kubectl("auth", "can-i", "create", "deployments").strip() == "yes"
    route = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "api"}}
    assert "serverside-applied" in kubectl(
        "apply", "--server-side", "-f", "-", given={**route, "spec": {"hostnames": ["a.example"]}}
    )
    assert "deleted" in kubectl("delete", "deployment/api", "--timeout=20s")
    cluster.wait(lambda: not cluster.objects("Pod"))
    assert "No resources found" in kubectl("get", "pods")


def test_the_control_plane_itself_is_deployed(cluster, kubectl, minor):
    if minor < MODERN:
        pytest.skip("this kubectl's kustomize knows no components")
    namespace = "aindusdb"
    overlay = Path(__file__).parents[2] / "docker" / "kubernetes" / "overlays" / "production"
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "aindusdb-control-plane"}}
    cluster.create(secret, namespace)
    told = kubectl("apply", "--server-side", "-k", str(overlay))
    # Its namespace asks for the restricted standard, and warns of what does not keep it.
    assert "deployment.apps/web serverside-applied" in told and "Warning" not in told
    labels = cluster.object("Namespace", namespace)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"

    def available():
        found = cluster.objects("Deployment", namespace)
        return found and all(
            (d.get("status") or {}).get("availableReplicas") == d["spec"]["replicas"] for d in found
        )

    cluster.wait(available)
    cluster.wait(lambda: cluster.objects("Job", namespace)[0].get("status", {}).get("succeeded") == 1)
    assert kubectl("diff", "--server-side", "-k", str(overlay)) == ""
    assert [
        e["message"]
        for e in cluster.events
        if e["type"] == "Warning" and e["metadata"]["namespace"] == namespace
    ] == []
