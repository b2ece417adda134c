"""metrics.k8s.io: what pods and nodes use, by script."""

from decimal import Decimal

from tests.simulators.kubernetes import applying, errors, quantities, selectors
from tests.simulators.kubernetes.server import Answer


class Metrics:
    """Answers nodes and pods of metrics.k8s.io/v1beta1; nothing is stored."""

    def __init__(self, cluster):
        self.cluster, self.store = cluster, cluster.store

    def answer(self, call) -> Answer:
        if call.verb not in ("get", "list"):
            raise errors.method_not_allowed()
        make = self.of_pod if call.resource.plural == "pods" else self._node
        key = call.resource.plural
        if call.verb == "get":
            held = self.store.get(key, call.namespace, call.name)
            made = make(held) if held else None
            if made is None:
                raise errors.not_found(call.resource, call.name)
            return Answer(json=made)
        wanted = selectors.parse(call.query.get("labelSelector", ""))
        found = [
            make(d)
            for d in self.store.find(key, call.namespace)
            if selectors.matches(wanted, d["metadata"].get("labels"))
        ]
        return Answer(
            json={
                "kind": call.resource.kind + "List",
                "apiVersion": call.resource.api_version,
                "metadata": {},
                "items": [made for made in found if made],
            }
        )

    def of_pod(self, pod: dict) -> dict | None:
        """A pod's PodMetrics; None while it does not run."""
        run = self.cluster.kubelet.runs.get(pod["metadata"]["uid"])
        if run is None or run.stage != "running":
            return None
        cpu, memory = run.process.usage() if run.process else (0.01, 64 * 2**20)
        usage = {
            "cpu": run.behaviour.cpu or f"{max(1, round(cpu * 1000))}m",
            "memory": run.behaviour.memory or f"{memory // 1024}Ki",
        }
        meta = pod["metadata"]
        containers = [
            {"name": container["name"], "usage": usage if index == 0 else {"cpu": "1m", "memory": "8Mi"}}
            for index, container in enumerate(pod["spec"]["containers"])
        ]
        return self._made("PodMetrics", meta) | {"containers": containers}

    def _node(self, node: dict) -> dict:
        cpu, memory = Decimal("0.1"), 512 * 2**20
        for pod in self.store.find("pods"):
            if pod["spec"].get("nodeName") == node["metadata"]["name"] and (made := self.of_pod(pod)):
                for container in made["containers"]:
                    cpu += quantities.parse(container["usage"]["cpu"])
                    memory += int(quantities.parse(container["usage"]["memory"]))
        usage = {"cpu": quantities.decimal(cpu), "memory": quantities.binary(memory)}
        return self._made("NodeMetrics", node["metadata"]) | {"usage": usage}

    @staticmethod
    def _made(kind: str, meta: dict) -> dict:
        return {
            "kind": kind,
            "apiVersion": "metrics.k8s.io/v1beta1",
            "metadata": {key: meta[key] for key in ("name", "namespace", "labels") if key in meta}
            | {"creationTimestamp": applying.now()},
            "timestamp": applying.now(),
            "window": "15s",
        }
