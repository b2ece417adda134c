"""The defaults that the API server fills in, of the fields that matter."""

from typing import Any

from tests.simulators.kubernetes import quantities


def default(kind: str, document: dict[str, Any]) -> None:
    """Fill in the defaults of a new or changed object, in place."""
    found = _DEFAULTS.get(kind)
    if found:
        found(document)


def _fill(into: dict, **values: Any) -> None:
    for name, value in values.items():
        if into.get(name) is None:
            into[name] = value


def pod_spec(spec: dict) -> None:
    _fill(
        spec,
        restartPolicy="Always",
        dnsPolicy="ClusterFirst",
        schedulerName="default-scheduler",
        terminationGracePeriodSeconds=30,
        securityContext={},
    )
    if "serviceAccountName" in spec:
        _fill(spec, serviceAccount=spec["serviceAccountName"])
    elif "serviceAccount" in spec:
        spec["serviceAccountName"] = spec["serviceAccount"]
    for container in (*spec.get("initContainers", ()), *spec.get("containers", ())):
        _container(container)
    for volume in spec.get("volumes", ()):
        _volume(volume)
    for spread in spec.get("topologySpreadConstraints", ()):
        _fill(spread, whenUnsatisfiable="DoNotSchedule")


def _container(container: dict) -> None:
    image = container.get("image", "")
    name = image.rpartition("/")[2]
    latest = "@" not in name and (":" not in name or name.endswith(":latest"))
    _fill(
        container,
        imagePullPolicy="Always" if latest else "IfNotPresent",
        terminationMessagePath="/dev/termination-log",
        terminationMessagePolicy="File",
        resources={},
    )
    for port in container.get("ports", ()):
        _fill(port, protocol="TCP")
    resources = container["resources"]
    for name, value in (resources.get("limits") or {}).items():
        resources.setdefault("requests", {}).setdefault(name, value)
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe := container.get(name):
            _fill(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
            if "httpGet" in probe:
                _fill(probe["httpGet"], path="/", scheme="HTTP")
    for variable in container.get("env", ()):
        source = variable.get("valueFrom") or {}
        if "fieldRef" in source:
            _fill(source["fieldRef"], apiVersion="v1")
        if "resourceFieldRef" in source:
            _fill(source["resourceFieldRef"], divisor="0")


def _volume(volume: dict) -> None:
    for name in ("secret", "configMap", "projected", "downwardAPI"):
        if name in volume:
            _fill(volume[name], defaultMode=420)
    for source in (volume.get("projected") or {}).get("sources", ()):
        if "serviceAccountToken" in source:
            _fill(source["serviceAccountToken"], expirationSeconds=3600)
    if not set(volume) - {"name"}:
        volume["emptyDir"] = {}


def _pod(document: dict) -> None:
    spec = document.setdefault("spec", {})
    pod_spec(spec)
    _fill(spec, enableServiceLinks=True)


def _template(spec: dict) -> None:
    template = spec.setdefault("template", {})
    template.setdefault("metadata", {})
    pod_spec(template.setdefault("spec", {}))


def _deployment(document: dict) -> None:
    spec = document.setdefault("spec", {})
    _fill(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600)
    strategy = spec.setdefault("strategy", {})
    _fill(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        _fill(rolling, maxSurge="25%", maxUnavailable="25%")
    _template(spec)


def _replica_set(document: dict) -> None:
    spec = document.setdefault("spec", {})
    _fill(spec, replicas=1)
    _template(spec)


def _stateful_set(document: dict) -> None:
    spec = document.setdefault("spec", {})
    _fill(spec, replicas=1, revisionHistoryLimit=10, podManagementPolicy="OrderedReady")
    strategy = spec.setdefault("updateStrategy", {})
    _fill(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        strategy.setdefault("rollingUpdate", {}).setdefault("partition", 0)
    _fill(spec, persistentVolumeClaimRetentionPolicy={"whenDeleted": "Retain", "whenScaled": "Retain"})
    _template(spec)
    for claim in spec.get("volumeClaimTemplates", ()):
        claim.setdefault("apiVersion", "v1")
        claim.setdefault("kind", "PersistentVolumeClaim")
        _claim(claim)
        claim.setdefault("status", {}).setdefault("phase", "Pending")


def _daemon_set(document: dict) -> None:
    spec = document.setdefault("spec", {})
    _fill(spec, revisionHistoryLimit=10)
    spec.setdefault("updateStrategy", {}).setdefault("type", "RollingUpdate")
    _template(spec)


def _job_spec(spec: dict) -> None:
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = spec["parallelism"] = 1
    _fill(
        spec, parallelism=1, backoffLimit=6, completionMode="NonIndexed", suspend=False, manualSelector=False
    )
    _fill(spec, podReplacementPolicy="TerminatingOrFailed")
    _template(spec)


def _cron_job(document: dict) -> None:
    spec = document.setdefault("spec", {})
    _fill(
        spec,
        concurrencyPolicy="Allow",
        suspend=False,
        successfulJobsHistoryLimit=3,
        failedJobsHistoryLimit=1,
    )
    template = spec.setdefault("jobTemplate", {})
    template.setdefault("metadata", {})
    pod = template.setdefault("spec", {}).setdefault("template", {})
    pod.setdefault("metadata", {})
    pod_spec(pod.setdefault("spec", {}))


def _service(document: dict) -> None:
    spec = document.setdefault("spec", {})
    _fill(spec, type="ClusterIP", sessionAffinity="None")
    if spec["type"] != "ExternalName":
        _fill(spec, internalTrafficPolicy="Cluster", ipFamilyPolicy="SingleStack", ipFamilies=["IPv4"])
    if spec["type"] in ("NodePort", "LoadBalancer"):
        _fill(spec, externalTrafficPolicy="Cluster")
    if spec["type"] == "LoadBalancer":
        _fill(spec, allocateLoadBalancerNodePorts=True)
    for port in spec.get("ports", ()):
        _fill(port, protocol="TCP", targetPort=port.get("port"))


def _claim(document: dict) -> None:
    _fill(document.setdefault("spec", {}), volumeMode="Filesystem")


def _volume_object(document: dict) -> None:
    _fill(document.setdefault("spec", {}), volumeMode="Filesystem", persistentVolumeReclaimPolicy="Retain")


def _secret(document: dict) -> None:
    import base64

    _fill(document, type="Opaque")
    if given := document.pop("stringData", None):
        data = document.setdefault("data", {})
        data.update({key: base64.b64encode(value.encode()).decode() for key, value in given.items()})


def _autoscaler(document: dict) -> None:
    spec = document.setdefault("spec", {})
    _fill(spec, minReplicas=1)
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    behaviour = spec.get("behavior") or {}
    whole = {"type": "Percent", "value": 100, "periodSeconds": 15}
    if up := behaviour.get("scaleUp"):
        pods = {"type": "Pods", "value": 4, "periodSeconds": 15}
        _fill(up, selectPolicy="Max", stabilizationWindowSeconds=0, policies=[pods, whole])
    if down := behaviour.get("scaleDown"):
        _fill(down, selectPolicy="Max", policies=[dict(whole)])


def _network_policy(document: dict) -> None:
    spec = document.setdefault("spec", {})
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    for rule in (*spec.get("ingress", ()), *spec.get("egress", ())):
        for port in rule.get("ports", ()):
            _fill(port, protocol="TCP")


def _namespace(document: dict) -> None:
    document.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
    name = document["metadata"].get("name")
    document["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = name


def _storage_class(document: dict) -> None:
    _fill(document, reclaimPolicy="Delete", volumeBindingMode="Immediate")


def _binding(document: dict) -> None:
    role = document.get("roleRef") or {}
    _fill(role, apiGroup="rbac.authorization.k8s.io")
    for subject in document.get("subjects", ()):
        if subject.get("kind") in ("User", "Group"):
            _fill(subject, apiGroup="rbac.authorization.k8s.io")


def _quota(document: dict) -> None:
    hard = (document.get("spec") or {}).get("hard") or {}
    for name, value in hard.items():
        hard[name] = quantities.canonical(value)


def _limit_range(document: dict) -> None:
    for limit in (document.get("spec") or {}).get("limits", ()):
        if limit.get("type") == "Container":
            if limit.get("max"):
                limit["default"] = {**limit["max"], **(limit.get("default") or {})}
            if limit.get("default"):
                limit["defaultRequest"] = {**limit["default"], **(limit.get("defaultRequest") or {})}


_DEFAULTS = {
    "Pod": _pod,
    "Deployment": _deployment,
    "ReplicaSet": _replica_set,
    "StatefulSet": _stateful_set,
    "DaemonSet": _daemon_set,
    "Job": lambda document: _job_spec(document.setdefault("spec", {})),
    "CronJob": _cron_job,
    "Service": _service,
    "PersistentVolumeClaim": _claim,
    "PersistentVolume": _volume_object,
    "Secret": _secret,
    "HorizontalPodAutoscaler": _autoscaler,
    "NetworkPolicy": _network_policy,
    "Namespace": _namespace,
    "StorageClass": _storage_class,
    "RoleBinding": _binding,
    "ClusterRoleBinding": _binding,
    "ResourceQuota": _quota,
    "LimitRange": _limit_range,
}
