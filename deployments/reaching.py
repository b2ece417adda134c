"""How the control plane reaches a replica: the one place that makes addresses of rows.

A local process is reached at its host and port. A pod is reached by the cluster's API server, which passes
requests on (`.../pods/{pod}:{port}/proxy`), or at its own address when the control plane runs beside it.
Calls of the vector API take the target's own endpoint where its spec names one; probes and scrapes want a
certain pod, and never do.
"""

import http.client
import os
import ssl
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import urlsplit

import orjson

from deployments.errors import ProviderError
from deployments.models import Replica, Target
from deployments.providers.base import ClusterAccess
from deployments.workloads import workload_of

# An API server takes `Authorization` for itself, so what stands behind it is sent its token in this one.
TOKEN_HEADER = "X-Aindus-Token"
POD_PORT = 8000
MOST_REFUSAL_BYTES = 64 * 1024
# For so long the credentials of a cluster, and what a spec says of the way, are not read again.
KNOWN_SECONDS = 20.0


@dataclass(frozen=True)
class Way:
    """Where a replica's paths begin, the headers that the way there demands, and whom to trust on it.

    `url` has no slash at its end. `relay` is the path of the API server's proxy within `url`, empty when
    nobody stands between. `tls` is None for the system's own roots. `problem` says why there is no way.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls: ssl.SSLContext | None = None
    relay: str = ""
    problem: str = ""

    def headers_with(self, token: str) -> dict[str, str]:
        """The headers of a request that a replica shall believe this bearer token of."""
        if self.relay:
            return {**self.headers, TOKEN_HEADER: token}
        return {**self.headers, "Authorization": f"Bearer {token}"}

    def own_path(self, location: str) -> str:
        """An address that the replica told, without what the relay put before it."""
        if not self.relay or self.relay not in location:
            return location
        return location.partition(self.relay)[2] or "/"


@dataclass(frozen=True)
class Road:
    """How the pods of one target are reached; `endpoint` is where its API is called, if not at a pod.

    `prometheus` is the address of the Prometheus that scrapes them; empty when their figures are read there.
    """

    access: ClusterAccess
    namespace: str
    by_address: bool
    endpoint: Way | None = None
    prometheus: str = ""


def ways_of(replicas: Iterable[Replica]) -> dict[str, Way]:
    """{replica id: the way to it}, for what wants this very replica."""
    return {replica.pk: way_of(replica) for replica in replicas}


def way_of(replica: Replica) -> Way:
    """The way to one replica; one with a `problem` when it is not known."""
    if not replica.pod_uid:
        return Way(replica.url) if replica.port else Way("", problem="it has no address yet")
    road = road_to(replica.target_id)
    if isinstance(road, Way):
        return road
    if not replica.host:
        return Way("", problem="its pod has no address yet")
    if road.by_address:
        return Way(f"http://{bracketed(replica.host)}:{replica.port}")
    return through_api_server(road.access, road.namespace, replica.handle.get("pod", ""))


def way_to_call(replica: Replica) -> Way:
    """The way by which calls of the vector API go that this replica would answer."""
    if replica.pod_uid:
        road = road_to(replica.target_id)
        if isinstance(road, Road) and road.endpoint is not None:
            return road.endpoint
    return way_of(replica)


_roads: dict[str, tuple[float, Road]] = {}
_lock = threading.Lock()


def road_to(target_id: str) -> Road | Way:
    """How a target's pods are reached; a Way with a `problem` when that is not known now."""
    known = _roads.get(target_id)
    now = time.monotonic()
    if known and known[0] > now:
        return known[1]
    try:
        road = _made(Target.objects.select_related("account").get(pk=target_id))
    except Target.DoesNotExist:
        return Way("", problem="its target is gone")
    except ProviderError as error:
        return Way("", problem=f"the cluster's credentials cannot be had ({error})")
    with _lock:
        for key in [key for key, (until, _) in _roads.items() if until < now]:
            del _roads[key]
        _roads[target_id] = (now + KNOWN_SECONDS, road)
    return road


def forget(target_id: str = "") -> None:
    """Read anew how a target is reached, or all of them."""
    with _lock:
        if target_id:
            _roads.pop(target_id, None)
        else:
            _roads.clear()


