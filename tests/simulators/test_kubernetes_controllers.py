"""The controllers of the simulated cluster: what they make of the objects, and how it looks to a client."""

import warnings
from datetime import UTC, datetime

import kubernetes_validate
import pytest

from tests.simulators.kubernetes import Cluster, completes, crash_loop, process, ready, unready
from tests.simulators.kubernetes.controllers.cronjobs import next_time

NAMESPACE = "default"


@pytest.fixture(scope="module")
def cluster():
    with Cluster(crds=("cnpg", "cert-manager", "gateway", "metrics"), speed=50) as cluster:
        yield cluster


def pod_template(image, labels, **more):
    return {
        "metadata": {"labels": labels},
        "spec": {
            "containers": [{"name": "main", "image": image, "ports": [{"containerPort": 8000}], **more}]
        },
    }


def workload(kind, name, image="good/api:1", replicas=1, container=None, **spec):
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": pod_template(image, labels, **(container or {})),
            **spec,
        },
    }


def status(cluster, kind, name):
    """Empty as long as the controller has not seen the present generation."""
    found = cluster.object(kind, name, NAMESPACE) or {"metadata": {}}
    held = found.get("status") or {}
    seen = held.get("observedGeneration", found["metadata"].get("generation"))
    return held if seen == found["metadata"].get("generation") else {}


def pods(cluster, name):
    return [p for p in cluster.objects("Pod") if (p["metadata"].get("labels") or {}).get("app") == name]


def condition(cluster, kind, name, what):
    return next((c for c in status(cluster, kind, name).get("conditions", ()) if c["type"] == what), {})


def set_image(image):
    def change(document):
        document["spec"]["template"]["spec"]["containers"][0]["image"] = image

    return change


def test_a_rollout_keeps_its_bounds_and_stops_at_its_deadline(cluster):
    cluster.pods.behave("rolled/api:2", ready(after=5))
    cluster.pods.behave("rolled/api:bad", unready())
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    body = workload("Deployment", "rolled", "rolled/api:1", 3, strategy=strategy, progressDeadlineSeconds=30)
    cluster.create(body)
    cluster.wait(lambda: status(cluster, "Deployment", "rolled").get("availableReplicas") == 3)
    most, least = [], []

    def watched(change):
        if change.key == "deployments.apps" and change.document["metadata"]["name"] == "rolled":
            held = change.document.get("status") or {}
            most.append(held.get("replicas", 0))
            least.append(held.get("availableReplicas", 0))

    cluster.store.listen(watched)
    cluster.edit("Deployment", "rolled", NAMESPACE, set_image("rolled/api:2"))
    done = lambda: condition(cluster, "Deployment", "rolled", "Progressing").get("reason")  # noqa: E731
    cluster.wait(lambda: status(cluster, "Deployment", "rolled").get("updatedReplicas") == 3)
    cluster.wait(lambda: done() == "NewReplicaSetAvailable")
    assert max(most) == 4 and min(least) == 3
    assert cluster.object("Deployment", "rolled", NAMESPACE)["metadata"]["annotations"] == {
        "deployment.kubernetes.io/revision": "2"
    }
    cluster.edit("Deployment", "rolled", NAMESPACE, set_image("rolled/api:bad"))
    cluster.wait(lambda: done() == "ProgressDeadlineExceeded")
    held = status(cluster, "Deployment", "rolled")
    assert (held["updatedReplicas"], held["availableReplicas"], held["replicas"]) == (1, 3, 4)
    # Back to the old template: the old replica set is taken again, as a new revision.
    cluster.edit("Deployment", "rolled", NAMESPACE, set_image("rolled/api:2"))
    cluster.wait(lambda: done() == "NewReplicaSetAvailable" and len(pods(cluster, "rolled")) == 3)
    sets = [s for s in cluster.objects("ReplicaSet") if s["metadata"]["labels"].get("app") == "rolled"]
    revisions = {s["metadata"]["annotations"]["deployment.kubernetes.io/revision"] for s in sets}
    assert len(sets) == 3 and revisions == {"1", "3", "4"}
    cluster.delete("Deployment", "rolled", NAMESPACE)


