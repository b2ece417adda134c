"""What the API server refuses with 422, in its words: names, required fields, selectors, immutable fields."""

import json
import re
from decimal import Decimal
from typing import Any

from tests.simulators.kubernetes import quantities, selectors

Problems = list[tuple[str, str]]
_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
_SUBDOMAIN = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
_VALUE = re.compile(r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")
_SUBDOMAIN_TOLD = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_TOLD = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and "
    "must start and "
    "end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_VALUE_TOLD = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used "
    "for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_LABEL_NAMED = ("Service", "Namespace")
_FREE_NAMED = ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "Event")


def problems(resource, old: dict | None, new: dict) -> Problems:
    """Everything that is wrong with `new`, and with what it changes of `old`."""
    found = _metadata(resource, old, new)
    if check := _CHECKS.get(resource.kind):
        check(new, found)
    if old is not None and (fixed := _FIXED.get(resource.kind)):
        fixed(old, new, found)
    return found


def quoted(value: Any) -> str:
    return json.dumps(value, separators=(",", ":")) if not isinstance(value, str) else json.dumps(value)


def _metadata(resource, old: dict | None, new: dict) -> Problems:
    found: Problems = []
    meta = new.get("metadata") or {}
    name = meta.get("name", "")
    if not name:
        found.append(("metadata.name", "Required value: name or generateName is required"))
    elif resource.kind in _LABEL_NAMED:
        if len(name) > 63:
            found.append(
                ("metadata.name", f"Invalid value: {quoted(name)}: must be no more than 63 characters")
            )
        if not _LABEL.match(name):
            found.append(("metadata.name", f"Invalid value: {quoted(name)}: {_LABEL_TOLD}"))
    elif resource.kind not in _FREE_NAMED:
        if len(name) > 253:
            found.append(
                ("metadata.name", f"Invalid value: {quoted(name)}: must be no more than 253 characters")
            )
        if not _SUBDOMAIN.match(name):
            found.append(("metadata.name", f"Invalid value: {quoted(name)}: {_SUBDOMAIN_TOLD}"))
    _labels(meta.get("labels"), "metadata.labels", found)
    return found


def _labels(labels: dict | None, path: str, found: Problems) -> None:
    for key, value in (labels or {}).items():
        name = key.rpartition("/")[2]
        if not name or len(name) > 63 or not _VALUE.match(name):
            told = (
                "name part must consist of alphanumeric characters, '-', '_' or '.', and must start "
                "and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or "
                "'123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
            )
            found.append((path, f"Invalid value: {quoted(key)}: {told}"))
        if len(value) > 63:
            found.append((path, f"Invalid value: {quoted(value)}: must be no more than 63 bytes"))
        elif not _VALUE.match(value):
            found.append((path, f"Invalid value: {quoted(value)}: {_VALUE_TOLD}"))


def pod_spec(spec: dict, path: str, found: Problems) -> None:
    containers = spec.get("containers") or []
    if not containers:
        found.append((f"{path}.containers", "Required value"))
    names: set[str] = set()
    volumes = {volume.get("name") for volume in spec.get("volumes", ())}
    for kind in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(kind) or ()):
            _container(container, f"{path}.{kind}[{index}]", names, volumes, found)


def _container(container: dict, at: str, names: set[str], volumes: set, found: Problems) -> None:
    name = container.get("name", "")
    if not name:
        found.append((f"{at}.name", "Required value"))
    elif not _LABEL.match(name) or len(name) > 63:
        found.append((f"{at}.name", f"Invalid value: {quoted(name)}: {_LABEL_TOLD}"))
    elif name in names:
        found.append((f"{at}.name", f"Duplicate value: {quoted(name)}"))
    names.add(name)
    if not container.get("image"):
        found.append((f"{at}.image", "Required value"))
    for index, variable in enumerate(container.get("env", ())):
        if not variable.get("name"):
            found.append((f"{at}.env[{index}].name", "Required value"))
        if variable.get("value") and variable.get("valueFrom"):
            found.append(
                (
                    f"{at}.env[{index}].valueFrom",
                    'Invalid value: "": may not be specified when `value` is not empty',
                )
            )
    for index, port in enumerate(container.get("ports", ())):
        number = port.get("containerPort", 0)
        if not 0 < number < 65536:
            found.append(
                (
                    f"{at}.ports[{index}].containerPort",
                    f"Invalid value: {number}: must be between 1 and 65535, inclusive",
                )
            )
    for index, mount in enumerate(container.get("volumeMounts", ())):
        if mount.get("name") not in volumes:
            found.append((f"{at}.volumeMounts[{index}].name", f"Not found: {quoted(mount.get('name', ''))}"))
    resources = container.get("resources") or {}
    limits = resources.get("limits") or {}
    for name, value in (resources.get("requests") or {}).items():
        if name in limits and quantities.parse(value) > quantities.parse(limits[name]):
            found.append(
                (
                    f"{at}.resources.requests",
                    f"Invalid value: {quoted(value)}: must be less than or equal to {name} limit "
                    f"of {limits[name]}",
                )
            )


