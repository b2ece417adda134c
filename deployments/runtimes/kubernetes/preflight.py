"""What would stop or endanger a target at a cluster, found before anything is applied."""

import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from typing import Any

from deployments.errors import NotFound, ProviderError
from deployments.providers.base import Problem
from deployments.runtimes.kubernetes.capacity import capacity_problems, quantity
from deployments.runtimes.kubernetes.client import ClusterClient
from deployments.runtimes.kubernetes.kinds import Kind, kind_named, kind_of
from deployments.runtimes.kubernetes.manifests import postgres
from deployments.runtimes.kubernetes.manifests.place import Place
from deployments.runtimes.kubernetes.manifests.routing import GATEWAY, ISTIO
from deployments.runtimes.kubernetes.versions import END_OF_LIFE, OLDEST, SOON_DAYS
from deployments.runtimes.workload import Manifest

# Capability to the API that shows it.
SHOWN_BY = {
    "istio": "networking.istio.io/v1",
    "gateway": "gateway.networking.k8s.io/v1",
    "prometheus": "monitoring.coreos.com/v1",
    "cert-manager": "cert-manager.io/v1",
    "cnpg": "postgresql.cnpg.io/v1",
    "metrics": "metrics.k8s.io/v1beta1",
}
OUR_VERBS = ("get", "list", "create", "patch", "delete")
# (group, resource, subresource, verbs) of what is only read or called.
READ = (
    ("", "pods", "", ("get", "list")),
    ("", "pods", "log", ("get",)),
    # Calls of the vector API pass through by their own methods.
    ("", "pods", "proxy", ("get", "create", "update", "patch", "delete")),
    ("", "services", "proxy", ("get", "create")),
    ("", "events", "", ("list",)),
    ("apps", "replicasets", "", ("get", "list")),
    ("batch", "jobs", "", OUR_VERBS),
)


def capabilities(client: ClusterClient, place: Place | None = None) -> dict[str, Any]:
    """What the cluster has: {istio, gateway, ...: bool, version: "1.34"}, and who keeps the database."""
    known = client.api_versions()
    version = version_of(client.version())
    found: dict[str, Any] = {name: api in known for name, api in SHOWN_BY.items()}
    found["version"] = f"{version[0]}.{version[1]}" if version else ""
    if place is not None and postgres.in_cluster(place):
        seen = Place(
            place.owner, place.target_name, {**place.spec, "capabilities": {**place.capabilities, **found}}
        )
        found["database_engine"] = _standing_engine(client, place) or postgres.engine(seen)
    return found


def _standing_engine(client: ClusterClient, place: Place) -> str:
    """Who keeps the database that is there already, whatever was remembered."""
    for name, engine in (("StatefulSet", postgres.STATEFULSET), ("Cluster", postgres.CLOUDNATIVEPG)):
        live = client.get(kind_named(name), postgres.POSTGRES, place.namespace)
        if live and (live["metadata"].get("labels") or {}).items() >= place.owner_label().items():
            return engine
    return ""


def version_of(told: Mapping[str, Any]) -> tuple[int, int] | None:
    """(major, minor) of what /version answers; some vendors write the minor as `30+`."""
    major, minor = (re.match(r"\d+", str(told.get(part, ""))) for part in ("major", "minor"))
    return (int(major[0]), int(minor[0])) if major and minor else None


def preflight(
    client: ClusterClient, place: Place, manifests: Sequence[Manifest], *, today: date | None = None
) -> list[Problem]:
    """Every finding, with what to do. When the cluster does not answer, that is the only one."""
    today = today or datetime.now(UTC).date()
    try:
        found = capabilities(client, place)
        checks = (
            lambda: version_problems(found["version"], today),
            lambda: _permission_problems(client, place, manifests),
            lambda: _namespace_problems(client, place),
            lambda: _storage_problems(client, place),
            lambda: _capability_problems(place, found),
            lambda: _database_problems(client, place),
            lambda: capacity_problems(client, place),
        )
        with ThreadPoolExecutor(max_workers=len(checks)) as pool:
            return [problem for problems in pool.map(lambda check: check(), checks) for problem in problems]
    except ProviderError as error:
        return [Problem("account", str(error), error.remedy, code=error.code)]


