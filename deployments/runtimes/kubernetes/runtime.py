"""The runtime `kubernetes`: what the WorkloadRuntime protocol asks, of any cluster."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings

from deployments.errors import Invalid, NotFound, Transient
from deployments.providers.base import Change, Drift, Problem, Progress
from deployments.runtimes.base import LogLine, runtime
from deployments.runtimes.kubernetes import logs, migrating, objects, repairing, status, watching
from deployments.runtimes.kubernetes.applying import Applier
from deployments.runtimes.kubernetes.client import ClusterClient, client_for, error_of
from deployments.runtimes.kubernetes.kinds import kind_named
from deployments.runtimes.kubernetes.manifests import whole
from deployments.runtimes.kubernetes.manifests.place import APP, OWNER_LABEL, PORT, Place
from deployments.runtimes.kubernetes.preflight import capabilities, preflight
from deployments.runtimes.records import Wanted
from deployments.runtimes.workload import (
    ClusterEvent,
    ClusterObject,
    Manifest,
    Revision,
    Usage,
    Workload,
    WorkloadStatus,
)

PART = "workload"
CONTAINER = "api"
PROXY_ERRORS = (502, 503, 504)


def _client(workload: Workload) -> ClusterClient:
    return client_for(workload.access)


def labels_text(place: Place) -> str:
    """What selects the workload's pods."""
    return f"app.kubernetes.io/name={APP},{OWNER_LABEL}={place.owner}"


