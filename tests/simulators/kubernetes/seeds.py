"""What a fresh cluster holds: namespaces, nodes, a storage class, the API server's own service."""

from tests.simulators.kubernetes.writing import Options

NODES = (
    ("node-a", "4", "16Gi", "zone-a"),
    ("node-b", "4", "16Gi", "zone-b"),
    ("node-c", "4", "16Gi", "zone-c"),
)
_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


def plant(cluster, nodes) -> None:
    def make(group: str, version: str, plural: str, document: dict, status: dict | None = None) -> None:
        resource = cluster.resources.find(group, version, plural)
        made = cluster.writer.create(resource, document, Options(manager="kube-apiserver"))
        if status:
            cluster.writer.status(resource, made, status)

    for name in _NAMESPACES:
        make("", "v1", "namespaces", {"metadata": {"name": name}}, {"phase": "Active"})
    for number, (name, cpu, memory, zone) in enumerate(nodes):
        make("", "v1", "nodes", *node(name, cpu, memory, zone, cluster.version, number))
    make(
        "storage.k8s.io",
        "v1",
        "storageclasses",
        {
            "metadata": {
                "name": "standard",
                "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
            },
            "provisioner": "simulated.example/disk",
            "allowVolumeExpansion": True,
            "volumeBindingMode": "WaitForFirstConsumer",
        },
    )
    make(
        "",
        "v1",
        "services",
        {
            "metadata": {"name": "kubernetes", "namespace": "default"},
            "spec": {"clusterIP": "10.96.0.1", "ports": [{"name": "https", "port": 443, "targetPort": 6443}]},
        },
    )


def node(name: str, cpu: str, memory: str, zone: str, version: str, number: int) -> tuple[dict, dict]:
    """A node's document and its status."""
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "topology.kubernetes.io/region": "region-1",
        "topology.kubernetes.io/zone": zone,
    }
    room = {"cpu": cpu, "memory": memory, "pods": "110", "ephemeral-storage": "100Gi"}
    status = {
        "capacity": room,
        "allocatable": dict(room),
        "addresses": [
            {"type": "InternalIP", "address": f"10.0.0.{number + 10}"},
            {"type": "Hostname", "address": name},
        ],
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "KubeletReady",
                "message": "kubelet is posting ready status",
            }
        ],
        "nodeInfo": {
            "kubeletVersion": f"v{version}.0",
            "architecture": "amd64",
            "operatingSystem": "linux",
            "osImage": "Simulated",
            "containerRuntimeVersion": "containerd://2.0.0",
            "kernelVersion": "6.1.0",
            "kubeProxyVersion": f"v{version}.0",
            "machineID": name,
            "systemUUID": name,
            "bootID": name,
        },
    }
    return {"metadata": {"name": name, "labels": labels}, "spec": {}}, status