def _positive(spec: dict, name: str, found: Problems, path: str = "spec") -> None:
    if isinstance(spec.get(name), int) and spec[name] < 0:
        found.append((f"{path}.{name}", f"Invalid value: {spec[name]}: must be greater than or equal to 0"))


def _template(new: dict, found: Problems, restart: tuple[str, ...] = ("Always",)) -> None:
    spec = new.get("spec") or {}
    template = spec.get("template") or {}
    pod = template.get("spec") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    _labels(labels, "spec.template.metadata.labels", found)
    # The volumes of a stateful set's claims are added to its pods when they are made.
    claimed = [
        {"name": (one.get("metadata") or {}).get("name")} for one in spec.get("volumeClaimTemplates", ())
    ]
    mounted = {**pod, "volumes": [*(pod.get("volumes") or ()), *claimed]} if claimed else pod
    pod_spec(mounted, "spec.template.spec", found)
    policy = pod.get("restartPolicy", "Always")
    if policy not in restart:
        supported = ", ".join(quoted(word) for word in restart)
        found.append(
            (
                "spec.template.spec.restartPolicy",
                f"Unsupported value: {quoted(policy)}: supported values: {supported}",
            )
        )


def _selected(new: dict, found: Problems) -> None:
    spec = new.get("spec") or {}
    _positive(spec, "replicas", found)
    selector = spec.get("selector")
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if not selector:
        found.append(("spec.selector", "Required value"))
    elif not selectors.of(selector):
        found.append(("spec.selector", "Invalid value: {}: empty selector is invalid for deployment"))
    elif not selectors.matches(selectors.of(selector), labels):
        told = "{" + ",".join(f"{quoted(k)}:{quoted(v)}" for k, v in sorted(labels.items())) + "}"
        found.append(
            (
                "spec.template.metadata.labels",
                f"Invalid value: {told}: `selector` does not match template `labels`",
            )
        )
    _template(new, found)


def _deployment(new: dict, found: Problems) -> None:
    _selected(new, found)
    rolling = ((new.get("spec") or {}).get("strategy") or {}).get("rollingUpdate") or {}
    if all(_zero(rolling.get(name)) for name in ("maxSurge", "maxUnavailable")) and rolling:
        found.append(
            (
                "spec.strategy.rollingUpdate.maxUnavailable",
                f"Invalid value: {_intstr(rolling.get('maxUnavailable'))}: may not be 0 when `maxSurge` is 0",
            )
        )


def _zero(value: Any) -> bool:
    return value in (0, "0", "0%")


def _intstr(value: Any) -> str:
    return quoted(value)


def _job(new: dict, found: Problems) -> None:
    spec = new.get("spec") or {}
    for name in (
        "parallelism",
        "completions",
        "backoffLimit",
        "activeDeadlineSeconds",
        "ttlSecondsAfterFinished",
    ):
        _positive(spec, name, found)
    _template(new, found, ("OnFailure", "Never"))


def _cron_job(new: dict, found: Problems) -> None:
    spec = new.get("spec") or {}
    schedule = spec.get("schedule", "")
    if not schedule:
        found.append(("spec.schedule", "Required value"))
    elif len(schedule.split()) != 5 and not schedule.startswith("@"):
        told = f"Expected exactly 5 fields, found {len(schedule.split())}: {schedule}"
        found.append(("spec.schedule", f"Invalid value: {quoted(schedule)}: {told}"))
    if len((new.get("metadata") or {}).get("name", "")) > 52:
        found.append(("metadata.name", "Too long: must be no more than 52 characters"))
    job = (spec.get("jobTemplate") or {}).get("spec") or {}
    pod_spec((job.get("template") or {}).get("spec") or {}, "spec.jobTemplate.spec.template.spec", found)