@runtime
class KubernetesRuntime:
    """Revisions of one workload as deployments of a namespace."""

    name = "kubernetes"

    def validate(self, image: str, config: Mapping[str, Any]) -> list[Problem]:
        """A cluster pulls any image; what is wrong with one only the cluster can tell."""
        return []

    def schema(self, image: str) -> str:
        """The schema a release needs: our own image's is known, another's is named by itself."""
        if image != settings.API_IMAGE:
            return image
        folder = Path(settings.BASE_DIR) / "vectors" / "migrations"
        return sorted(path.stem for path in folder.glob("[0-9]*.py"))[-1]

    def _applier(self, workload: Workload) -> Applier:
        return Applier(_client(workload), whole.place_of(workload), PART, workload.ignored)

    def preflight(self, workload: Workload) -> list[Problem]:
        """Reachability, version, permissions, storage, kinds, capacity, and what stands in the way."""
        workload = self._seen(workload)
        place, client = whole.place_of(workload), _client(workload)
        return preflight(client, place, whole.whole(workload))

    def render(self, workload: Workload) -> tuple[Manifest, ...]:
        """Every object, in the order it is applied; the same workload gives the same bytes."""
        return whole.whole(workload)

    def diff(self, workload: Workload) -> tuple[Change, ...]:
        """What applying would change, object by object and field by field."""
        changes, _ = self.compare(workload)
        return changes

    def compare(self, workload: Workload) -> tuple[tuple[Change, ...], list[Problem]]:
        """The changes, and the conflicts that applying would meet."""
        workload = self._seen(workload)
        return self._applier(workload).compare(whole.whole(workload))

    def _seen(self, workload: Workload) -> Workload:
        """With the cluster's capabilities, where none are remembered yet: before the first provisioning."""
        if workload.spec.get("capabilities"):
            return workload
        found = capabilities(_client(workload), whole.place_of(workload))
        return replace(workload, spec={**workload.spec, "capabilities": found})

    def apply(self, workload: Workload) -> tuple[Change, ...]:
        """Make it so, and remove what is ours and asked for no more."""
        applier = self._applier(workload)
        before = self._autoscaled(workload, applier)
        changes = applier.apply(whole.whole(workload))
        for revision, live, floor in before:
            self._set_floor(applier, workload, revision, live, floor)
        return changes

    def _autoscaled(self, workload: Workload, applier: Applier) -> list[tuple[Revision, dict | None, int]]:
        """(revision, its deployment, the autoscaler's least number) before anything is changed."""
        found = []
        for revision in workload.revisions:
            if whole.is_autoscaled(workload, revision):
                namespace = applier.place.namespace
                live = applier.client.get(kind_named("Deployment"), APP, namespace)
                scaler = applier.client.get(kind_named("HorizontalPodAutoscaler"), APP, namespace) or {}
                found.append((revision, live, (scaler.get("spec") or {}).get("minReplicas") or 0))
        return found

    def _set_floor(
        self, applier: Applier, workload: Workload, revision: Revision, live: dict | None, floor: int
    ) -> None:
        """An autoscaled deployment begins at its least number, and follows it while no load holds it up."""
        count = ((live or {}).get("spec") or {}).get("replicas", 0)
        most = max(applier.place.part("autoscaling").get("maximum", 10), revision.replicas)
        wanted = (
            revision.replicas if count <= floor or not floor else min(max(count, revision.replicas), most)
        )
        if live is None or count != wanted:
            meta = {"name": APP, "namespace": applier.place.namespace}
            applier.set_replicas({"metadata": meta}, wanted)

    def migrate(self, workload: Workload, release: str) -> Progress:
        """Bring the database to the schema of one of the revisions' releases."""
        for revision in workload.revisions:
            if revision.release == release:
                return migrating.migrate(_client(workload), whole.place_of(workload), workload, revision)
        raise Invalid(f"{release} is none of the workload's revisions.")

    def status(self, workload: Workload) -> WorkloadStatus:
        """Revisions, pods with their problems, and weights; one reading."""
        return status.read_status(_client(workload), whole.place_of(workload))

    def route(self, workload: Workload) -> None:
        """Change the weights alone, where a mesh or gateway carries them."""
        routes = whole.routes(workload)
        if routes:
            self._applier(workload).apply(routes, prune=False)

    def delete(self, workload: Workload) -> Progress:
        """Remove what the inventory holds; called again while it answers `pending`."""
        return self._applier(workload).delete()

    def drift(self, workload: Workload) -> list[Drift]:
        """Per field and object, with who changed it, without what is ignored."""
        return self._applier(workload).drift(whole.whole(workload))

    def events(self, workload: Workload) -> list[ClusterEvent]:
        """Those of the namespace, oldest first."""
        return watching.events(_client(workload), whole.place_of(workload).namespace)

    def usage(self, workload: Workload) -> Mapping[str, Usage]:
        """What each pod uses by the metrics API; NotFound where there is none."""
        place = whole.place_of(workload)
        return watching.usage(_client(workload), place.namespace, labels_text(place))

    def objects(self, workload: Workload) -> list[ClusterObject]:
        """All that the inventories hold, as it is now."""
        return objects.objects(_client(workload), whole.place_of(workload))

    def revert(self, workload: Workload, drift: Drift) -> None:
        """Put one field back, whoever changed it; what the workload ignores stays."""
        repairing.revert(self._applier(workload), whole.whole(workload), drift)

    def adopted(self, workload: Workload, drift: Drift) -> Mapping[str, Any]:
        """The fields of the spec that make a field as it is now what is wanted."""

        def rendered(spec: Mapping[str, Any]) -> tuple[Manifest, ...]:
            revisions = workload.revisions
            if spec.get("replicas") != workload.spec.get("replicas"):
                revisions = tuple(replace(one, replicas=spec["replicas"]) for one in revisions)
            return whole.whole(replace(workload, spec=spec, revisions=revisions))

        return repairing.adopted(workload.spec, drift, rendered)

    def logs(
        self,
        workload: Workload,
        pod: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        search: str = "",
        level: str = "",
        cursor: str = "",
        limit: int = 500,
        previous: bool = False,
    ) -> Iterator[LogLine]:
        """One pod's log; `previous` is that of the container that ended before."""
        return logs.pod_log(
            _client(workload),
            whole.place_of(workload).namespace,
            pod,
            container=CONTAINER,
            wanted=Wanted(since=since, until=until, search=search, level=level),
            cursor=cursor,
            limit=limit,
            previous=previous,
            hidden=tuple(value for value in workload.secrets.values.values() if len(value) > 3),
        )

    def request(
        self,
        workload: Workload,
        method: str,
        path: str,
        *,
        pod: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout_seconds: float = 10.0,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """(status, headers, body) of the pod, or the service, by way of the API server's proxy.

        Transient or NotFound when the cluster, and not the pod, answered. `Authorization` does not arrive:
        the API server takes it for its own.
        """
        place = whole.place_of(workload)
        kind, name = ("Pod", f"{pod}:{PORT}") if pod else ("Service", f"{APP}:{PORT}")
        return proxied(_client(workload), place, kind, name, method, path, headers, body, timeout_seconds)


def proxied(
    client: ClusterClient,
    place: Place,
    kind: str,
    name: str,
    method: str,
    path: str,
    headers: Mapping[str, str] | None,
    body: bytes | None,
    timeout_seconds: float,
) -> tuple[int, Mapping[str, str], bytes]:
    """One request through the API server's proxy to `<name>:<port>`."""
    where = kind_named(kind).path(place.namespace, name, "proxy")
    sent = {
        key: value for key, value in (headers or {}).items() if key.lower() not in ("authorization", "host")
    }
    code, answered, data = client.send(
        method, f"{where}/{path.lstrip('/')}", headers=sent, body=body, timeout_seconds=timeout_seconds
    )
    if code >= 400 and _is_the_clusters(data):
        error = error_of(code, data, what=f"{method} {path} of {name}")
        if isinstance(error, NotFound):
            raise NotFound(f"There is no pod {name} any more.")
        if code in PROXY_ERRORS or code == 500:
            raise Transient(f"{name} cannot be reached: {error}", remedy=error.remedy)
        raise error
    return code, dict(answered), data


def _is_the_clusters(data: bytes) -> bool:
    return b'"kind":"Status"' in data[:200].replace(b" ", b"").replace(b"\n", b"")