def _made(target: Target) -> Road:
    workload = workload_of(target, ())
    wanted = workload.spec.get("reach") or {}
    mode = wanted.get("mode", "auto")
    if mode == "auto":
        mode = "pods" if is_own_cluster(workload.access) else "proxy"
    endpoint = None
    if url := wanted.get("endpoint", "").rstrip("/"):
        authority = wanted.get("endpoint_authority", "")
        endpoint = Way(url, tls=_tls(authority, "", "") if url.startswith("https:") else None)
    return Road(
        workload.access,
        workload.spec.get("namespace") or "aindusdb",
        mode == "pods",
        endpoint,
        (workload.spec.get("monitoring") or {}).get("prometheus_url", ""),
    )


def is_own_cluster(access: ClusterAccess) -> bool:
    """Whether this process is a pod of the very cluster."""
    host = os.environ.get("KUBERNETES_SERVICE_HOST", "")
    port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    return bool(host) and access.server.rstrip("/") == f"https://{bracketed(host)}:{port}"


def bracketed(host: str) -> str:
    """A host as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def connection_to(way: Way, timeout_seconds: float) -> http.client.HTTPConnection:
    """A connection to where a way begins, not opened yet."""
    parts = urlsplit(way.url)
    if parts.scheme == "https":
        context = way.tls or ssl.create_default_context()
        return http.client.HTTPSConnection(parts.netloc, timeout=timeout_seconds, context=context)
    return http.client.HTTPConnection(parts.netloc, timeout=timeout_seconds)


def path_on(way: Way, path: str) -> str:
    """What is asked of that connection for a replica's path."""
    return f"{urlsplit(way.url).path}{path}"


def through_api_server(access: ClusterAccess, namespace: str, pod: str, port: int = POD_PORT) -> Way:
    """The way to a pod by its cluster's API server, with the cluster's own credentials."""
    return _relayed(access, f"/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy")


def service_way(access: ClusterAccess, namespace: str, name: str, port: int, scheme: str = "http") -> Way:
    """The way to a service by its cluster's API server."""
    return _relayed(access, f"/api/v1/namespaces/{namespace}/services/{scheme}:{name}:{port}/proxy")


def _relayed(access: ClusterAccess, relay: str) -> Way:
    given = access.credentials.values
    headers = {"Authorization": f"Bearer {given['token']}"} if given.get("token") else {}
    return Way(f"{access.server.rstrip('/')}{relay}", headers, tls_of(access), relay)


def tls_of(access: ClusterAccess) -> ssl.SSLContext | None:
    """What verifies a cluster's API server, and shows it the client certificate; None for plain HTTP."""
    if not access.server.startswith("https:"):
        return None
    given = access.credentials.values
    return _tls(
        access.certificate_authority, given.get("client_certificate", ""), given.get("client_key", "")
    )


@lru_cache(maxsize=64)
def _tls(authority: str, certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authority or None)
    # Authorities that clusters make for themselves need not have every extension that a public one has.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if certificate:
        # The interface takes files alone: this one lasts no longer than the call.
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(f"{certificate.strip()}\n{key.strip()}\n")
            file.flush()
            context.load_cert_chain(file.name)
    return context


def refusal(content_type: str, body: bytes) -> str:
    """What an API server says instead of the replica behind it; empty when the replica itself answered.

    Its own answers are of the kind Status, which no call of the vector API answers with.
    """
    if "json" not in content_type or len(body) > MOST_REFUSAL_BYTES or b'"Status"' not in body:
        return ""
    try:
        told = orjson.loads(body)
    except ValueError:
        return ""
    if not isinstance(told, dict) or told.get("kind") != "Status" or "apiVersion" not in told:
        return ""
    return str(told.get("message") or told.get("reason") or "it refused the request")[:300]


def was_sent(status: int, told: str) -> bool:
    """Whether a refused request may have reached the replica: whoever was not connected to got nothing."""
    if status in (401, 403, 404, 429):
        return False
    return not any(word in told for word in ("dial tcp", "no endpoints", "TLS handshake", "no such host"))