def _service(new: dict, found: Problems) -> None:
    spec = new.get("spec") or {}
    ports = spec.get("ports") or []
    if not ports and spec.get("clusterIP") != "None" and spec.get("type") != "ExternalName":
        found.append(("spec.ports", "Required value"))
    names: set[str] = set()
    for index, port in enumerate(ports):
        at = f"spec.ports[{index}]"
        if len(ports) > 1 and not port.get("name"):
            found.append((f"{at}.name", "Required value"))
        if port.get("name") and port["name"] in names:
            found.append((f"{at}.name", f"Duplicate value: {quoted(port['name'])}"))
        names.add(port.get("name", ""))
        if not 0 < port.get("port", 0) < 65536:
            found.append(
                (
                    f"{at}.port",
                    f"Invalid value: {port.get('port', 0)}: must be between 1 and 65535, inclusive",
                )
            )


def _autoscaler(new: dict, found: Problems) -> None:
    spec = new.get("spec") or {}
    most, least = spec.get("maxReplicas", 0), spec.get("minReplicas", 1)
    if most < 1:
        found.append(("spec.maxReplicas", f"Invalid value: {most}: must be greater than 0"))
    elif most < least:
        found.append(
            ("spec.maxReplicas", f"Invalid value: {most}: must be greater than or equal to `minReplicas`")
        )
    if not (spec.get("scaleTargetRef") or {}).get("name"):
        found.append(("spec.scaleTargetRef.name", "Required value"))


def _claim(new: dict, found: Problems) -> None:
    spec = new.get("spec") or {}
    if not spec.get("accessModes"):
        found.append(("spec.accessModes", "Required value: at least 1 access mode is required"))
    if "storage" not in ((spec.get("resources") or {}).get("requests") or {}):
        found.append(("spec.resources[storage]", "Required value"))


def _budget(new: dict, found: Problems) -> None:
    spec = new.get("spec") or {}
    if "minAvailable" in spec and "maxUnavailable" in spec:
        found.append(
            (
                "spec",
                "Invalid value: policy.PodDisruptionBudgetSpec{}: minAvailable and "
                "maxUnavailable cannot be both set",
            )
        )


_KEY = re.compile(r"^[-._a-zA-Z0-9]+$")


def _data(new: dict, found: Problems) -> None:
    size = 0
    for name in ("data", "binaryData"):
        for key, value in (new.get(name) or {}).items():
            size += len(value)
            if not _KEY.match(key):
                told = (
                    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' "
                    "(e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is "
                    "'[-._a-zA-Z0-9]+')"
                )
                found.append((f"{name}[{key}]", f"Invalid value: {quoted(key)}: {told}"))
    if size > 1024 * 1024 * (4 / 3 if new.get("kind") == "Secret" else 1):
        found.append(("data", "Too long: may not be more than 1048576 bytes"))


_CHECKS = {
    "Pod": lambda new, found: pod_spec(new.get("spec") or {}, "spec", found),
    "Deployment": _deployment,
    "ReplicaSet": _selected,
    "StatefulSet": _selected,
    "DaemonSet": _selected,
    "Job": _job,
    "CronJob": _cron_job,
    "Service": _service,
    "HorizontalPodAutoscaler": _autoscaler,
    "PersistentVolumeClaim": _claim,
    "PodDisruptionBudget": _budget,
    "ConfigMap": _data,
    "Secret": _data,
}

_IMMUTABLE = "field is immutable"


def _immutable(old: dict, new: dict, found: Problems, *paths: str) -> None:
    for path in paths:
        before, after = _at(old, path), _at(new, path)
        if before != after:
            found.append((path, f"Invalid value: {quoted(after)}: {_IMMUTABLE}"))


def _at(document: dict, path: str) -> Any:
    node: Any = document
    for part in path.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


def _fixed_job(old: dict, new: dict, found: Problems) -> None:
    suspended = (old.get("spec") or {}).get("suspend") and not (old.get("status") or {}).get("startTime")
    _immutable(
        old, new, found, "spec.completions", "spec.selector", *([] if suspended else ["spec.template"])
    )


def _fixed_stateful_set(old: dict, new: dict, found: Problems) -> None:
    free = {
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    }
    before, after = old.get("spec") or {}, new.get("spec") or {}
    if any(before.get(name) != after.get(name) for name in {*before, *after} - free):
        told = (
            "Forbidden: updates to statefulset spec for fields other than 'replicas', "
            "'ordinals', 'template', "
            "'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and "
            "'minReadySeconds' are forbidden"
        )
        found.append(("spec", told))


