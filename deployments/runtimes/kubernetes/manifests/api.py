"""The vector API itself: secret, configuration, a deployment for each revision, services, scaling."""

from typing import Any

from deployments.runtimes.kubernetes.manifests.place import (
    APP,
    CHECKSUM,
    DOMAIN,
    PORT,
    RELEASE_LABEL,
    RESTARTED,
    ROLE_LABEL,
    Place,
    pairs,
)
from deployments.runtimes.kubernetes.manifests.security import container_security, pod_security
from deployments.runtimes.workload import STABLE, Revision

UID = 1000
# Names in our Secret, and the variable each is given to a pod in.
SECRET_KEYS = {
    "database-url": ("database_url", "DATABASE_URL"),
    "redis-url": ("redis_url", "REDIS_URL"),
    "jwt-secret": ("jwt_secret", "JWT_SECRET_KEY"),
}
COMMAND = ["python", "manage.py"]
# Endpoints are taken out of load balancers while the pod still answers.
DRAIN_SECONDS = 5
GRACE_SECONDS = 30


def deployment_name(role: str) -> str:
    """The stable revision has the application's own name."""
    return APP if role == STABLE else f"{APP}-{role}"


def service_name(role: str = "") -> str:
    """The service of one revision, or of all of them."""
    return f"{APP}-{role}" if role else APP


def secret(place: Place) -> dict:
    """What the pods sign in with. `data`, because `stringData` is not kept and would always differ."""
    import base64

    data = {
        key: base64.b64encode(value.encode()).decode()
        for key, (name, _) in SECRET_KEYS.items()
        if (value := place.secrets.values.get(name, ""))
    }
    return place.document("Secret", APP, type="Opaque", data=data)


def config(place: Place, region: str, provider: str) -> dict:
    """What is the same for every revision. A release's own settings stand in its pods' template, so that a
    revision changes as a whole and an older pod that restarts never takes a newer one's settings.
    """
    return place.document(
        "ConfigMap",
        APP,
        data={
            "AINDUS_ROLE": "api",
            "CLUSTER_REGION": region,
            "CLOUD_PROVIDER": provider,
            "PYTHONUNBUFFERED": "1",
            "HOME": "/tmp",
        },
    )


def environment(place: Place, revision: Revision) -> list[dict]:
    """Secrets by reference, then the release's own variables by name."""
    found: list[dict] = []
    for key, (name, variable) in SECRET_KEYS.items():
        if place.secrets.values.get(name, ""):
            reference = {"secretKeyRef": {"name": APP, "key": key}}
            found.append({"name": variable, "valueFrom": reference})
    found.append({"name": "AINDUS_API_WORKERS", "value": str(revision.config.get("workers", 1))})
    found.append({"name": "AINDUS_API_THREADS", "value": str(revision.config.get("threads", 2))})
    own = revision.config.get("env") or {}
    found += [{"name": name, "value": str(own[name])} for name in sorted(own)]
    return found


def resources(part: Any) -> dict:
    """Requests and limits of a group of the spec."""
    return {
        "requests": {
            "cpu": part.get("cpu_request") or "500m",
            "memory": part.get("memory_request") or "1Gi",
        },
        "limits": {"cpu": part.get("cpu_limit") or "2", "memory": part.get("memory_limit") or "4Gi"},
    }


def container(place: Place, revision: Revision, name: str, arguments: list[str], **more: Any) -> dict:
    """A container of the release's image, in role `api`."""
    return {
        "name": name,
        "image": revision.image,
        "imagePullPolicy": "Always" if place.spec.get("image_pull") == "always" else "IfNotPresent",
        "command": [*COMMAND, *arguments],
        "envFrom": [{"configMapRef": {"name": APP}}],
        "env": environment(place, revision),
        "resources": resources(place.part("resources")),
        "securityContext": container_security(),
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        **more,
    }


def pod_spec(place: Place, only: dict, **more: Any) -> dict:
    """A pod with one container, under our service account, with a /tmp of its own."""
    pulls = place.spec.get("pull_secrets") or []
    spec = {
        "serviceAccountName": APP,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(UID),
        "containers": [only],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}],
        **more,
    }
    return spec | ({"imagePullSecrets": [{"name": name} for name in pulls]} if pulls else {})


