"""Endpoints and endpoint slices of services with a selector."""

from tests.simulators.kubernetes.controllers import pods as of
from tests.simulators.kubernetes.store import Change
from tests.simulators.kubernetes.writing import Deletion, Options


class Services:
    """The endpoints and endpoint slice controllers."""

    def __init__(self, cluster):
        self.cluster, self.store, self.writer = cluster, cluster.store, cluster.writer
        self.endpoints = cluster.resources.find("", "v1", "endpoints")
        self.slices = cluster.resources.find("discovery.k8s.io", "v1", "endpointslices")

    def pod_changed(self, change: Change) -> None:
        namespace = change.document["metadata"]["namespace"]
        for service in self.store.find("services", namespace):
            name = service["metadata"]["name"]
            self.cluster.loop.soon(
                ("services", namespace, name), lambda name=name: self.sync(namespace, name)
            )

    def sync(self, namespace: str, name: str) -> None:
        with self.store.lock:
            service = self.store.get("services", namespace, name)
            if service is None:
                for resource, gone in ((self.endpoints, name), (self.slices, f"{name}-slice")):
                    if self.store.get(resource.key, namespace, gone):
                        self.writer.delete(resource, namespace, gone, Deletion())
                return
            selector = service["spec"].get("selector")
            if not selector:
                return
            pods = [
                pod
                for pod in self.store.find("pods", namespace)
                if selector.items() <= (pod["metadata"].get("labels") or {}).items()
                and (pod.get("status") or {}).get("podIP")
                and (pod.get("status") or {}).get("phase") not in ("Failed", "Succeeded")
            ]
            self._endpoints(service, pods)
            self._slice(service, pods)

    @staticmethod
    def _number(pod: dict, port: dict) -> int | None:
        target = port.get("targetPort", port["port"])
        if isinstance(target, int):
            return target
        for container in pod["spec"]["containers"]:
            for held in container.get("ports", ()):
                if held.get("name") == target:
                    return held["containerPort"]
        return None

    @staticmethod
    def _target(pod: dict) -> dict:
        meta = pod["metadata"]
        return {"kind": "Pod", "namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]}

    def _endpoints(self, service: dict, pods: list[dict]) -> None:
        subsets = []
        if pods:
            subset: dict = {"addresses": [], "notReadyAddresses": [], "ports": []}
            for pod in pods:
                entry = {
                    "ip": pod["status"]["podIP"],
                    "nodeName": pod["spec"].get("nodeName"),
                    "targetRef": self._target(pod),
                }
                if not pod["metadata"].get("deletionTimestamp"):
                    subset["addresses" if of.is_ready(pod) else "notReadyAddresses"].append(entry)
            for port in service["spec"].get("ports", ()):
                number = self._number(pods[0], port)
                if number:
                    made = {"port": number, "protocol": port["protocol"]}
                    subset["ports"].append({**({"name": port["name"]} if port.get("name") else {}), **made})
            subset = {key: value for key, value in subset.items() if value}
            subsets = [subset] if {"addresses", "notReadyAddresses"} & set(subset) else []
        self._put(
            self.endpoints, service, service["metadata"]["name"], {"subsets": subsets} if subsets else {}
        )

    def _slice(self, service: dict, pods: list[dict]) -> None:
        ports = []
        for port in service["spec"].get("ports", ()):
            number = self._number(pods[0], port) if pods else None
            if number:
                ports.append({"name": port.get("name", ""), "port": number, "protocol": port["protocol"]})
        entries = [
            {
                "addresses": [pod["status"]["podIP"]],
                "conditions": {
                    "ready": of.is_ready(pod) and not pod["metadata"].get("deletionTimestamp"),
                    "serving": of.is_ready(pod),
                    "terminating": bool(pod["metadata"].get("deletionTimestamp")),
                },
                "nodeName": pod["spec"].get("nodeName"),
                "targetRef": self._target(pod),
            }
            for pod in pods
        ]
        body = {"addressType": "IPv4", "endpoints": entries, "ports": ports}
        self._put(self.slices, service, f"{service['metadata']['name']}-slice", body)

    def _put(self, resource, service: dict, name: str, body: dict) -> None:
        namespace = service["metadata"]["namespace"]
        old = self.store.get(resource.key, namespace, name)
        meta: dict = {"name": name, "namespace": namespace}
        if resource.kind == "EndpointSlice":
            meta["labels"] = {
                "kubernetes.io/service-name": service["metadata"]["name"],
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            }
            meta["ownerReferences"] = [of.reference(service)]
        elif service["metadata"].get("labels"):
            meta["labels"] = dict(service["metadata"]["labels"])
        if old is None:
            self.writer.create(resource, {"metadata": meta, **body}, Options())
        else:
            self.writer.replace(resource, {"metadata": meta, **body}, Options())
