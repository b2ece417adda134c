"""What admission refuses or changes: Pod Security, quotas, limit ranges, service accounts, priorities."""

from decimal import Decimal

from tests.simulators.kubernetes import errors, quantities
from tests.simulators.kubernetes.podsecurity import violations
from tests.simulators.kubernetes.resources import Resource
from tests.simulators.kubernetes.writing import Options

_LABEL = "pod-security.kubernetes.io/"
_COUNTED = {
    "pods": "pods",
    "services": "services",
    "configmaps": "configmaps",
    "secrets": "secrets",
    "persistentvolumeclaims": "persistentvolumeclaims",
}
_TEMPLATES = ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob")


class Admission:
    """The admission plugins that matter to workloads, in the order the server runs them."""

    def __init__(self, cluster):
        self.cluster, self.store, self.writer = cluster, cluster.store, cluster.writer
        self.quotas = cluster.resources.find("", "v1", "resourcequotas")
        cluster.writer.admissions += [self._account, self._limits, self._security, self._quota]

    def _namespace(self, document: dict) -> dict:
        return self.store.get("namespaces", "", document["metadata"].get("namespace", "")) or {"metadata": {}}

    # Service accounts.

    def _account(self, resource: Resource, old: dict | None, new: dict, options: Options) -> None:
        if resource.kind != "Pod" or old is not None:
            return
        spec, namespace = new["spec"], new["metadata"]["namespace"]
        name = spec.get("serviceAccountName") or "default"
        account = self.store.get("serviceaccounts", namespace, name)
        if account is None and name != "default":
            raise errors.forbidden(
                resource,
                new["metadata"]["name"],
                f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found',
            )
        spec["serviceAccountName"] = spec["serviceAccount"] = name
        mounted = spec.get(
            "automountServiceAccountToken", (account or {}).get("automountServiceAccountToken", True)
        )
        if mounted:
            self._mount_token(spec)
        self._priority(spec)
        self._tolerations(spec)

    def _mount_token(self, spec: dict) -> None:
        if any(volume["name"].startswith("kube-api-access-") for volume in spec.get("volumes", ())):
            return
        name = "kube-api-access-" + "".join(self.writer.random.choices("bcdfghjklmnpqrstvwxz2456789", k=5))
        sources = [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        ]
        spec["volumes"] = [
            *spec.get("volumes", ()),
            {"name": name, "projected": {"sources": sources, "defaultMode": 420}},
        ]
        path = "/var/run/secrets/kubernetes.io/serviceaccount"
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            mounts = container.get("volumeMounts") or []
            if all(mount["mountPath"] != path for mount in mounts):
                container["volumeMounts"] = [*mounts, {"name": name, "readOnly": True, "mountPath": path}]

    @staticmethod
    def _priority(spec: dict) -> None:
        spec.setdefault("priority", 0)
        spec.setdefault("preemptionPolicy", "PreemptLowerPriority")

    @staticmethod
    def _tolerations(spec: dict) -> None:
        held = spec.get("tolerations") or []
        keys = {toleration.get("key") for toleration in held}
        for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
            if key not in keys:
                held = [
                    *held,
                    {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                ]
        spec["tolerations"] = held

    # Limit ranges.

    def _limits(self, resource: Resource, old: dict | None, new: dict, options: Options) -> None:
        if resource.kind != "Pod" or old is not None:
            return
        problems = []
        for held in self.store.find("limitranges", new["metadata"]["namespace"]):
            for limit in held["spec"].get("limits", ()):
                if limit.get("type") != "Container":
                    continue
                for container in new["spec"]["containers"]:
                    self._default(container, limit)
                    problems += self._outside(container, limit)
        if problems:
            told = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
            raise errors.forbidden(resource, new["metadata"]["name"], told)

    @staticmethod
    def _default(container: dict, limit: dict) -> None:
        resources = container.setdefault("resources", {})
        for name, value in (limit.get("default") or {}).items():
            resources.setdefault("limits", {}).setdefault(name, value)
        for name, value in (limit.get("defaultRequest") or {}).items():
            resources.setdefault("requests", {}).setdefault(name, value)

    @staticmethod
    def _outside(container: dict, limit: dict) -> list[str]:
        found, resources = [], container.get("resources") or {}
        for name, most in (limit.get("max") or {}).items():
            value = (resources.get("limits") or {}).get(name)
            if value is None:
                found.append(f"maximum {name} usage per Container is {most}.  No limit is specified")
            elif quantities.parse(value) > quantities.parse(most):
                found.append(f"maximum {name} usage per Container is {most}, but limit is {value}")
        for name, least in (limit.get("min") or {}).items():
            value = (resources.get("requests") or {}).get(name)
            if value is None:
                found.append(f"minimum {name} usage per Container is {least}.  No request is specified")
            elif quantities.parse(value) < quantities.parse(least):
                found.append(f"minimum {name} usage per Container is {least}, but request is {value}")
        return found

    # Pod Security.

    def _security(self, resource: Resource, old: dict | None, new: dict, options: Options) -> None:
        if resource.kind != "Pod" and resource.kind not in _TEMPLATES:
            return
        if old is not None and (old.get("spec") == new.get("spec") or resource.kind == "Pod"):
            return
        labels = self._namespace(new)["metadata"].get("labels") or {}
        spec = _pod_spec(resource.kind, new)
        told = []
        for mode in ("enforce", "warn"):
            level = labels.get(_LABEL + mode, "privileged")
            version = labels.get(f"{_LABEL}{mode}-version", "latest")
            found = violations(level, spec)
            if found:
                told.append((mode, f'violate PodSecurity "{level}:{version}": {", ".join(found)}'))
        for mode, text in told:
            if resource.kind == "Pod" and mode == "enforce":
                raise errors.forbidden(
                    resource, new["metadata"]["name"], text.replace("violate", "violates", 1)
                )
            if mode == "warn":
                options.warnings.append(f"would {text}")

    # Quotas.

    def _quota(self, resource: Resource, old: dict | None, new: dict, options: Options) -> None:
        if not resource.namespaced or (old is not None and resource.kind != "PersistentVolumeClaim"):
            return
        asked = usage(resource.plural, resource.group, new)
        if not asked:
            return
        namespace = new["metadata"]["namespace"]
        for quota in self.store.find(self.quotas.key, namespace):
            hard = (quota.get("spec") or {}).get("hard") or {}
            name = quota["metadata"]["name"]
            if resource.kind == "Pod":
                self._complete(resource, new, name, hard)
            used = self.used(namespace, hard)
            before = usage(resource.plural, resource.group, old) if old else {}
            over = [
                key
                for key in sorted(hard)
                if key in asked
                and asked[key] > before.get(key, 0)
                and used[key] - before.get(key, Decimal(0)) + asked[key] > quantities.parse(hard[key])
            ]
            if over:
                requested = ",".join(f"{key}={_text(key, asked[key])}" for key in over)
                held = ",".join(f"{key}={_text(key, used[key])}" for key in over)
                limited = ",".join(f"{key}={hard[key]}" for key in over)
                raise errors.forbidden(
                    resource,
                    new["metadata"]["name"],
                    f"exceeded quota: {name}, requested: {requested}, used: {held}, limited: {limited}",
                )
            if not options.dry_run:
                self._account_later(quota)

    @staticmethod
    def _complete(resource: Resource, pod: dict, quota: str, hard: dict) -> None:
        """A quota on a resource wants every container to say how much of it."""
        missing = []
        for key in sorted(hard):
            kind, _, name = key.partition(".") if "." in key else ("requests", "", key)
            if kind not in ("requests", "limits") or name not in ("cpu", "memory"):
                continue
            lacking = [
                container["name"]
                for container in pod["spec"]["containers"]
                if name not in ((container.get("resources") or {}).get(kind) or {})
            ]
            if lacking:
                missing.append(f"{key} for: {','.join(lacking)}")
        if missing:
            told = f"failed quota: {quota}: must specify {'; '.join(missing)}"
            raise errors.forbidden(resource, pod["metadata"]["name"], told)

    def used(self, namespace: str, hard: dict) -> dict[str, Decimal]:
        """What the namespace uses of each resource that a quota limits."""
        total = dict.fromkeys(hard, Decimal(0))
        for resource in self.cluster.resources:
            if not resource.namespaced or resource.custom:
                continue
            for document in self.store.find(resource.key, namespace):
                for key, value in usage(resource.plural, resource.group, document).items():
                    if key in total:
                        total[key] += value
        return total

    def _account_later(self, quota: dict) -> None:
        meta = quota["metadata"]
        self.cluster.loop.soon(
            (self.quotas.key, meta["namespace"], meta["name"]),
            lambda: self.account(meta["namespace"], meta["name"]),
        )

    def changed(self, change) -> None:
        namespace = change.document["metadata"].get("namespace")
        if change.key == self.quotas.key or change.key in _COUNTED:
            for quota in self.store.find(self.quotas.key, namespace or "-"):
                self._account_later(quota)

    def account(self, namespace: str, name: str) -> None:
        """Write a quota's status."""
        with self.store.lock:
            quota = self.store.get(self.quotas.key, namespace, name)
            if quota is None:
                return
            hard = (quota.get("spec") or {}).get("hard") or {}
            used = {key: _text(key, value) for key, value in self.used(namespace, hard).items()}
            self.writer.status(self.quotas, quota, {"hard": hard, "used": used})


def _pod_spec(kind: str, document: dict) -> dict:
    spec = document.get("spec") or {}
    if kind == "Pod":
        return spec
    if kind == "CronJob":
        spec = (spec.get("jobTemplate") or {}).get("spec") or {}
    return (spec.get("template") or {}).get("spec") or {}


def _text(key: str, value: Decimal) -> str:
    if "memory" in key or "storage" in key:
        return quantities.binary(int(value))
    return quantities.decimal(value)


def usage(plural: str, group: str, document: dict) -> dict[str, Decimal]:
    """What one object counts for in a quota."""
    found: dict[str, Decimal] = {f"count/{plural}.{group}" if group else f"count/{plural}": Decimal(1)}
    if plural in _COUNTED:
        found[_COUNTED[plural]] = Decimal(1)
    if plural == "persistentvolumeclaims":
        requests = ((document.get("spec") or {}).get("resources") or {}).get("requests") or {}
        found["requests.storage"] = quantities.parse(requests.get("storage", "0"))
    if plural == "pods":
        if (document.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            return {}
        for container in document["spec"].get("containers", ()):
            for kind in ("requests", "limits"):
                for name, value in ((container.get("resources") or {}).get(kind) or {}).items():
                    for key in (f"{kind}.{name}", *([name] if kind == "requests" else [])):
                        found[key] = found.get(key, Decimal(0)) + quantities.parse(value)
    return found
