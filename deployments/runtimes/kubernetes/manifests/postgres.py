"""PostgreSQL with pgvector in the cluster: by CloudNativePG where its operator is, else a StatefulSet."""

import base64
from typing import Any

from deployments.runtimes.kubernetes.manifests.place import CHECKSUM, DOMAIN, RESTARTED, Place
from deployments.runtimes.kubernetes.manifests.security import (
    MIGRATION,
    POSTGRES,
    POSTGRES_PORT,
    container_security,
    pod_security,
    server_policies,
)

APP_CLIENTS = ["aindusdb-api", MIGRATION, "aindusdb-backup"]
CLOUDNATIVEPG, STATEFULSET = "cloudnativepg", "statefulset"
USER = DATABASE = "aindusdb"
# The image's own user.
UID = 999
IMAGE = "pgvector/pgvector:0.8.1-pg{version}-bookworm"
DATA = "/var/lib/postgresql/data"
MAJOR_LABEL = f"{DOMAIN}/postgresql-major"
# Runs once, on an empty volume: the API's role owns its database and is nobody else.
INIT = """\
set -eu
psql -v ON_ERROR_STOP=1 -v password="$(cat /run/secrets/aindusdb/password)" --username postgres <<'SQL'
CREATE ROLE aindusdb LOGIN PASSWORD :'password';
CREATE DATABASE aindusdb OWNER aindusdb;
REVOKE ALL ON DATABASE aindusdb FROM PUBLIC;
SQL
psql -v ON_ERROR_STOP=1 --username postgres --dbname aindusdb -c 'CREATE EXTENSION IF NOT EXISTS vector'
"""
IS_READY = ["pg_isready", "--quiet", "--username=postgres", "--host=127.0.0.1"]


def in_cluster(place: Place) -> bool:
    """Whether the target's database lives in its namespace."""
    return place.part("database").get("mode", "in_cluster") == "in_cluster"


def engine(place: Place) -> str:
    """Who keeps the database. Once made it stays with whom it was made: the data are there."""
    remembered = place.capabilities.get("database_engine")
    asked = place.part("database").get("engine", "auto")
    if remembered:
        return remembered
    if asked != "auto":
        return asked
    return CLOUDNATIVEPG if place.has("cnpg") else STATEFULSET


def postgres(place: Place) -> list[dict]:
    """Every object of the database; none where a URL was given."""
    if not in_cluster(place):
        return []
    if engine(place) == CLOUDNATIVEPG:
        return [_app_secret(place), _cnpg_service(place), _cnpg_policy(place), _cnpg(place)]
    return [
        _app_secret(place),
        _admin_secret(place),
        place.document("ConfigMap", f"{POSTGRES}-init", component=POSTGRES, data={"10-aindusdb.sh": INIT}),
        *server_policies(place, POSTGRES, POSTGRES_PORT, APP_CLIENTS, peers=False),
        _service(place),
        _stateful_set(place),
    ]


def _encoded(**values: str) -> dict[str, str]:
    return {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}


def _app_secret(place: Place) -> dict:
    password = place.secrets.values.get("database_password", "")
    return place.document(
        "Secret",
        POSTGRES,
        component=POSTGRES,
        type="kubernetes.io/basic-auth",
        data=_encoded(username=USER, password=password),
    )


def _admin_secret(place: Place) -> dict:
    password = place.secrets.values.get("database_admin_password", "")
    return place.document(
        "Secret",
        f"{POSTGRES}-admin",
        component=POSTGRES,
        type="kubernetes.io/basic-auth",
        data=_encoded(username="postgres", password=password),
    )


def resources(place: Place) -> dict:
    """The server's requests and limits. Memory is not overcommitted: a kill for it ends every session."""
    part = place.part("database")
    memory = part.get("memory") or "2Gi"
    return {
        "requests": {"cpu": part.get("cpu") or "500m", "memory": memory},
        "limits": {"cpu": part.get("cpu_limit") or "2", "memory": memory},
    }


def storage(place: Place) -> dict:
    """{size, storageClass} as the spec says; the cluster's default class when it names none."""
    found = {"size": place.part("database").get("storage") or "20Gi"}
    storage_class = place.spec.get("storage_class")
    return found | ({"storageClass": storage_class} if storage_class else {})


def _service(place: Place, **more: Any) -> dict:
    ports = [{"name": "postgresql", "port": POSTGRES_PORT, "targetPort": "postgresql", "protocol": "TCP"}]
    spec = {"clusterIP": "None", "selector": place.selector(POSTGRES), "ports": ports}
    return place.document("Service", POSTGRES, component=POSTGRES, spec=spec | more)


