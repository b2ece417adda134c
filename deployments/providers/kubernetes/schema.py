"""What a target in a cluster may ask for. Providers that make a cluster take `WORKLOAD` for theirs."""

from typing import Any

QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|[kMGTPE]i?|Ki)?$"
DNS_LABEL = r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$"
DNS_NAME = r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)?$"
PAIR = r"^[A-Za-z0-9._/-]{1,253}=[^\n]{0,512}$"


def _group(title: str, description: str, **properties: Any) -> dict:
    """An object whose default is that of all its properties. A write-only property has none."""
    default = {name: part["default"] for name, part in properties.items() if not part.get("writeOnly")}
    return {
        "type": "object",
        "title": title,
        "description": description,
        "additionalProperties": False,
        "properties": properties,
        "default": default,
    }


def _text(title: str, description: str, default: str = "", pattern: str = "", **more: Any) -> dict:
    part = {
        "type": "string",
        "title": title,
        "description": description,
        "default": default,
        "maxLength": 2000,
    }
    return part | ({"pattern": pattern} if pattern else {}) | more


def _choice(title: str, description: str, default: str, *choices: str) -> dict:
    return {"type": "string", "title": title, "description": description, "default": default} | {
        "enum": [default, *(one for one in choices if one != default)]
    }


def _number(title: str, description: str, default: int, least: int, most: int) -> dict:
    return {
        "type": "integer",
        "title": title,
        "description": description,
        "default": default,
        "minimum": least,
        "maximum": most,
    }


def _switch(title: str, description: str, default: bool) -> dict:
    return {"type": "boolean", "title": title, "description": description, "default": default}


def _words(title: str, description: str, default: list[str], pattern: str) -> dict:
    return {
        "type": "array",
        "title": title,
        "description": description,
        "default": default,
        "maxItems": 50,
        "items": {"type": "string", "pattern": pattern},
    }


def _secret_url(title: str, description: str, pattern: str) -> dict:
    return {
        "type": "string",
        "title": title,
        "description": f"{description} Kept encrypted, never shown again; empty keeps the one that is known.",
        "writeOnly": True,
        "maxLength": 2000,
        "pattern": pattern,
    }


