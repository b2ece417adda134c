"""Resources to start an estimate from: three sizes of a target in each cloud.

`source` is the architecture the product was asked to be able to run, `standard` a smaller one that survives
the loss of a zone, `small` one for trying out.
"""


def _of(cloud: str, *rows) -> list[dict]:
    return [
        {"name": name, "cloud": cloud, "kind": kind, "sku": sku, "quantity": quantity} | more
        for name, kind, sku, quantity, more in rows
    ]


def _aws(
    nodes: int, node: str, databases: int, database: str, cache: str, gib: int, disks: int
) -> list[dict]:
    return _of(
        "aws",
        ("Control plane", "control_plane", "eks", 1, {}),
        ("Nodes", "node", node, nodes, {}),
        ("Disks of nodes", "disk", "gp3", nodes, {"gib": disks}),
        ("Database", "database", database, databases, {}),
        ("Storage of the database", "database_storage", "aurora", 1, {"gib": gib}),
        ("Redis", "cache", cache, 1, {}),
        ("NAT gateway", "nat_gateway", "nat", 1, {}),
        ("Traffic through NAT", "nat_traffic", "nat", 1, {"gib": 100}),
        ("Load balancer", "load_balancer", "application", 1, {}),
        ("Public addresses", "address", "ipv4", 3, {}),
        ("Bucket", "object_storage", "standard", 1, {"gib": gib}),
        ("Encryption key", "key", "kms", 1, {}),
    )


def _azure(
    plane: str, system: int, user: int, database: str, standby: int, cache: str, gib: int
) -> list[dict]:
    nodes = [("System nodes", "node", "Standard_D4s_v3", system, {})]
    if user:
        nodes.append(("User nodes", "node", "Standard_D8s_v3", user, {}))
    return _of(
        "azure",
        ("Control plane", "control_plane", plane, 1, {}),
        *nodes,
        ("Disks of nodes", "disk", "P10", system + user, {}),
        ("Database with its standby", "database", database, standby, {}),
        ("Storage of the database", "database_storage", "flexible", standby, {"gib": gib}),
        ("Redis", "cache", cache, 1, {}),
        ("NAT gateway", "nat_gateway", "nat", 1, {}),
        ("Traffic through NAT", "nat_traffic", "nat", 1, {"gib": 100}),
        ("Load balancer", "load_balancer", "standard", 1, {}),
        ("Public addresses", "address", "ipv4", 2, {}),
        ("Blob storage", "object_storage", "hot", 1, {"gib": gib}),
    )


def _gcp(nodes: int, node: str, database: str, databases: int, cache_gib: int, gib: int) -> list[dict]:
    return _of(
        "gcp",
        ("Control plane", "control_plane", "gke", 1, {}),
        ("Nodes", "node", node, nodes, {}),
        ("Disks of nodes", "disk", "pd-ssd", nodes, {"gib": 100}),
        ("Database", "database", database, databases, {}),
        ("Storage of the database", "database_storage", "ssd", databases, {"gib": gib}),
        ("Redis", "cache", "standard-m1", 1, {"gib": cache_gib}),
        ("NAT", "nat_gateway", "nat", nodes, {}),
        ("Traffic through NAT", "nat_traffic", "nat", 1, {"gib": 100}),
        ("Load balancer", "load_balancer", "forwarding-rule", 1, {}),
        ("Public addresses", "address", "ipv4", 2, {}),
        ("Bucket", "object_storage", "standard", 1, {"gib": gib}),
    )


PRESETS: dict[str, dict[str, list[dict]]] = {
    "aws": {
        "small": _aws(2, "t4g.large", 1, "db.t4g.medium", "cache.t4g.micro", 20, 50),
        "standard": _aws(3, "m6g.large", 2, "db.r6g.large", "cache.t4g.small", 50, 50),
        "source": _aws(3, "m6g.xlarge", 3, "db.r6g.2xlarge", "cache.m6g.large", 100, 100),
    },
    "azure": {
        "small": _azure("aks-free", 2, 0, "GP_Standard_D2ds_v5", 1, "Standard_C0", 32),
        "standard": _azure("aks-standard", 3, 0, "GP_Standard_D2ds_v5", 2, "Standard_C1", 64),
        "source": _azure("aks-standard", 3, 5, "GP_Standard_D4ds_v5", 2, "Standard_C1", 100),
    },
    "gcp": {
        "small": _gcp(2, "e2-standard-2", "db-custom-2-8192", 1, 1, 20),
        "standard": _gcp(3, "e2-standard-4", "db-custom-2-8192", 2, 1, 50),
        "source": _gcp(3, "n2-standard-4", "db-custom-4-16384", 1, 4, 100),
    },
}


def preset(cloud: str, name: str, region: str) -> list[dict]:
    """The resources of a preset in a region; KeyError."""
    return [{**resource, "region": region} for resource in PRESETS[cloud][name]]
