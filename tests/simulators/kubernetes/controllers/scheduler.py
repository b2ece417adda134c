"""The scheduler: a node for each pod by room, selectors, affinity, taints and spread, or its reasons."""

from collections import Counter
from decimal import Decimal

from tests.simulators.kubernetes import applying, quantities, selectors
from tests.simulators.kubernetes.controllers.volumes import claims_of
from tests.simulators.kubernetes.store import Change

COMPONENT = "default-scheduler"


class Scheduler:
    """Binds pods, and tells why it cannot."""

    def __init__(self, cluster):
        self.cluster, self.store, self.writer = cluster, cluster.store, cluster.writer
        self.pods = cluster.resources.find("", "v1", "pods")

    def changed(self, change: Change) -> None:
        pod, meta = change.document, change.document["metadata"]
        if change.type == "DELETED":
            self.retry()
        elif change.type == "ADDED" and not pod["spec"].get("nodeName"):
            self._soon(meta["namespace"], meta["name"])

    def _soon(self, namespace: str, name: str) -> None:
        self.cluster.loop.soon(("schedule", namespace, name), lambda: self.sync(namespace, name))

    def retry(self) -> None:
        """Room or the script may have changed: look again at what waits."""
        for pod in self.store.find("pods"):
            if not pod["spec"].get("nodeName"):
                self._soon(pod["metadata"]["namespace"], pod["metadata"]["name"])

    def sync(self, namespace: str, name: str) -> None:
        with self.store.lock:
            pod = self.store.get("pods", namespace, name)
            if pod is None or pod["spec"].get("nodeName") or pod["metadata"].get("deletionTimestamp"):
                return
            behaviour = self.cluster.pods.of(pod)
            nodes = self.store.find("nodes")
            if behaviour.kind == "unschedulable":
                told = behaviour.message or self._told(len(nodes), Counter({"Insufficient cpu": len(nodes)}))
                self._failed(pod, told)
                return
            if missing := self._missing_claim(pod):
                self._failed(pod, self._told(len(nodes), Counter(), missing))
                return
            reasons, fitting = Counter(), []
            everyone = self.store.find("pods")
            for node in nodes:
                reason = self._misfit(pod, node, everyone, nodes)
                if reason:
                    reasons.update(reason)
                else:
                    fitting.append(node)
            if not fitting:
                self._failed(pod, self._told(len(nodes), reasons))
                return
            self._bind(pod, min(fitting, key=lambda node: self._load(pod, node, everyone)))

    @staticmethod
    def _told(count: int, reasons: Counter, whole: str = "") -> str:
        if not count:
            return "no nodes available to schedule pods"
        if whole:
            why = f"{count} Preemption is not helpful for scheduling"
            return (
                f"0/{count} nodes are available: {whole}. preemption: 0/{count} nodes are available: {why}."
            )
        parts = ", ".join(sorted(f"{number} {reason}" for reason, number in reasons.items()))
        lack = all(reason.startswith("Insufficient") or reason == "Too many pods" for reason in reasons)
        why = (
            f"{count} No preemption victims found for incoming pod"
            if lack
            else f"{count} Preemption is not helpful for scheduling"
        )
        return f"0/{count} nodes are available: {parts}. preemption: 0/{count} nodes are available: {why}."

    def _failed(self, pod: dict, told: str) -> None:
        held = next(
            (c for c in (pod.get("status") or {}).get("conditions") or () if c["type"] == "PodScheduled"),
            None,
        )
        if held and held.get("message") == told:
            return
        self.cluster.recorder.tell(pod, "FailedScheduling", told, kind="Warning", component=COMPONENT)
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "lastProbeTime": None,
            "lastTransitionTime": applying.now(),
            "reason": "Unschedulable",
            "message": told,
        }
        status = {**(pod.get("status") or {}), "phase": "Pending", "conditions": [condition]}
        self.writer.status(self.pods, pod, status, "kube-scheduler")

    def _bind(self, pod: dict, node: dict) -> None:
        name, meta = node["metadata"]["name"], pod["metadata"]

        def bind(document: dict) -> None:
            document["spec"]["nodeName"] = name

        bound = self.writer.change(self.pods, pod, bind, "kube-scheduler")
        if bound:
            told = f"Successfully assigned {meta['namespace']}/{meta['name']} to {name}"
            self.cluster.recorder.tell(bound, "Scheduled", told, component=COMPONENT)

    # Fitting.

    def _missing_claim(self, pod: dict) -> str:
        """Why the pod's claims fit no node, or ""."""
        namespace = pod["metadata"]["namespace"]
        for name in claims_of(pod):
            claim = self.store.get("persistentvolumeclaims", namespace, name)
            if claim is None:
                return f'persistentvolumeclaim "{name}" not found'
            bound = (claim.get("status") or {}).get("phase") == "Bound"
            kind = self.store.get(
                "storageclasses.storage.k8s.io", "", claim["spec"].get("storageClassName", "")
            )
            if not bound and (kind is None or kind.get("volumeBindingMode") != "WaitForFirstConsumer"):
                return "pod has unbound immediate PersistentVolumeClaims"
        return ""

    @staticmethod
    def _requests(pod: dict) -> dict[str, Decimal]:
        total: dict[str, Decimal] = {}
        for container in pod["spec"].get("containers", ()):
            for name, value in ((container.get("resources") or {}).get("requests") or {}).items():
                total[name] = total.get(name, Decimal(0)) + quantities.parse(value)
        return total

    @staticmethod
    def _on(node: dict, everyone: list[dict]) -> list[dict]:
        return [
            pod
            for pod in everyone
            if pod["spec"].get("nodeName") == node["metadata"]["name"]
            and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
        ]

    def _misfit(self, pod: dict, node: dict, everyone: list[dict], nodes: list[dict]) -> list[str]:
        spec, labels = pod["spec"], node["metadata"].get("labels") or {}
        if (node.get("spec") or {}).get("unschedulable"):
            return ["node(s) were unschedulable"]
        for taint in (node.get("spec") or {}).get("taints", ()):
            if taint.get("effect") != "PreferNoSchedule" and not _tolerated(
                taint, spec.get("tolerations") or ()
            ):
                return [f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"]
        if not (spec.get("nodeSelector") or {}).items() <= labels.items() or not _affine(spec, labels):
            return ["node(s) didn't match Pod's node affinity/selector"]
        affinity = spec.get("affinity") or {}
        wanted = (affinity.get("podAntiAffinity") or {}).get(
            "requiredDuringSchedulingIgnoredDuringExecution", ()
        )
        for term in wanted:
            if self._beside(pod, term, node, everyone, nodes):
                return ["node(s) didn't match pod anti-affinity rules"]
        for spread in spec.get("topologySpreadConstraints", ()):
            if spread.get("whenUnsatisfiable") == "DoNotSchedule" and self._skewed(
                pod, spread, node, everyone, nodes
            ):
                return ["node(s) didn't match pod topology spread constraints"]
        return self._room(pod, node, everyone)

    def _room(self, pod: dict, node: dict, everyone: list[dict]) -> list[str]:
        room = (node.get("status") or {}).get("allocatable") or {}
        held = self._on(node, everyone)
        found = []
        if len(held) >= int(room.get("pods", "110")):
            found.append("Too many pods")
        used: dict[str, Decimal] = {}
        for other in held:
            for name, value in self._requests(other).items():
                used[name] = used.get(name, Decimal(0)) + value
        for name, value in self._requests(pod).items():
            if used.get(name, Decimal(0)) + value > quantities.parse(room.get(name, "0")):
                found.append(f"Insufficient {name}")
        return found

    def _beside(self, pod, term, node, everyone, nodes) -> bool:
        key = term["topologyKey"]
        place = (node["metadata"].get("labels") or {}).get(key)
        names = {
            n["metadata"]["name"] for n in nodes if (n["metadata"].get("labels") or {}).get(key) == place
        }
        requirements = selectors.of(term.get("labelSelector"))
        return any(
            other["spec"].get("nodeName") in names
            and other["metadata"]["namespace"] == pod["metadata"]["namespace"]
            and (other.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
            and selectors.matches(requirements, other["metadata"].get("labels"))
            for other in everyone
        )

    def _skewed(self, pod, spread, node, everyone, nodes) -> bool:
        key = spread["topologyKey"]
        places = {n["metadata"]["name"]: (n["metadata"].get("labels") or {}).get(key) for n in nodes}
        if places.get(node["metadata"]["name"]) is None:
            return True
        requirements = selectors.of(spread.get("labelSelector"))
        counts = Counter(dict.fromkeys((place for place in places.values() if place), 0))
        for other in everyone:
            place = places.get(other["spec"].get("nodeName", ""))
            if (
                place
                and other["metadata"]["namespace"] == pod["metadata"]["namespace"]
                and not other["metadata"].get("deletionTimestamp")
                and selectors.matches(requirements, other["metadata"].get("labels"))
            ):
                counts[place] += 1
        return counts[places[node["metadata"]["name"]]] + 1 - min(counts.values()) > spread.get("maxSkew", 1)

    def _load(self, pod: dict, node: dict, everyone: list[dict]) -> tuple:
        held = self._on(node, everyone)
        labels = pod["metadata"].get("labels") or {}
        alike = sum((other["metadata"].get("labels") or {}) == labels for other in held)
        return alike, len(held), node["metadata"]["name"]


def _tolerated(taint: dict, tolerations) -> bool:
    for toleration in tolerations:
        if toleration.get("effect") not in (None, "", taint.get("effect")):
            continue
        if not toleration.get("key") and toleration.get("operator") == "Exists":
            return True
        if toleration.get("key") == taint.get("key") and (
            toleration.get("operator") == "Exists" or toleration.get("value", "") == taint.get("value", "")
        ):
            return True
    return False


def _affine(spec: dict, labels: dict) -> bool:
    required = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    if not required:
        return True
    terms = required.get("nodeSelectorTerms") or ()
    return any(
        selectors.matches(selectors.of({"matchExpressions": term.get("matchExpressions")}), labels)
        for term in terms
    )
