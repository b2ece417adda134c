"""Redis in the cluster: it carries wake-ups and counters alone, so one pod and no disk."""

import base64

from deployments.runtimes.kubernetes.manifests.place import CHECKSUM, Place
from deployments.runtimes.kubernetes.manifests.security import (
    REDIS,
    REDIS_PORT,
    container_security,
    pod_security,
    server_policies,
)

UID = 999
IMAGE = "redis:8.2.2-bookworm"
CONFIG = """\
bind * -::*
port 6379
save ""
appendonly no
maxmemory {megabytes}mb
maxmemory-policy allkeys-lru
requirepass {password}
"""


def in_cluster(place: Place) -> bool:
    """Whether the target's Redis lives in its namespace."""
    return place.part("redis").get("mode", "in_cluster") == "in_cluster"


def redis(place: Place) -> list[dict]:
    """Every object of Redis; none where a URL was given, or none is wanted."""
    if not in_cluster(place):
        return []
    megabytes = place.part("redis").get("memory_mib", 256)
    text = CONFIG.format(megabytes=megabytes, password=place.secrets.values.get("redis_password", ""))
    secret = place.document(
        "Secret",
        REDIS,
        component=REDIS,
        type="Opaque",
        data={"redis.conf": base64.b64encode(text.encode()).decode()},
    )
    ports = [{"name": "redis", "port": REDIS_PORT, "targetPort": "redis", "protocol": "TCP"}]
    service = place.document(
        "Service",
        REDIS,
        component=REDIS,
        spec={"type": "ClusterIP", "selector": place.selector(REDIS), "ports": ports},
    )
    policies = server_policies(place, REDIS, REDIS_PORT, ["aindusdb-api"], peers=False)
    return [secret, *policies, service, _deployment(place, megabytes)]


def _deployment(place: Place, megabytes: int) -> dict:
    probe = {"tcpSocket": {"port": "redis"}, "timeoutSeconds": 3, "successThreshold": 1}
    memory = f"{megabytes + 128}Mi"
    server = {
        "name": "redis",
        "image": place.part("redis").get("image") or IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["redis-server", "/run/secrets/aindusdb/redis.conf"],
        "ports": [{"name": "redis", "containerPort": REDIS_PORT, "protocol": "TCP"}],
        "resources": {
            "requests": {"cpu": "50m", "memory": memory},
            "limits": {"cpu": "500m", "memory": memory},
        },
        "securityContext": container_security(),
        "readinessProbe": {**probe, "periodSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {**probe, "periodSeconds": 20, "failureThreshold": 3},
        "volumeMounts": [
            {"name": "config", "mountPath": "/run/secrets/aindusdb", "readOnly": True},
            {"name": "data", "mountPath": "/data"},
        ],
    }
    return place.document(
        "Deployment",
        REDIS,
        component=REDIS,
        spec={
            "replicas": 1,
            # Two with the same name would each have half of the counters.
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": place.selector(REDIS)},
            "template": {
                "metadata": {
                    "labels": place.labels(REDIS),
                    "annotations": {CHECKSUM: place.checksum("redis_password")},
                },
                "spec": {
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "securityContext": pod_security(UID),
                    "terminationGracePeriodSeconds": 10,
                    "containers": [server],
                    "volumes": [
                        {"name": "config", "secret": {"secretName": REDIS, "defaultMode": 0o440}},
                        {"name": "data", "emptyDir": {"sizeLimit": "1Gi"}},
                    ],
                },
            },
        },
    )
