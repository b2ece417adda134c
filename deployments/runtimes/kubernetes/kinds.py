"""The kinds of objects we apply or read: where the API server keeps them, and what is applied first."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of the API. `order` is when it is applied: what others need comes first."""

    name: str
    api_version: str
    plural: str
    namespaced: bool = True
    order: int = 50

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of the collection, one object, or an object's subresource."""
        root = "/api/v1" if self.api_version == "v1" else f"/apis/{self.api_version}"
        parts = [root]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part]
        return "/".join(parts)


_ALL = (
    Kind("Namespace", "v1", "namespaces", namespaced=False, order=0),
    Kind("ServiceAccount", "v1", "serviceaccounts", order=10),
    Kind("Secret", "v1", "secrets", order=11),
    Kind("ConfigMap", "v1", "configmaps", order=12),
    # Before what it guards, so that no pod ever runs unguarded.
    Kind("NetworkPolicy", "networking.k8s.io/v1", "networkpolicies", order=13),
    Kind("PersistentVolumeClaim", "v1", "persistentvolumeclaims", order=14),
    Kind("Service", "v1", "services", order=20),
    # Before the pods, so that an eviction is never unguarded.
    Kind("PodDisruptionBudget", "policy/v1", "poddisruptionbudgets", order=25),
    Kind("Cluster", "postgresql.cnpg.io/v1", "clusters", order=30),
    Kind("StatefulSet", "apps/v1", "statefulsets", order=31),
    Kind("Deployment", "apps/v1", "deployments", order=40),
    Kind("HorizontalPodAutoscaler", "autoscaling/v2", "horizontalpodautoscalers", order=45),
    Kind("Job", "batch/v1", "jobs", order=46),
    Kind("CronJob", "batch/v1", "cronjobs", order=46),
    Kind("ServiceMonitor", "monitoring.coreos.com/v1", "servicemonitors", order=50),
    Kind("PrometheusRule", "monitoring.coreos.com/v1", "prometheusrules", order=50),
    Kind("Certificate", "cert-manager.io/v1", "certificates", order=51),
    Kind("DestinationRule", "networking.istio.io/v1", "destinationrules", order=60),
    Kind("Gateway", "gateway.networking.k8s.io/v1", "gateways", order=61),
    Kind("Gateway", "networking.istio.io/v1", "gateways", order=61),
    # Last: requests are sent where everything is there already.
    Kind("HTTPRoute", "gateway.networking.k8s.io/v1", "httproutes", order=62),
    Kind("VirtualService", "networking.istio.io/v1", "virtualservices", order=62),
    Kind("Pod", "v1", "pods"),
    Kind("Event", "v1", "events"),
    Kind("Node", "v1", "nodes", namespaced=False),
    Kind("ReplicaSet", "apps/v1", "replicasets"),
    Kind("ResourceQuota", "v1", "resourcequotas"),
    Kind("StorageClass", "storage.k8s.io/v1", "storageclasses", namespaced=False),
    Kind("SelfSubjectAccessReview", "authorization.k8s.io/v1", "selfsubjectaccessreviews", namespaced=False),
)
_BY_KEY = {(kind.api_version, kind.name): kind for kind in _ALL}
_BY_NAME = {kind.name: kind for kind in _ALL if kind.name != "Gateway"}


def applied() -> tuple[Kind, ...]:
    """The kinds that a target may consist of."""
    read = ("Pod", "Event", "Node", "ReplicaSet", "ResourceQuota", "StorageClass", "SelfSubjectAccessReview")
    return tuple(kind for kind in _ALL if kind.name not in read)


def kind_named(name: str) -> Kind:
    """A kind whose name is unique here; KeyError otherwise."""
    return _BY_NAME[name]


def kind_of(document: dict) -> Kind:
    """The kind of a document; KeyError for what this runtime never applies."""
    return _BY_KEY[(document["apiVersion"], document["kind"])]


def kind_at(api_version: str, name: str) -> Kind:
    """The kind of an API version."""
    return _BY_KEY[(api_version, name)]