# What the workload takes wherever its cluster is from.
WORKLOAD = {
    "namespace": _text(
        "Namespace",
        "Where all objects of this target are. One namespace holds one target.",
        "aindusdb",
        DNS_LABEL,
    )
    | {"minLength": 1},
    "create_namespace": _switch(
        "Create the namespace",
        "Off: the namespace exists, is used as it is, and stays when the target is destroyed.",
        True,
    ),
    "replicas": _number(
        "Replicas", "Pods that serve the vector API; with autoscaling the least of them.", 3, 1, 200
    ),
    "autoscaling": _group(
        "Autoscaling",
        "More pods under load, never fewer than the replicas.",
        enabled=_switch("Scale with the load", "Needs the cluster's metrics API.", True),
        maximum=_number("Most replicas", "The bound of the autoscaler.", 10, 1, 1000),
        cpu_percent=_number("CPU target", "Average use of the requested CPU, in per cent.", 70, 10, 95),
    ),
    "resources": _group(
        "Resources of a replica",
        "Requests decide where a pod fits; limits stop it.",
        cpu_request=_text("CPU request", "Cores, as 500m or 2.", "500m", QUANTITY),
        memory_request=_text("Memory request", "Bytes, as 1Gi.", "1Gi", QUANTITY),
        cpu_limit=_text("CPU limit", "Cores.", "2", QUANTITY),
        memory_limit=_text("Memory limit", "A pod that needs more is killed.", "4Gi", QUANTITY),
    ),
    "host_spread": _choice(
        "Apart by host", "Whether two replicas may share a node.", "preferred", "preferred", "required"
    ),
    "zone_spread": _choice(
        "Spread over zones",
        "How evenly replicas are spread over zones.",
        "preferred",
        "preferred",
        "required",
        "none",
    ),
    "service_account_annotations": _words(
        "Service account annotations",
        "name=value each, such as a cloud's workload identity.",
        [],
        PAIR,
    ),
    "pull_secrets": _words(
        "Pull secrets",
        "Names of secrets in the namespace that let the cluster pull images.",
        [],
        r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$",
    ),
    "image_pull": _choice(
        "Pull images", "When a node asks the registry.", "if_not_present", "if_not_present", "always"
    ),
    "routing": _group(
        "Routing",
        "What carries requests into the cluster, and splits them during a canary.",
        mode=_choice(
            "Mode",
            "auto takes Istio or Gateway API where the cluster has them; without, the numbers of pods split.",
            "auto",
            "auto",
            "istio",
            "gateway",
            "none",
        ),
        host=_text(
            "Host", "Name under which clients reach the target; empty: no gateway of ours.", "", DNS_NAME
        ),
        tls_secret=_text(
            "TLS secret", "Secret with the host's certificate; empty: aindusdb-api-tls.", "", DNS_NAME
        ),
        issuer=_text("Issuer", "cert-manager ClusterIssuer that issues the certificate.", "", DNS_NAME),
        gateway=_text(
            "Gateway",
            "Gateway API: namespace/name of an existing Gateway.",
            "",
            r"^([a-z0-9-]+/)?[a-z0-9.-]*$",
        ),
        gateway_class=_text("Gateway class", "Gateway API: class of a Gateway of our own.", "", DNS_NAME),
        sidecar=_switch("Istio sidecars", "Label the namespace for injection; needs the Istio CNI.", False),
        fault_drill=_switch(
            "Fault drill", "Istio: delay 0.1 % of the requests by 5 s. For drills only.", False
        ),
    ),
    "network_policy": _group(
        "Network policies",
        "Who reaches the pods, and what they reach.",
        enabled=_switch("Enforce", "Deny all but what is needed.", True),
        ingress_namespaces=_words(
            "Ingress namespaces",
            "Namespaces of the mesh and the ingress that may call the API.",
            ["istio-system", "istio-ingress", "ingress-nginx"],
            r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        ),
        ingress_cidrs=_words(
            "Ingress networks",
            "Networks that may call the API. Some networks need the API server's own here, "
            "for health and metrics come through it.",
            [],
            r"^[0-9a-fA-F.:]+/[0-9]{1,3}$",
        ),
        object_storage=_switch(
            "Object storage", "Let imports and exports reach public https addresses.", False
        ),
    ),
    "monitoring": _group(
        "Monitoring",
        "Objects of the Prometheus Operator, where the cluster has it.",
        enabled=_switch("Scrape and alert", "A ServiceMonitor and alert rules.", True),
        namespace=_text(
            "Namespace", "Where Prometheus runs; it may reach the pods.", "monitoring", DNS_LABEL
        ),
        labels=_words("Labels", "name=value each, by which Prometheus selects them.", [], PAIR),
        scrape_seconds=_number("Interval", "Seconds between scrapes and evaluations.", 15, 5, 300),
        prometheus_url=_text(
            "Prometheus",
            "Address whose query API gives the figures; empty: each pod is asked. One in the cluster, as "
            "http://prometheus-operated.monitoring.svc:9090, is asked through the API server.",
            "",
            r"^(https?://[^\s?#@]+)?$",
        ),
    ),
    "reach": _group(
        "How it is reached",
        "By the control plane: gateway, health, metrics and pages.",
        mode=_choice(
            "Way to the pods",
            "auto: their own addresses when the control plane runs in the same cluster, else through the "
            "API server. With network policies, name the control plane's namespace above.",
            "auto",
            "auto",
            "proxy",
            "pods",
        ),
        endpoint=_text(
            "Endpoint",
            "https address at which the target itself takes calls; empty: its pods are called.",
            "",
            r"^(https://[^\s?#@]+)?$",
        ),
        endpoint_authority=_text(
            "Endpoint's authority",
            "Certificate authority of that address as PEM; empty: the public ones.",
        )
        | {"maxLength": 20_000, "format": "multiline"},
    ),
}

