"""What splits the traffic between revisions: Istio, Gateway API, or the numbers of pods without them."""

from collections.abc import Sequence
from typing import Any

from deployments.runtimes.kubernetes.kinds import kind_at
from deployments.runtimes.kubernetes.manifests.api import service_name
from deployments.runtimes.kubernetes.manifests.place import APP, PORT, ROLE_LABEL, Place
from deployments.runtimes.workload import CANARY, STABLE, Revision

ISTIO, GATEWAY, REPLICAS = "istio", "gateway", "replicas"
ISTIO_GATEWAY = kind_at("networking.istio.io/v1", "Gateway")
API_GATEWAY = kind_at("gateway.networking.k8s.io/v1", "Gateway")
VECTORS_PATH = "/api/v1/vectors"
ROUTES = ("VirtualService", "HTTPRoute")


def routing_mode(place: Place) -> str:
    """istio, gateway or replicas: what the spec asks for, as far as the cluster has it."""
    part = place.part("routing")
    mode = part.get("mode", "auto")
    if mode == ISTIO or (mode == "auto" and place.has(ISTIO)):
        return ISTIO
    if mode == GATEWAY or (mode == "auto" and place.has(GATEWAY) and _has_parent(part)):
        return GATEWAY
    return REPLICAS


def _has_parent(part: Any) -> bool:
    return bool(part.get("gateway") or part.get("gateway_class"))


def weights(revisions: Sequence[Revision]) -> dict[str, int]:
    """Role to its share in per cent; together 100."""
    found = {one.role: one.weight for one in revisions}
    if CANARY not in found:
        return {STABLE: 100}
    canary = max(0, min(100, found[CANARY]))
    return {STABLE: 100 - canary, CANARY: canary}


def routing(place: Place, revisions: Sequence[Revision]) -> list[dict]:
    """The objects of the mode; none where pods alone split the traffic."""
    if not revisions:
        return []
    mode = routing_mode(place)
    if mode == ISTIO:
        return _istio(place, weights(revisions))
    if mode == GATEWAY:
        return _gateway(place, weights(revisions))
    return []


def _certificate(place: Place, host: str, secret: str) -> list[dict]:
    issuer = place.part("routing").get("issuer")
    if not (issuer and host and place.has("cert-manager")):
        return []
    spec = {
        "secretName": secret,
        "dnsNames": [host],
        "issuerRef": {"group": "cert-manager.io", "kind": "ClusterIssuer", "name": issuer},
    }
    return [place.document("Certificate", APP, spec=spec)]


def _istio(place: Place, shares: dict[str, int]) -> list[dict]:
    part = place.part("routing")
    host, tls = part.get("host", ""), part.get("tls_secret") or f"{APP}-tls"
    inside = f"{APP}.{place.namespace}.svc.cluster.local"
    policy: dict[str, Any] = {
        "connectionPool": {"http": {"http1MaxPendingRequests": 1024, "maxRetries": 16}},
        "outlierDetection": {"consecutive5xxErrors": 5, "interval": "10s", "baseEjectionTime": "30s"},
    }
    if part.get("sidecar"):
        policy["tls"] = {"mode": "ISTIO_MUTUAL"}
    subsets = [{"name": role, "labels": {ROLE_LABEL: role}} for role in shares]
    objects = [
        place.document(
            "DestinationRule", APP, spec={"host": inside, "trafficPolicy": policy, "subsets": subsets}
        )
    ]
    gateways = ["mesh"]
    if host:
        objects += [*_certificate(place, host, tls), _istio_gateway(place, host, tls)]
        gateways.insert(0, APP)
    split = [
        {"destination": {"host": inside, "subset": role, "port": {"number": PORT}}, "weight": weight}
        for role, weight in shares.items()
    ]
    route: dict[str, Any] = {
        "name": "vectors",
        "match": [{"uri": {"prefix": VECTORS_PATH}}],
        "route": split,
        "timeout": "60s",
        # Only what was never answered is sent again: a write must not be done twice.
        "retries": {
            "attempts": 3,
            "perTryTimeout": "2s",
            "retryOn": "connect-failure,refused-stream,reset-before-request",
        },
    }
    if part.get("fault_drill"):
        route["fault"] = {"delay": {"percentage": {"value": 0.1}, "fixedDelay": "5s"}}
    spec = {
        "hosts": sorted({inside, *([host] if host else [])}),
        "gateways": gateways,
        "http": [route],
    }
    return [*objects, place.document("VirtualService", APP, spec=spec)]


def _istio_gateway(place: Place, host: str, tls: str) -> dict:
    servers = [
        {
            "port": {"number": 443, "name": "https", "protocol": "HTTPS"},
            "hosts": [host],
            "tls": {"mode": "SIMPLE", "credentialName": tls, "minProtocolVersion": "TLSV1_2"},
        },
        {
            "port": {"number": 80, "name": "http", "protocol": "HTTP"},
            "hosts": [host],
            "tls": {"httpsRedirect": True},
        },
    ]
    return place.document(
        ISTIO_GATEWAY, APP, spec={"selector": {"istio": "ingressgateway"}, "servers": servers}
    )


def _gateway(place: Place, shares: dict[str, int]) -> list[dict]:
    part = place.part("routing")
    host, tls = part.get("host", ""), part.get("tls_secret") or f"{APP}-tls"
    objects: list[dict] = []
    if part.get("gateway"):
        namespace, _, name = part["gateway"].rpartition("/")
        parent = {"name": name} | ({"namespace": namespace} if namespace else {})
    else:
        objects += [*_certificate(place, host, tls), _api_gateway(place, host, tls)]
        parent = {"name": APP, "sectionName": "https"}
    backends = [
        {"group": "", "kind": "Service", "name": service_name(role), "port": PORT, "weight": weight}
        for role, weight in shares.items()
    ]
    rule = {"matches": [{"path": {"type": "PathPrefix", "value": VECTORS_PATH}}], "backendRefs": backends}
    spec: dict[str, Any] = {
        "parentRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", **parent}],
        "rules": [rule],
    }
    if host:
        spec["hostnames"] = [host]
    objects.append(place.document("HTTPRoute", APP, spec=spec))
    if not part.get("gateway"):
        objects.append(_redirect(place, host))
    return objects


def _api_gateway(place: Place, host: str, tls: str) -> dict:
    name = {"hostname": host} if host else {}
    allowed = {"allowedRoutes": {"namespaces": {"from": "Same"}}}
    reference = {"group": "", "kind": "Secret", "name": tls}
    listeners = [
        {"name": "https", "port": 443, "protocol": "HTTPS", **name, **allowed}
        | {"tls": {"mode": "Terminate", "certificateRefs": [reference]}},
        {"name": "http", "port": 80, "protocol": "HTTP", **name, **allowed},
    ]
    gateway_class = place.part("routing").get("gateway_class") or "istio"
    return place.document(API_GATEWAY, APP, spec={"gatewayClassName": gateway_class, "listeners": listeners})


def _redirect(place: Place, host: str) -> dict:
    parent = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": APP, "sectionName": "http"}
    change = {"type": "RequestRedirect", "requestRedirect": {"scheme": "https", "statusCode": 301}}
    spec = {"parentRefs": [parent], "rules": [{"filters": [change]}]}
    return place.document("HTTPRoute", f"{APP}-redirect", spec=spec | ({"hostnames": [host]} if host else {}))