def version_problems(version: str, today: date) -> list[Problem]:
    """Whether the version can run the workload, and how long it is still mended."""
    if not version:
        return []
    number = tuple(int(part) for part in version.split("."))
    if number < OLDEST:
        return [
            Problem(
                "account",
                f"The cluster runs Kubernetes {version}; {OLDEST[0]}.{OLDEST[1]} is the oldest that works.",
                "Upgrade the cluster first.",
                code="version_too_old",
            )
        ]
    end = END_OF_LIFE.get(number)
    if end is None:
        return []
    if end <= today:
        message = f"Kubernetes {version} has had no security fixes since {end}."
    elif (end - today).days <= SOON_DAYS:
        message = f"Kubernetes {version} gets no more security fixes after {end}."
    else:
        return []
    remedy = "Upgrade the cluster, or see how long your vendor extends the support."
    return [Problem("account", message, remedy, severity="warning", code="version_end_of_life")]


# Permissions


def _allowed(client: ClusterClient, namespace: str, **attributes: str) -> bool:
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"namespace": namespace, **attributes}},
    }
    answer = client.create(kind_named("SelfSubjectAccessReview"), review)
    return bool((answer.get("status") or {}).get("allowed"))


def needed(kinds: Iterable[Kind]) -> list[tuple[str, str, str, str, bool]]:
    """(group, resource, subresource, verb, namespaced) of everything the target needs."""
    found = []
    for kind in sorted({*kinds, kind_named("ConfigMap")}, key=lambda kind: (kind.api_version, kind.name)):
        group = kind.api_version.rpartition("/")[0]
        found += [(group, kind.plural, "", verb, kind.namespaced) for verb in OUR_VERBS]
    for group, resource, subresource, verbs in READ:
        found += [(group, resource, subresource, verb, True) for verb in verbs]
    return list(dict.fromkeys(found))


def _permission_problems(client: ClusterClient, place: Place, manifests: Sequence[Manifest]) -> list[Problem]:
    """One review for each permission; the missing ones by resource."""
    asked = needed(kind_of(dict(one.document)) for one in manifests)

    def ask(one) -> bool:
        group, resource, subresource, verb, namespaced = one
        more = {"subresource": subresource} if subresource else {}
        namespace = place.namespace if namespaced else ""
        return _allowed(client, namespace, group=group, resource=resource, verb=verb, **more)

    with ThreadPoolExecutor(max_workers=8) as pool:
        answers = list(pool.map(ask, asked))
    missing: dict[tuple[str, str], list[str]] = {}
    for (group, resource, subresource, verb, _), allowed in zip(asked, answers, strict=True):
        if not allowed:
            name = f"{resource}/{subresource}" if subresource else resource
            missing.setdefault((group, name), []).append(verb)
    return [
        Problem(
            "account",
            f"The account may not {', '.join(verbs)} {name}{f' of {group}' if group else ''}.",
            f"Grant it in a Role of the namespace {place.namespace}: apiGroups [{group!r}], "
            f"resources [{name!r}], verbs {verbs}.".replace("'", '"'),
            code="permission_missing",
        )
        for (group, name), verbs in missing.items()
    ]


# What the target needs of the cluster


def _namespace_problems(client: ClusterClient, place: Place) -> list[Problem]:
    live = client.get(kind_named("Namespace"), place.namespace)
    wanted = not place.spec.get("create_namespace", True)
    if live is None and wanted:
        return [
            Problem(
                "spec.create_namespace",
                f"There is no namespace {place.namespace}.",
                "Make it, or let it be made (create_namespace).",
                code="namespace_missing",
            )
        ]
    if live is not None and live["metadata"].get("deletionTimestamp"):
        return [
            Problem(
                "spec.namespace",
                f"The namespace {place.namespace} is being removed.",
                "Wait until it is gone; if it stays, see which finalizer holds it.",
                code="namespace_terminating",
            )
        ]
    moved = [
        one["metadata"]["name"]
        for one in client.list(
            kind_named("Namespace"), labels=",".join(f"{k}={v}" for k, v in place.owner_label().items())
        )
        if one["metadata"]["name"] != place.namespace
    ]
    if moved:
        return [
            Problem(
                "spec.namespace",
                f"The target lives in the namespace {moved[0]}: its data cannot move to another.",
                f"Keep {moved[0]}, or make a new target and import the data there.",
                code="namespace_fixed",
            )
        ]
    return []