def test_a_stateful_set_starts_in_order_with_its_claims(cluster):
    cluster.pods.behave("app=db", ready(after=2))
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1024Mi"}}},
    }
    cluster.create(workload("StatefulSet", "db", replicas=2, serviceName="db", volumeClaimTemplates=[claim]))
    cluster.wait(lambda: status(cluster, "StatefulSet", "db").get("readyReplicas") == 2)
    first, second = sorted(pods(cluster, "db"), key=lambda p: p["metadata"]["name"])
    assert (first["metadata"]["name"], second["metadata"]["name"]) == ("db-0", "db-1")
    assert first["status"]["startTime"] <= second["status"]["startTime"]
    claims = {c["metadata"]["name"]: c for c in cluster.objects("PersistentVolumeClaim")}
    assert set(claims) == {"data-db-0", "data-db-1"}
    assert claims["data-db-0"]["status"] == {
        "phase": "Bound",
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "1Gi"},
    }
    before = {p["metadata"]["uid"] for p in pods(cluster, "db")}
    cluster.edit("StatefulSet", "db", NAMESPACE, set_image("good/api:2"))
    cluster.wait(lambda: status(cluster, "StatefulSet", "db").get("updatedReplicas") == 2)
    cluster.wait(lambda: status(cluster, "StatefulSet", "db").get("readyReplicas") == 2)
    assert not before & {p["metadata"]["uid"] for p in pods(cluster, "db")}
    cluster.delete("StatefulSet", "db", NAMESPACE)
    cluster.wait(lambda: not pods(cluster, "db"))
    assert len(cluster.objects("PersistentVolumeClaim")) == 2
    # Where the set owns its claims they go with it, but not before the pods that use them.
    policy = {"whenDeleted": "Delete"}
    made = workload("StatefulSet", "db", serviceName="db", volumeClaimTemplates=[claim])
    made["spec"]["persistentVolumeClaimRetentionPolicy"] = policy
    cluster.create(made)
    cluster.wait(lambda: status(cluster, "StatefulSet", "db").get("readyReplicas") == 1)
    cluster.delete("PersistentVolumeClaim", "data-db-1", NAMESPACE)
    cluster.delete("PersistentVolumeClaim", "data-db-0", NAMESPACE)
    assert cluster.object("PersistentVolumeClaim", "data-db-0", NAMESPACE)["metadata"]["deletionTimestamp"]
    cluster.delete("StatefulSet", "db", NAMESPACE)
    cluster.wait(
        lambda: not cluster.objects("PersistentVolumeClaim") and not cluster.objects("PersistentVolume")
    )


def job(name, image, **spec):
    template = pod_template(image, {"app": name})
    template["spec"]["restartPolicy"] = "Never"
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"template": template, "backoffLimit": 1, **spec},
    }


def test_jobs_end_and_cron_jobs_make_them(cluster):
    cluster.pods.behave("job/bad:1", completes(3, logs=("it cannot be done",)))
    cluster.pods.behave("job/real:1", process(command=lambda *_: ["/bin/sh", "-c", "echo done; exit 0"]))
    cluster.create(job("good", "job/good:1"))
    cluster.create(job("real", "job/real:1", ttlSecondsAfterFinished=30))
    cluster.create(job("bad", "job/bad:1"))
    cluster.wait(lambda: condition(cluster, "Job", "good", "Complete").get("status") == "True")
    cluster.wait(lambda: condition(cluster, "Job", "bad", "Failed").get("status") == "True")
    assert condition(cluster, "Job", "bad", "Failed")["reason"] == "BackoffLimitExceeded"
    assert len(pods(cluster, "bad")) == 2 and status(cluster, "Job", "bad")["failed"] == 2
    assert {p["status"]["phase"] for p in pods(cluster, "bad")} == {"Failed"}
    cluster.wait(lambda: cluster.object("Job", "real", NAMESPACE) is None)
    cron = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "nightly"},
        "spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": job("x", "job/good:1")["spec"]}},
    }
    made = cluster.create(cron)
    assert made["spec"]["concurrencyPolicy"] == "Allow"
    cluster.settle()
    at = next_time("0 3 * * *", datetime(2026, 2, 28, 3, 0, tzinfo=UTC))
    assert at == datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
    assert next_time("*/15 8-10 * * 1", datetime(2026, 11, 25, tzinfo=UTC)) == datetime(
        2026, 11, 30, 8, 0, tzinfo=UTC
    )
    cluster.controllers.cron_jobs.fire(NAMESPACE, "nightly", at)
    cluster.wait(lambda: status(cluster, "CronJob", "nightly").get("lastSuccessfulTime"))
    (child,) = [j for j in cluster.objects("Job") if j["metadata"]["name"].startswith("nightly-")]
    assert child["metadata"]["ownerReferences"][0]["kind"] == "CronJob"
    cluster.delete("CronJob", "nightly", NAMESPACE)
    cluster.wait(lambda: cluster.object("Job", child["metadata"]["name"], NAMESPACE) is None)


