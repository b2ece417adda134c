"""Sets of custom resources: their definitions as objects, and their kinds served."""

from tests.simulators.kubernetes import customshapes, structural
from tests.simulators.kubernetes.resources import Resource
from tests.simulators.kubernetes.writing import Options

KEY = "customresourcedefinitions.apiextensions.k8s.io"
# set: group version Kind plural scope short-name subresources
_SETS = {
    "istio": (
        "networking.istio.io v1 VirtualService virtualservices namespaced vs status",
        "networking.istio.io v1 DestinationRule destinationrules namespaced dr status",
        "networking.istio.io v1 Gateway gateways namespaced gw status",
        "networking.istio.io v1 ServiceEntry serviceentries namespaced se status",
        "security.istio.io v1 PeerAuthentication peerauthentications namespaced pa status",
        "security.istio.io v1 AuthorizationPolicy authorizationpolicies namespaced ap status",
    ),
    "gateway": (
        "gateway.networking.k8s.io v1 GatewayClass gatewayclasses cluster gc status",
        "gateway.networking.k8s.io v1 Gateway gateways namespaced gtw status",
        "gateway.networking.k8s.io v1 HTTPRoute httproutes namespaced - status",
    ),
    "prometheus": (
        "monitoring.coreos.com v1 ServiceMonitor servicemonitors namespaced smon status",
        "monitoring.coreos.com v1 PodMonitor podmonitors namespaced pmon status",
        "monitoring.coreos.com v1 PrometheusRule prometheusrules namespaced promrule status",
        "monitoring.coreos.com v1 Prometheus prometheuses namespaced prom status",
    ),
    "cert-manager": (
        "cert-manager.io v1 Certificate certificates namespaced cert status",
        "cert-manager.io v1 Issuer issuers namespaced - status",
        "cert-manager.io v1 ClusterIssuer clusterissuers cluster - status",
    ),
    "cnpg": (
        "postgresql.cnpg.io v1 Cluster clusters namespaced - status",
        "postgresql.cnpg.io v1 Backup backups namespaced - status",
        "postgresql.cnpg.io v1 ScheduledBackup scheduledbackups namespaced - status",
    ),
    "keda": (
        "keda.sh v1alpha1 ScaledObject scaledobjects namespaced so status",
        "keda.sh v1alpha1 TriggerAuthentication triggerauthentications namespaced ta -",
    ),
    "metrics": (
        "metrics.k8s.io v1beta1 NodeMetrics nodes cluster - -",
        "metrics.k8s.io v1beta1 PodMetrics pods namespaced - -",
    ),
}


def install(cluster, name: str) -> None:
    """Serve a set. `metrics` is an aggregated API and has no definitions."""
    for line in _SETS[name]:
        group, version, kind, plural, scope, short, subresources = line.split()
        if name == "metrics":
            resource = Resource(
                group, version, kind, plural, scope == "namespaced", verbs=("get", "list"), custom=True
            )
            cluster.resources.add(resource)
            continue
        definition(
            cluster, group, version, kind, plural, scope == "namespaced", short, subresources == "status"
        )


def definition(cluster, group, version, kind, plural, namespaced, short="-", status=True) -> None:
    """Make a CustomResourceDefinition, which is served from then on."""
    crds = cluster.resources.find("apiextensions.k8s.io", "v1", "customresourcedefinitions")
    shape = customshapes.SHAPES.get((group, kind))
    spec = structural.schema_of(shape if shape else "any")
    schema = {"type": "object", "properties": {"spec": spec, "status": structural.schema_of("any")}}
    names = {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"}
    if short != "-":
        names["shortNames"] = [short]
    made = {
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced" if namespaced else "Cluster",
            "names": names,
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    **({"subresources": {"status": {}}} if status else {}),
                }
            ],
        },
    }
    cluster.writer.create(crds, made, Options(manager="installer"))


def changed(cluster, change) -> None:
    """A definition came, changed or went: called with the store's lock held."""
    crd = change.document
    spec = crd["spec"]
    if change.type == "DELETED":
        for resource in list(cluster.resources):
            if (resource.group, resource.plural) == (spec["group"], spec["names"]["plural"]):
                for document in cluster.store.find(resource.key):
                    meta = document["metadata"]
                    cluster.store.remove(resource.key, meta.get("namespace", ""), meta["name"])
        cluster.resources.remove(spec["group"], spec["names"]["plural"])
    elif change.before is None or change.before["spec"] != spec:
        _serve(cluster, crd)
        name = crd["metadata"]["name"]
        cluster.loop.soon((KEY, name), lambda: _establish(cluster, name))


def _serve(cluster, crd: dict) -> None:
    spec, names = crd["spec"], crd["spec"]["names"]
    for version in spec["versions"]:
        if not version.get("served"):
            continue
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        cluster.schemas.add_custom(spec["group"], version["name"], names["kind"], schema)
        cluster.resources.add(
            Resource(
                spec["group"],
                version["name"],
                names["kind"],
                names["plural"],
                spec["scope"] == "Namespaced",
                tuple(names.get("shortNames", ())),
                tuple(names.get("categories", ())),
                tuple(version.get("subresources") or ()),
                custom=True,
            )
        )


def _establish(cluster, name: str) -> None:
    """Say in the definition's status that it is served."""
    resource = cluster.resources.find("apiextensions.k8s.io", "v1", "customresourcedefinitions")
    crd = cluster.store.get(KEY, "", name)
    if crd is None:
        return
    spec, names = crd["spec"], crd["spec"]["names"]
    conditions = [
        {"type": kind, "status": "True", "reason": reason, "message": ""}
        for kind, reason in (("NamesAccepted", "NoConflicts"), ("Established", "InitialNamesAccepted"))
    ]
    accepted = dict(names)
    stored = [version["name"] for version in spec["versions"] if version.get("storage")]
    cluster.writer.status(
        resource, crd, {"conditions": conditions, "acceptedNames": accepted, "storedVersions": stored}
    )
