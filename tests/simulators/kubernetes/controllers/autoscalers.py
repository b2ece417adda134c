"""Horizontal autoscalers: the bounds always, and utilisation of CPU where the metrics API is installed."""

import math

from tests.simulators.kubernetes import applying, quantities, selectors
from tests.simulators.kubernetes.controllers import pods as of
from tests.simulators.kubernetes.store import Change
from tests.simulators.kubernetes.writing import Options

KEY = "horizontalpodautoscalers.autoscaling"
COMPONENT = "horizontal-pod-autoscaler"
_PERIOD_SECONDS, _TOLERANCE = 15, 0.1


class Autoscalers:
    """The horizontal pod autoscaler controller. It scales up and down without a window of stabilisation."""

    def __init__(self, cluster):
        self.cluster, self.store, self.writer = cluster, cluster.store, cluster.writer
        self.autoscalers = cluster.resources.find("autoscaling", "v2", "horizontalpodautoscalers")

    def changed(self, change: Change) -> None:
        meta = change.document["metadata"]
        if change.key == KEY and change.type != "DELETED":
            self._soon(meta["namespace"], meta["name"])
        elif change.key in ("deployments.apps", "statefulsets.apps"):
            for scaler in self.store.find(KEY, meta["namespace"]):
                if scaler["spec"]["scaleTargetRef"]["name"] == meta["name"]:
                    self._soon(meta["namespace"], scaler["metadata"]["name"])

    def _soon(self, namespace: str, name: str) -> None:
        self.cluster.loop.soon((KEY, namespace, name), lambda: self.sync(namespace, name))

    def sync(self, namespace: str, name: str) -> None:
        with self.store.lock:
            scaler = self.store.get(KEY, namespace, name)
            if scaler is None:
                return
            spec = scaler["spec"]
            resource = self.cluster.resources.kind(spec["scaleTargetRef"]["kind"])
            target = self.store.get(resource.key, namespace, spec["scaleTargetRef"]["name"])
            if target is None:
                self._write(scaler, 0, 0, None, ("False", "FailedGetScale", "the target does not exist"))
                return
            current = target["spec"].get("replicas", 1)
            found = self._utilisation(scaler, target)
            wanted = current
            if current and found:
                share, goal = found
                ratio = share / goal
                if abs(ratio - 1) > _TOLERANCE:
                    wanted = math.ceil(current * ratio)
            if current:
                wanted = max(spec.get("minReplicas", 1), min(spec["maxReplicas"], wanted))
            if wanted != current:
                new = {**target, "spec": {**target["spec"], "replicas": wanted}}
                options = Options(manager="kube-controller-manager")
                self.writer.scale(resource, target, new, options)
                why = "cpu resource utilization" if found else "Current number of replicas"
                told = f"New size: {wanted}; reason: {why}"
                self.cluster.recorder.tell(scaler, "SuccessfulRescale", told, component=COMPONENT)
            told = (
                "True",
                "SucceededRescale",
                f"the HPA controller was able to update the target scale to {wanted}",
            )
            self._write(scaler, (target.get("status") or {}).get("replicas", 0), wanted, found, told)
            if self._goal(spec):
                self.cluster.loop.later(
                    _PERIOD_SECONDS, ("hpa", scaler["metadata"]["uid"]), lambda: self.sync(namespace, name)
                )

    @staticmethod
    def _goal(spec: dict) -> int:
        for metric in spec.get("metrics", ()):
            target = (metric.get("resource") or {}).get("target") or {}
            if (metric.get("resource") or {}).get("name") == "cpu" and target.get("averageUtilization"):
                return target["averageUtilization"]
        return 0

    def _utilisation(self, scaler: dict, target: dict) -> tuple[float, int] | None:
        """Per cent of the requested CPU that the target's pods use, and what is aimed at."""
        goal = self._goal(scaler["spec"])
        served = {(r.group, r.plural) for r in self.cluster.resources}
        if not goal or ("metrics.k8s.io", "pods") not in served:
            return None
        wanted = selectors.of(target["spec"].get("selector"))
        used = asked = 0.0
        for pod in self.store.find("pods", scaler["metadata"]["namespace"]):
            if not selectors.matches(wanted, pod["metadata"].get("labels")) or not of.is_ready(pod):
                continue
            usage = self.cluster.controllers.metrics.of_pod(pod)
            for container, held in zip(
                pod["spec"]["containers"], (usage or {}).get("containers", ()), strict=False
            ):
                request = ((container.get("resources") or {}).get("requests") or {}).get("cpu")
                if request:
                    asked += float(quantities.parse(request))
                    used += float(quantities.parse(held["usage"]["cpu"]))
        return (100 * used / asked, goal) if asked else None

    def _write(self, scaler, current: int, wanted: int, found, told: tuple[str, str, str]) -> None:
        conditions = of.with_condition(
            (scaler.get("status") or {}).get("conditions") or [], "AbleToScale", *told, applying.now()
        )
        status = {"currentReplicas": current, "desiredReplicas": wanted, "conditions": conditions}
        if found:
            current_metric = {"averageUtilization": round(found[0]), "averageValue": "0"}
            status["currentMetrics"] = [
                {"type": "Resource", "resource": {"name": "cpu", "current": current_metric}}
            ]
        self.writer.status(self.autoscalers, scaler, status)