def test_operators_autoscalers_and_budgets_act(cluster):
    cluster.create(
        {
            "apiVersion": "postgresql.cnpg.io/v1",
            "kind": "Cluster",
            "metadata": {"name": "pg"},
            "spec": {
                "instances": 2,
                "storage": {"size": "1Gi"},
                "bootstrap": {"initdb": {"database": "vectors"}},
            },
        }
    )
    cluster.wait(lambda: status(cluster, "Cluster", "pg").get("readyInstances") == 2)
    assert status(cluster, "Cluster", "pg")["phase"] == "Cluster in healthy state"
    assert set(cluster.object("Secret", "pg-app", NAMESPACE)["data"]) >= {"uri", "password", "dbname"}

    cluster.pods.behave("app=busy", ready(cpu="450m"))
    requests = {"resources": {"requests": {"cpu": "500m"}}}
    cluster.create(workload("Deployment", "busy", replicas=2, container=requests))
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "busy"}
    spec = {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 4}
    scaler = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "busy"}}
    selector = {"matchLabels": {"app": "busy"}}
    budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "busy"}}
    cluster.create({**budget, "spec": {"maxUnavailable": 1, "selector": selector}})
    cluster.wait(lambda: status(cluster, "Deployment", "busy").get("readyReplicas") == 2)
    cluster.create({**scaler, "spec": spec})
    cluster.wait(lambda: status(cluster, "Deployment", "busy").get("readyReplicas") == 4)
    cluster.wait(lambda: status(cluster, "PodDisruptionBudget", "busy").get("disruptionsAllowed") == 1)
    owners = cluster.object("Deployment", "busy", NAMESPACE)["metadata"]["managedFields"]
    assert [e["manager"] for e in owners if e.get("subresource") == "scale"] == ["kube-controller-manager"]
    cluster.delete("HorizontalPodAutoscaler", "busy", NAMESPACE)
    cluster.delete("Deployment", "busy", NAMESPACE)


def test_everything_the_cluster_holds_is_valid_to_the_vendors_schemas(cluster):
    cluster.pods.behave("valid/bad:1", crash_loop())
    cluster.create(workload("Deployment", "valid", replicas=2))
    cluster.create(workload("Deployment", "invalid", "valid/bad:1"))
    ports = [{"name": "http", "port": 80, "targetPort": 8000}]
    body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "valid"}}
    cluster.create({**body, "spec": {"selector": {"app": "valid"}, "ports": ports}})
    cluster.wait(lambda: status(cluster, "Deployment", "valid").get("readyReplicas") == 2)
    cluster.settle()
    seen = set()
    for resource in cluster.resources:
        if resource.custom or resource.kind in ("CustomResourceDefinition",):
            continue
        for document in cluster.objects(resource.kind, group=resource.group)[:4]:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                kubernetes_validate.validate(document, cluster.version, strict=True)
            seen.add(resource.kind)
    assert seen >= {
        "Pod",
        "Deployment",
        "ReplicaSet",
        "Service",
        "EndpointSlice",
        "Event",
        "Node",
        "Namespace",
    }