def spread(place: Place, component: str, **more: str) -> dict:
    """Apart by host and by zone, as hard as the spec says."""
    selector = {"matchLabels": place.selector(component, **more)}
    hosts = {"labelSelector": selector, "topologyKey": "kubernetes.io/hostname"}
    if place.spec.get("host_spread", "preferred") == "required":
        anti = {"requiredDuringSchedulingIgnoredDuringExecution": [hosts]}
    else:
        preferred = [{"weight": 100, "podAffinityTerm": hosts}]
        anti = {"preferredDuringSchedulingIgnoredDuringExecution": preferred}
    found: dict[str, Any] = {"affinity": {"podAntiAffinity": anti}}
    zones = place.spec.get("zone_spread", "preferred")
    if zones != "none":
        found["topologySpreadConstraints"] = [
            {
                "maxSkew": 1,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "DoNotSchedule" if zones == "required" else "ScheduleAnyway",
                "labelSelector": selector,
            }
        ]
    return found


def deployment(place: Place, revision: Revision, *, autoscaled: bool, restarted_at: str) -> dict:
    """One revision. Its replicas are left to the autoscaler where there is one."""
    role = {ROLE_LABEL: revision.role}
    release = {RELEASE_LABEL: revision.release}
    selector = place.selector(APP, **role)
    api = container(
        place,
        revision,
        "api",
        ["api", "--host=0.0.0.0", f"--port={PORT}"],
        ports=[{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        startupProbe=_probe("/health", period=2, timeout=5, failures=60),
        livenessProbe=_probe("/health", delay=30, period=10, timeout=5, failures=3),
        readinessProbe=_probe("/ready", delay=5, period=5, timeout=3, failures=3),
        lifecycle={"preStop": {"sleep": {"seconds": DRAIN_SECONDS}}},
    )
    annotations = {CHECKSUM: place.checksum("database_url", "redis_url", "jwt_secret")}
    if restarted_at:
        annotations[RESTARTED] = restarted_at
    template = {
        "metadata": {"labels": place.labels(APP, **role, **release), "annotations": annotations},
        "spec": pod_spec(
            place,
            api,
            terminationGracePeriodSeconds=GRACE_SECONDS + DRAIN_SECONDS,
            **spread(place, APP, **role),
        ),
    }
    spec = {
        "revisionHistoryLimit": 3,
        "progressDeadlineSeconds": 600,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "selector": {"matchLabels": selector},
        "template": template,
    }
    if not autoscaled:
        spec["replicas"] = revision.replicas
    return place.document(
        "Deployment",
        deployment_name(revision.role),
        labels=role | release,
        annotations={f"{DOMAIN}/release-number": str(revision.number)},
        spec=spec,
    )


def _probe(path: str, *, period: int, timeout: int, failures: int, delay: int = 0) -> dict:
    found = {
        "httpGet": {"path": path, "port": "http", "scheme": "HTTP"},
        "periodSeconds": period,
        "timeoutSeconds": timeout,
        "failureThreshold": failures,
        "successThreshold": 1,
    }
    return found | ({"initialDelaySeconds": delay} if delay else {})


def service(place: Place, role: str = "") -> dict:
    """All revisions under one name, or one of them alone for who splits the traffic."""
    more = {ROLE_LABEL: role} if role else {}
    ports = [{"name": "http", "port": PORT, "targetPort": "http", "protocol": "TCP", "appProtocol": "http"}]
    spec = {"type": "ClusterIP", "selector": place.selector(APP, **more), "ports": ports}
    return place.document("Service", service_name(role), labels=more, spec=spec)


def autoscaler(place: Place, revision: Revision) -> dict:
    """Between the replicas asked for and the bound. It grows at once and shrinks slowly."""
    part = place.part("autoscaling")
    metrics = [
        {
            "type": "Resource",
            "resource": {
                "name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": part.get("cpu_percent", 70)},
            },
        }
    ]
    return place.document(
        "HorizontalPodAutoscaler",
        APP,
        spec={
            "scaleTargetRef": {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "name": deployment_name(revision.role),
            },
            "minReplicas": revision.replicas,
            "maxReplicas": max(part.get("maximum", 10), revision.replicas),
            "metrics": metrics,
            "behavior": {
                "scaleUp": {"stabilizationWindowSeconds": 0},
                "scaleDown": {
                    "stabilizationWindowSeconds": 300,
                    "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}],
                },
            },
        },
    )


def disruption_budget(place: Place) -> dict:
    """An evacuated node takes one pod at a time, whichever revision it is of."""
    return place.document(
        "PodDisruptionBudget",
        APP,
        spec={
            "maxUnavailable": 1,
            "selector": {"matchLabels": place.selector(APP)},
            # A pod that is not ready serves nobody: it must not hold up the drain of a node.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    )


def annotations_of(place: Place) -> dict[str, str]:
    """Annotations of the service account: a cloud's identity, say."""
    return pairs(place.spec.get("service_account_annotations") or [])