# The database and Redis in the cluster, or elsewhere.
SERVERS = {
    "storage_class": _text(
        "Storage class", "For the database's volume; empty: the cluster's default.", "", DNS_NAME
    ),
    "database": _group(
        "Database",
        "PostgreSQL with pgvector: in the cluster, or a server of yours.",
        mode=_choice("Where", "external needs a URL.", "in_cluster", "in_cluster", "external"),
        url=_secret_url(
            "URL", "postgresql://user:password@host:5432/database.", r"^(postgres(ql)?://[^\s]+)?$"
        ),
        engine=_choice(
            "Kept by",
            "auto: CloudNativePG where its operator is, else a StatefulSet. It stays as it was made.",
            "auto",
            "auto",
            "cloudnativepg",
            "statefulset",
        ),
        version=_choice("PostgreSQL", "Major version of a StatefulSet.", "17", "18", "17", "16", "15"),
        image=_text("Image", "Another image of PostgreSQL with pgvector, pinned; empty: ours."),
        instances=_number("Instances", "CloudNativePG: a primary and its standbys.", 1, 1, 9),
        storage=_text("Volume", "Its size, as 20Gi.", "20Gi", QUANTITY),
        cpu=_text("CPU request", "Cores.", "500m", QUANTITY),
        cpu_limit=_text("CPU limit", "Cores.", "2", QUANTITY),
        memory=_text("Memory", "Request and limit.", "2Gi", QUANTITY),
        max_connections=_number("Connections", "max_connections of the server.", 200, 20, 10_000),
    ),
    "redis": _group(
        "Redis",
        "Wake-ups and counters; nothing is lost with it.",
        mode=_choice("Where", "external needs a URL.", "in_cluster", "in_cluster", "external", "none"),
        url=_secret_url("URL", "redis://:password@host:6379/0.", r"^(rediss?://[^\s]+)?$"),
        image=_text("Image", "Another image, pinned; empty: ours."),
        memory_mib=_number("Memory", "MiB for data.", 256, 32, 65_536),
    ),
}

SPEC_SCHEMA = {"type": "object", "additionalProperties": False, "properties": {**WORKLOAD, **SERVERS}}

CREDENTIALS_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "kubeconfig": {
            "type": "string",
            "title": "Kubeconfig",
            "description": "Output of kubectl config view --flatten --minify --raw. Only server, certificate "
            "authority and a token or client certificate are taken; what would run a program, read a file or "
            "skip the check of the certificate is refused.",
            "writeOnly": True,
            "format": "multiline",
            "maxLength": 262144,
        },
        "context": {
            "type": "string",
            "title": "Context",
            "description": "Which context of it; empty: its current-context.",
            "default": "",
            "maxLength": 253,
        },
        "in_cluster": {
            "type": "boolean",
            "title": "This cluster",
            "description": "Use the service account of the control plane's own pod instead "
            "(needs AINDUS_IN_CLUSTER_ACCESS).",
            "default": False,
        },
    },
}


def _small() -> dict:
    small = {"cpu_request": "100m", "memory_request": "256Mi", "cpu_limit": "1", "memory_limit": "1Gi"}
    return {
        "replicas": 1,
        "autoscaling": {"enabled": False},
        "resources": small,
        "database": {"storage": "5Gi", "memory": "512Mi", "cpu": "100m", "cpu_limit": "1"},
        "redis": {"memory_mib": 64},
    }


PRESETS = {
    "small": {
        "title": "Small",
        "description": "One replica on a small cluster, for trying out.",
        "spec": _small(),
    },
    "standard": {
        "title": "Standard",
        "description": "Three replicas that scale to ten, a database in the cluster.",
        "spec": {"replicas": 3},
    },
    "hardened": {
        "title": "Apart by host and zone",
        "description": "Three replicas, each on a host of its own, spread evenly over the zones.",
        "spec": {"replicas": 3, "host_spread": "required", "zone_spread": "required"},
    },
}
