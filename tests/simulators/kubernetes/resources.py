"""The kinds that the simulated API server knows: their names, scope and subresources."""

from dataclasses import dataclass, field

from tests.simulators.kubernetes import errors

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True)
class Resource:
    """One resource of one group and version. `subresources` names those it serves."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    verbs: tuple[str, ...] = VERBS
    custom: bool = False
    columns: tuple[tuple[str, str, str], ...] = field(default=(), compare=False)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def key(self) -> str:
        """What the store files it under; the versions of one resource share it."""
        return self.qualified

    @property
    def singular(self) -> str:
        return self.kind.lower()


# group version Kind plural scope short names, categories, subresources; "-" where there is none.
_TABLE = """
- v1 Pod pods namespaced po all status,log,proxy,eviction
- v1 Service services namespaced svc all status,proxy
- v1 ConfigMap configmaps namespaced cm - -
- v1 Secret secrets namespaced - - -
- v1 ServiceAccount serviceaccounts namespaced sa - token
- v1 Namespace namespaces cluster ns - status,finalize
- v1 Node nodes cluster no - status,proxy
- v1 Event events namespaced ev - -
- v1 Endpoints endpoints namespaced ep - -
- v1 PersistentVolumeClaim persistentvolumeclaims namespaced pvc - status
- v1 PersistentVolume persistentvolumes cluster pv - status
- v1 ResourceQuota resourcequotas namespaced quota - status
- v1 LimitRange limitranges namespaced limits - -
- v1 ReplicationController replicationcontrollers namespaced rc all status,scale
- v1 PodTemplate podtemplates namespaced - - -
apps v1 Deployment deployments namespaced deploy all status,scale
apps v1 ReplicaSet replicasets namespaced rs all status,scale
apps v1 StatefulSet statefulsets namespaced sts all status,scale
apps v1 DaemonSet daemonsets namespaced ds all status
apps v1 ControllerRevision controllerrevisions namespaced - - -
batch v1 Job jobs namespaced - all status
batch v1 CronJob cronjobs namespaced cj all status
autoscaling v2 HorizontalPodAutoscaler horizontalpodautoscalers namespaced hpa all status
policy v1 PodDisruptionBudget poddisruptionbudgets namespaced pdb - status
networking.k8s.io v1 NetworkPolicy networkpolicies namespaced netpol - -
networking.k8s.io v1 Ingress ingresses namespaced ing - status
networking.k8s.io v1 IngressClass ingressclasses cluster - - -
discovery.k8s.io v1 EndpointSlice endpointslices namespaced - - -
coordination.k8s.io v1 Lease leases namespaced - - -
storage.k8s.io v1 StorageClass storageclasses cluster sc - -
storage.k8s.io v1 CSIDriver csidrivers cluster - - -
scheduling.k8s.io v1 PriorityClass priorityclasses cluster pc - -
rbac.authorization.k8s.io v1 Role roles namespaced - - -
rbac.authorization.k8s.io v1 RoleBinding rolebindings namespaced - - -
rbac.authorization.k8s.io v1 ClusterRole clusterroles cluster - - -
rbac.authorization.k8s.io v1 ClusterRoleBinding clusterrolebindings cluster - - -
apiextensions.k8s.io v1 CustomResourceDefinition customresourcedefinitions cluster crd,crds - status
apiregistration.k8s.io v1 APIService apiservices cluster - api-extensions status
admissionregistration.k8s.io v1 ValidatingWebhookConfiguration validatingwebhookconfigurations cluster - - -
admissionregistration.k8s.io v1 MutatingWebhookConfiguration mutatingwebhookconfigurations cluster - - -
authorization.k8s.io v1 SelfSubjectAccessReview selfsubjectaccessreviews cluster - - -
authorization.k8s.io v1 SelfSubjectRulesReview selfsubjectrulesreviews cluster - - -
authorization.k8s.io v1 SubjectAccessReview subjectaccessreviews cluster - - -
authentication.k8s.io v1 SelfSubjectReview selfsubjectreviews cluster - - -
authentication.k8s.io v1 TokenReview tokenreviews cluster - - -
"""
REVIEWS = ("authorization.k8s.io", "authentication.k8s.io")


def _builtin() -> list[Resource]:
    found = []
    for line in _TABLE.strip().splitlines():
        group, version, kind, plural, scope, short, categories, subresources = line.split()
        words = [tuple(w for w in text.split(",") if w != "-") for text in (short, categories, subresources)]
        group = "" if group == "-" else group
        found.append(
            Resource(
                group,
                version,
                kind,
                plural,
                scope == "namespaced",
                *words,
                verbs=("create",) if group in REVIEWS else VERBS,
            )
        )
    return found


class Resources:
    """What the server serves, by group, version and plural name; custom resources come and go."""

    def __init__(self):
        self._served: dict[tuple[str, str, str], Resource] = {}
        for resource in _builtin():
            self.add(resource)

    def add(self, resource: Resource) -> None:
        self._served[(resource.group, resource.version, resource.plural)] = resource

    def remove(self, group: str, plural: str) -> None:
        self._served = {key: r for key, r in self._served.items() if (r.group, r.plural) != (group, plural)}

    def __iter__(self):
        return iter(tuple(self._served.values()))

    def groups(self) -> dict[str, list[str]]:
        """The versions of each group but the legacy one, preferred first."""
        found: dict[str, list[str]] = {}
        for resource in self:
            if resource.group and resource.version not in found.setdefault(resource.group, []):
                found[resource.group].append(resource.version)
        return found

    def served(self, group: str, version: str) -> list[Resource]:
        return [r for r in self if (r.group, r.version) == (group, version)]

    def find(self, group: str, version: str, plural: str) -> Resource:
        if found := self._served.get((group, version, plural)):
            return found
        if not self.served(group, version):
            raise errors.no_such_path()
        raise errors.no_such_resource()

    def kind(self, kind: str, group: str | None = None) -> Resource:
        """By kind (or plural, or a short name), any group unless one is given."""
        for resource in self:
            if kind in (resource.kind, resource.plural, *resource.short_names) and group in (
                None,
                resource.group,
            ):
                return resource
        raise LookupError(f"the simulated cluster has no kind {kind}")