def _stateful_set(place: Place) -> dict:
    part = place.part("database")
    version = part.get("version") or "17"
    claim: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": storage(place)["size"]}},
    }
    if place.spec.get("storage_class"):
        claim["storageClassName"] = place.spec["storage_class"]
    annotations = {CHECKSUM: place.checksum("database_admin_password")}
    if place.spec.get("database_restarted_at"):
        annotations[RESTARTED] = place.spec["database_restarted_at"]
    server = {
        "name": "postgresql",
        "image": part.get("image") or IMAGE.format(version=version),
        "imagePullPolicy": "IfNotPresent",
        "args": ["-c", "listen_addresses=*", "-c", f"max_connections={part.get('max_connections', 200)}"],
        "ports": [{"name": "postgresql", "containerPort": POSTGRES_PORT, "protocol": "TCP"}],
        "env": [
            {"name": "PGDATA", "value": f"{DATA}/pgdata"},
            {"name": "POSTGRES_PASSWORD_FILE", "value": "/run/secrets/aindusdb-admin/password"},
            {
                "name": "POSTGRES_INITDB_ARGS",
                "value": "--data-checksums --encoding=UTF8 --auth-host=scram-sha-256",
            },
        ],
        "resources": resources(place),
        "securityContext": container_security(),
        # A start after a crash replays the log: it may take long, and must not be cut off.
        "startupProbe": _probe(5, 120),
        "livenessProbe": _probe(20, 6),
        "readinessProbe": _probe(5, 3),
        "volumeMounts": [
            {"name": "data", "mountPath": DATA},
            {"name": "run", "mountPath": "/var/run/postgresql"},
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "memory", "mountPath": "/dev/shm"},
            {"name": "init", "mountPath": "/docker-entrypoint-initdb.d", "readOnly": True},
            {"name": "app", "mountPath": "/run/secrets/aindusdb", "readOnly": True},
            {"name": "admin", "mountPath": "/run/secrets/aindusdb-admin", "readOnly": True},
        ],
    }
    volumes = [
        {"name": "run", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {}},
        # Parallel index builds share memory here; the default of 64 MiB fails them.
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
        {"name": "init", "configMap": {"name": f"{POSTGRES}-init"}},
        {"name": "app", "secret": {"secretName": POSTGRES, "defaultMode": 0o440}},
        {"name": "admin", "secret": {"secretName": f"{POSTGRES}-admin", "defaultMode": 0o440}},
    ]
    return place.document(
        "StatefulSet",
        POSTGRES,
        component=POSTGRES,
        # A major version cannot read another's files; what stands there tells which it is.
        labels={MAJOR_LABEL: version},
        spec={
            "serviceName": POSTGRES,
            "replicas": 1,
            "selector": {"matchLabels": place.selector(POSTGRES)},
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Retain"},
            "template": {
                "metadata": {"labels": place.labels(POSTGRES), "annotations": annotations},
                "spec": {
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "securityContext": pod_security(UID),
                    # A fast shutdown with a checkpoint of everything.
                    "terminationGracePeriodSeconds": 120,
                    "containers": [server],
                    "volumes": volumes,
                },
            },
            "volumeClaimTemplates": [
                {"metadata": {"name": "data", "labels": place.selector(POSTGRES)}, "spec": claim}
            ],
        },
    )


def _probe(period: int, failures: int) -> dict:
    return {
        "exec": {"command": IS_READY},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
        "successThreshold": 1,
    }


def _cnpg_service(place: Place) -> dict:
    """The primary under the same name as with a StatefulSet, so the URL does not depend on who keeps it."""
    selector = {"cnpg.io/cluster": POSTGRES, "cnpg.io/instanceRole": "primary"}
    ports = [{"name": "postgresql", "port": POSTGRES_PORT, "targetPort": POSTGRES_PORT, "protocol": "TCP"}]
    return place.document(
        "Service",
        POSTGRES,
        component=POSTGRES,
        spec={"type": "ClusterIP", "selector": selector, "ports": ports},
    )


def _cnpg_policy(place: Place) -> dict:
    """The API reaches the database; the instances each other; the operator their status port."""
    own = {"cnpg.io/cluster": POSTGRES}
    clients = [{"podSelector": {"matchLabels": place.selector(one)}} for one in APP_CLIENTS]
    rules = [
        {"from": clients, "ports": [{"protocol": "TCP", "port": POSTGRES_PORT}]},
        {"from": [{"podSelector": {"matchLabels": own}}]},
        {"from": [{"namespaceSelector": {}}], "ports": [{"protocol": "TCP", "port": 8000}]},
    ]
    spec = {"podSelector": {"matchLabels": own}, "policyTypes": ["Ingress"], "ingress": rules}
    return place.document("NetworkPolicy", POSTGRES, component=POSTGRES, spec=spec)


def _cnpg(place: Place) -> dict:
    part = place.part("database")
    spec: dict[str, Any] = {
        "instances": part.get("instances", 1),
        "storage": storage(place),
        "resources": resources(place),
        "postgresql": {"parameters": {"max_connections": str(part.get("max_connections", 200))}},
        "bootstrap": {
            "initdb": {
                "database": DATABASE,
                "owner": USER,
                "secret": {"name": POSTGRES},
                "dataChecksums": True,
                "encoding": "UTF8",
                "postInitApplicationSQL": ["CREATE EXTENSION IF NOT EXISTS vector"],
            }
        },
        "affinity": {
            "enablePodAntiAffinity": True,
            "topologyKey": "kubernetes.io/hostname",
            "podAntiAffinityType": "preferred",
        },
    }
    if part.get("image"):
        spec["imageName"] = part["image"]
    return place.document("Cluster", POSTGRES, component=POSTGRES, spec=spec)