def _storage_problems(client: ClusterClient, place: Place) -> list[Problem]:
    if not postgres.in_cluster(place):
        return []
    wanted = place.spec.get("storage_class")
    try:
        classes = client.list(kind_named("StorageClass"))
    except ProviderError as error:
        message = (
            f"The storage classes cannot be read, so it is not known whether the volume can be made: {error}"
        )
        return [
            Problem("spec.storage_class", message, error.remedy, severity="warning", code="storage_unknown")
        ]
    names = sorted(one["metadata"]["name"] for one in classes)
    known = f"Known are: {', '.join(names)}." if names else "The cluster has none: install a storage driver."
    if wanted:
        if wanted in names:
            return []
        message = f"There is no storage class {wanted!r}."
        return [Problem("spec.storage_class", message, known, code="storage_class_missing")]
    mark = "storageclass.kubernetes.io/is-default-class"
    if any((one["metadata"].get("annotations") or {}).get(mark) == "true" for one in classes):
        return []
    message = "The cluster has no default storage class for the database's volume."
    return [Problem("spec.storage_class", message, f"Name one. {known}", code="storage_class_missing")]


def _database_problems(client: ClusterClient, place: Place) -> list[Problem]:
    """What of a database that is there cannot be changed: its major version, the size of its volume."""
    live = client.get(kind_named("StatefulSet"), postgres.POSTGRES, place.namespace)
    labels = (live or {}).get("metadata", {}).get("labels") or {}
    if live is None or not postgres.in_cluster(place) or not labels.items() >= place.owner_label().items():
        return []
    problems = []
    part = place.part("database")
    standing, wanted = labels.get(postgres.MAJOR_LABEL, ""), part.get("version") or "17"
    if standing and standing != wanted:
        problems.append(
            Problem(
                "spec.database.version",
                f"The database is of PostgreSQL {standing}; {wanted} cannot read its files.",
                f"Keep {standing}. For {wanted}, back the target up and restore it into a new one.",
                code="version_fixed",
            )
        )
    claim = live["spec"]["volumeClaimTemplates"][0]["spec"]
    size, asked = claim["resources"]["requests"]["storage"], postgres.storage(place)["size"]
    if quantity(size) != quantity(asked):
        problems.append(
            Problem(
                "spec.database.storage",
                f"The database's volume was made with {size}; a StatefulSet cannot change it to {asked}.",
                f"Keep {size} here. Where the storage class allows it, the claim itself can be made larger: "
                f"kubectl --namespace {place.namespace} edit pvc data-{postgres.POSTGRES}-0.",
                code="storage_fixed",
            )
        )
    return problems


def _capability_problems(place: Place, found: Mapping[str, Any]) -> list[Problem]:
    problems = []
    mode = place.part("routing").get("mode", "auto")
    for name, label in ((ISTIO, "Istio"), (GATEWAY, "Gateway API")):
        if mode == name and not found[name]:
            problems.append(
                Problem(
                    "spec.routing.mode",
                    f"The cluster does not have the kinds of {label} ({SHOWN_BY[name]}).",
                    f"Install {label}, or choose `auto`: the numbers of pods then split the traffic.",
                    code="crd_missing",
                )
            )
    if place.part("database").get("engine") == postgres.CLOUDNATIVEPG and not found["cnpg"]:
        problems.append(
            Problem(
                "spec.database.engine",
                "The cluster does not have the CloudNativePG operator.",
                "Install it, or choose `auto`.",
                code="crd_missing",
            )
        )
    if place.part("autoscaling").get("enabled", True) and not found["metrics"]:
        problems.append(
            Problem(
                "spec.autoscaling",
                "The cluster has no metrics API, so the autoscaler knows no load and keeps to the replicas.",
                "Install metrics-server, or switch autoscaling off.",
                severity="warning",
                code="metrics_missing",
            )
        )
    if place.part("monitoring").get("enabled", True) and not found["prometheus"]:
        problems.append(
            Problem(
                "spec.monitoring",
                "The cluster has no Prometheus Operator, so no ServiceMonitor and no alert is made.",
                "Install it, or switch monitoring off. The dashboard's own metrics work without.",
                severity="warning",
                code="prometheus_missing",
            )
        )
    if place.part("routing").get("issuer") and not found["cert-manager"]:
        problems.append(
            Problem(
                "spec.routing.issuer",
                "The cluster has no cert-manager, so no certificate is issued.",
                "Install cert-manager, or give tls_secret with a certificate of your own.",
                code="crd_missing",
            )
        )
    return problems


def reachable(client: ClusterClient) -> list[Problem]:
    """Whether the cluster answers and knows who asks; nothing about any target."""
    try:
        found = capabilities(client)
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        try:
            client.call("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body=review)
        except NotFound:
            # Older than 1.28, or switched off; a permission is asked for instead.
            _allowed(client, "default", group="apps", resource="deployments", verb="create")
    except ProviderError as error:
        return [Problem("credentials", str(error), error.remedy, code=error.code)]
    return version_problems(found["version"], datetime.now(UTC).date())