def _fixed_service(old: dict, new: dict, found: Problems) -> None:
    before, after = old.get("spec") or {}, new.get("spec") or {}
    if before.get("type") == "ExternalName" or after.get("type") == "ExternalName":
        return
    for name in ("clusterIP", "clusterIPs"):
        if before.get(name) and before.get(name) != after.get(name):
            value = after.get(name) if name == "clusterIP" else after.get(name) or []
            path = "spec.clusterIP" if name == "clusterIP" else "spec.clusterIPs[0]"
            if name == "clusterIP" or after.get("clusterIP") == before.get("clusterIP"):
                found.append((path, f"Invalid value: {quoted(value)}: may not change once set"))


def _fixed_claim(old: dict, new: dict, found: Problems) -> None:
    before, after = dict(old.get("spec") or {}), dict(new.get("spec") or {})
    sizes = [
        quantities.parse(((spec.get("resources") or {}).get("requests") or {}).get("storage", "0"))
        for spec in (before, after)
    ]
    if sizes[1] < sizes[0]:
        capacity = ((old.get("status") or {}).get("capacity") or {}).get("storage")
        if not capacity or sizes[1] < quantities.parse(capacity) or sizes[1] <= Decimal(0):
            found.append(
                ("spec.resources.requests.storage", "Forbidden: field can not be less than status.capacity")
            )
    for spec in (before, after):
        spec.pop("resources", None)
        spec.pop("volumeAttributesClassName", None)
    if before.get("volumeName") is None:
        before.pop("volumeName", None)
        after.pop("volumeName", None)
    if before.get("storageClassName") is None:
        after.pop("storageClassName", None)
    if before != after:
        told = (
            "Forbidden: spec is immutable after creation except resources.requests and "
            "volumeAttributesClassName for bound claims"
        )
        found.append(("spec", told))


def _fixed_pod(old: dict, new: dict, found: Problems) -> None:
    def frozen(document: dict) -> dict:
        spec = dict(document.get("spec") or {})
        for name in ("tolerations", "activeDeadlineSeconds", "terminationGracePeriodSeconds", "nodeName"):
            spec.pop(name, None)
        for kind in ("containers", "initContainers"):
            if kind in spec:
                spec[kind] = [{k: v for k, v in item.items() if k != "image"} for item in spec[kind]]
        return spec

    if frozen(old) != frozen(new):
        told = (
            "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
            "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` "
            "(only additions to "
            "existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was "
            "previously negative)"
        )
        found.append(("spec", told))


def _fixed_data(old: dict, new: dict, found: Problems) -> None:
    if old.get("immutable"):
        if not new.get("immutable"):
            found.append(("immutable", f"Forbidden: {_IMMUTABLE} when `immutable` is set"))
        if old.get("data") != new.get("data"):
            found.append(("data", f"Forbidden: {_IMMUTABLE} when `immutable` is set"))
    if old.get("kind") == "Secret" and old.get("type") != new.get("type"):
        found.append(("type", f"Invalid value: {quoted(new.get('type'))}: {_IMMUTABLE}"))


def _fixed_binding(old: dict, new: dict, found: Problems) -> None:
    if old.get("roleRef") != new.get("roleRef"):
        role = new.get("roleRef") or {}
        told = (
            "rbac.RoleRef{"
            + ", ".join(
                f"{name}:{quoted(role.get(key, ''))}"
                for name, key in (("APIGroup", "apiGroup"), ("Kind", "kind"), ("Name", "name"))
            )
            + "}"
        )
        found.append(("roleRef", f"Invalid value: {told}: cannot change roleRef"))


_FIXED = {
    "Deployment": lambda old, new, found: _immutable(old, new, found, "spec.selector"),
    "ReplicaSet": lambda old, new, found: _immutable(old, new, found, "spec.selector"),
    "DaemonSet": lambda old, new, found: _immutable(old, new, found, "spec.selector"),
    "StatefulSet": _fixed_stateful_set,
    "Job": _fixed_job,
    "Service": _fixed_service,
    "PersistentVolumeClaim": _fixed_claim,
    "Pod": _fixed_pod,
    "ConfigMap": _fixed_data,
    "Secret": _fixed_data,
    "RoleBinding": _fixed_binding,
    "ClusterRoleBinding": _fixed_binding,
}
