"""What keeps the workload in its bounds: security contexts, Pod Security Admission, network policies."""

import ipaddress
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from deployments.runtimes.kubernetes.manifests.place import APP, OWNER_LABEL, PORT, Place

POSTGRES, REDIS = "aindusdb-postgres", "aindusdb-redis"
MIGRATION = "aindusdb-migrate"
POSTGRES_PORT, REDIS_PORT = 5432, 6379
DNS_PORTS = [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]
NAMESPACE_NAME = "kubernetes.io/metadata.name"


def pod_security(uid: int) -> dict:
    """A pod that runs as this user and no other."""
    return {
        "runAsNonRoot": True,
        "runAsUser": uid,
        "runAsGroup": uid,
        "fsGroup": uid,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> dict:
    """What Pod Security `restricted` asks of a container, and a root file system that cannot be written."""
    return {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
    }


def namespace(place: Place) -> dict:
    """The namespace, closed by Pod Security Admission `restricted`."""
    labels = {
        f"pod-security.kubernetes.io/{mode}{version}": value
        for mode in ("enforce", "audit", "warn")
        for version, value in (("", "restricted"), ("-version", "latest"))
    }
    if place.part("routing").get("sidecar"):
        labels["istio-injection"] = "enabled"
    return place.document("Namespace", place.namespace, component="aindusdb", labels=labels)


def service_account(place: Place, annotations: Mapping[str, str]) -> dict:
    """The pods' identity. It may do nothing in the cluster, so no token is mounted."""
    return place.document(
        "ServiceAccount", APP, annotations=annotations or None, automountServiceAccountToken=False
    )


def _policy(place: Place, name: str, selector: dict, **rules: Any) -> dict:
    types = [word.capitalize() for word in ("ingress", "egress") if word in rules]
    spec = {"podSelector": {"matchLabels": selector}, "policyTypes": types, **rules}
    return place.document("NetworkPolicy", name, spec=spec)


def deny_by_default(place: Place) -> dict:
    """Nothing of ours is reached, and reaches nothing, but by the policies beside this one."""
    return _policy(place, "aindusdb-default-deny", {OWNER_LABEL: place.owner}, ingress=[], egress=[])


def api_policies(place: Place) -> list[dict]:
    """Port 8000 from the mesh, the ingress, the monitoring and who was named; out to DNS, database, Redis."""
    network = place.part("network_policy")
    sources: list[dict] = [{"namespaceSelector": {"matchLabels": {NAMESPACE_NAME: place.namespace}}}]
    names = [*network.get("ingress_namespaces", [])]
    if place.part("monitoring").get("enabled", True):
        names.append(place.part("monitoring").get("namespace") or "monitoring")
    if names:
        sources.append(
            {
                "namespaceSelector": {
                    "matchExpressions": [
                        {"key": NAMESPACE_NAME, "operator": "In", "values": sorted(set(names))}
                    ]
                }
            }
        )
    sources += [{"ipBlock": {"cidr": cidr}} for cidr in network.get("ingress_cidrs", [])]
    ingress = [{"from": sources, "ports": [{"protocol": "TCP", "port": PORT}]}]
    egress = [{"ports": DNS_PORTS}, _database_rule(place)]
    if redis := _redis_rule(place):
        egress.append(redis)
    policies = [
        _policy(place, APP, place.selector(APP), ingress=ingress, egress=egress),
        _policy(
            place, MIGRATION, place.selector(MIGRATION), ingress=[], egress=[{"ports": DNS_PORTS}, egress[1]]
        ),
    ]
    if network.get("object_storage"):
        # Imports and exports of points: any public address, by TLS alone.
        private = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"]
        to = [{"ipBlock": {"cidr": "0.0.0.0/0", "except": private}}]
        rule = {"to": to, "ports": [{"protocol": "TCP", "port": 443}]}
        policies.append(_policy(place, f"{APP}-storage", place.selector(APP), egress=[rule]))
    return policies


def server_policies(
    place: Place, component: str, port: int, clients: list[str], *, peers: bool
) -> list[dict]:
    """A server in the namespace: reached by these components on its port, and by its own other instances."""
    sources = [{"podSelector": {"matchLabels": place.selector(one)}} for one in clients]
    ingress = [{"from": sources, "ports": [{"protocol": "TCP", "port": port}]}]
    egress: list[dict] = [{"ports": DNS_PORTS}]
    if peers:
        own = {"podSelector": {"matchLabels": place.selector(component)}}
        ingress.append({"from": [own]})
        egress.append({"to": [own]})
    return [_policy(place, component, place.selector(component), ingress=ingress, egress=egress)]


def _database_rule(place: Place) -> dict:
    if place.part("database").get("mode", "in_cluster") == "in_cluster":
        return _pods_rule(place, POSTGRES, POSTGRES_PORT)
    return _server_rule(place.secrets.values.get("database_url", ""), POSTGRES_PORT)


def _redis_rule(place: Place) -> dict | None:
    mode = place.part("redis").get("mode", "in_cluster")
    if mode == "none":
        return None
    if mode == "in_cluster":
        return _pods_rule(place, REDIS, REDIS_PORT)
    return _server_rule(place.secrets.values.get("redis_url", ""), REDIS_PORT)


def _pods_rule(place: Place, component: str, port: int) -> dict:
    to = [{"podSelector": {"matchLabels": place.selector(component)}}]
    return {"to": to, "ports": [{"protocol": "TCP", "port": port}]}


def _server_rule(url: str, default_port: int) -> dict:
    """To a server outside: its port, and its address where the URL names one. Policies know no host names."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        parts, host, port = urlsplit(""), "", None
    asked = parse_qs(parts.query).get("port", [""])[0]
    port = port or (int(asked) if asked.isdigit() else default_port)
    rule: dict[str, Any] = {"ports": [{"protocol": "TCP", "port": port}]}
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return rule
    return {"to": [{"ipBlock": {"cidr": f"{address}/{address.max_prefixlen}"}}], **rule}
