"""Disruption budgets: how many pods may go."""

import math

from tests.simulators.kubernetes import applying, selectors
from tests.simulators.kubernetes.controllers import pods as of
from tests.simulators.kubernetes.store import Change

KEY = "poddisruptionbudgets.policy"


class Budgets:
    """The disruption controller."""

    def __init__(self, cluster):
        self.cluster, self.store, self.writer = cluster, cluster.store, cluster.writer
        self.budgets = cluster.resources.find("policy", "v1", "poddisruptionbudgets")

    def changed(self, change: Change) -> None:
        meta = change.document["metadata"]
        if change.key == KEY and change.type != "DELETED":
            self._soon(meta["namespace"], meta["name"])
        elif change.key == "pods":
            for budget in self.store.find(KEY, meta["namespace"]):
                self._soon(meta["namespace"], budget["metadata"]["name"])

    def _soon(self, namespace: str, name: str) -> None:
        self.cluster.loop.soon((KEY, namespace, name), lambda: self.sync(namespace, name))

    def sync(self, namespace: str, name: str) -> None:
        with self.store.lock:
            budget = self.store.get(KEY, namespace, name)
            if budget is None:
                return
            spec = budget.get("spec") or {}
            wanted = selectors.of(spec.get("selector"))
            pods = [
                pod
                for pod in self.store.find("pods", namespace)
                if selectors.matches(wanted, pod["metadata"].get("labels")) and of.is_active(pod)
            ]
            healthy, expected = sum(of.is_ready(pod) for pod in pods), len(pods)
            if "maxUnavailable" in spec:
                desired = max(0, expected - _number(spec["maxUnavailable"], expected))
            else:
                desired = _number(spec.get("minAvailable", 1), expected)
            allowed = max(0, healthy - desired) if expected else 0
            enough = healthy >= desired and allowed > 0
            conditions = of.with_condition(
                (budget.get("status") or {}).get("conditions") or [],
                "DisruptionAllowed",
                "True" if enough else "False",
                "SufficientPods" if enough else "InsufficientPods",
                "",
                applying.now(),
            )
            status = {
                "conditions": conditions,
                "currentHealthy": healthy,
                "desiredHealthy": desired,
                "disruptionsAllowed": allowed,
                "expectedPods": expected,
                "observedGeneration": budget["metadata"].get("generation", 1),
            }
            self.writer.status(self.budgets, budget, status)


def _number(value, total: int) -> int:
    if isinstance(value, str):
        return math.ceil(int(value.rstrip("%")) * total / 100)
    return int(value)
