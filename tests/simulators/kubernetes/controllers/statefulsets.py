"""Stateful sets: pods by ordinal, one after the other, with their claims; updated from the last on."""

from tests.simulators.kubernetes.controllers import pods as of
from tests.simulators.kubernetes.errors import StatusError
from tests.simulators.kubernetes.schema import copied
from tests.simulators.kubernetes.writing import Deletion, Options

COMPONENT = "statefulset-controller"
_REVISION = "controller-revision-hash"


class StatefulSets:
    """The stateful set controller."""

    def __init__(self, cluster):
        self.cluster, self.store, self.writer = cluster, cluster.store, cluster.writer
        self.sets = cluster.resources.find("apps", "v1", "statefulsets")
        self.pods = cluster.resources.find("", "v1", "pods")
        self.claims = cluster.resources.find("", "v1", "persistentvolumeclaims")

    def sync(self, namespace: str, name: str) -> None:
        with self.store.lock:
            stateful_set = self.store.get(self.sets.key, namespace, name)
            if stateful_set is None or stateful_set["metadata"].get("deletionTimestamp"):
                return
            spec = stateful_set["spec"]
            update = f"{name}-{of.template_hash(spec['template'])}"
            first = (spec.get("ordinals") or {}).get("start", 0)
            wanted = [f"{name}-{number}" for number in range(first, first + spec.get("replicas", 1))]
            held = {pod["metadata"]["name"]: pod for pod in of.owned(self.store, "pods", stateful_set)}
            self._retain(stateful_set, wanted)
            self._move(stateful_set, wanted, held, update)
            self._status(stateful_set, update)

    def _retain(self, stateful_set: dict, wanted: list[str]) -> None:
        """The claims belong to the set where they shall go with it, and go with their pod where told so."""
        meta, spec = stateful_set["metadata"], stateful_set["spec"]
        policy = spec.get("persistentVolumeClaimRetentionPolicy") or {}
        templates = [template["metadata"]["name"] for template in spec.get("volumeClaimTemplates", ())]
        for claim in self.store.find(self.claims.key, meta["namespace"]):
            label, _, pod = claim["metadata"]["name"].partition(f"-{meta['name']}-")
            if label not in templates or not pod.isdigit():
                continue
            extra = f"{meta['name']}-{pod}" not in wanted
            if extra and policy.get("whenScaled") == "Delete":
                if not claim["metadata"].get("deletionTimestamp"):
                    self.writer.delete(self.claims, meta["namespace"], claim["metadata"]["name"], Deletion())
                continue
            owners = [{**of.reference(stateful_set)}] if policy.get("whenDeleted") == "Delete" else []
            if (claim["metadata"].get("ownerReferences") or []) != owners:

                def own(document: dict, owners: list[dict] = owners) -> None:
                    document["metadata"]["ownerReferences"] = owners
                    if not owners:
                        del document["metadata"]["ownerReferences"]

                self.writer.change(self.claims, claim, own)

    def _move(self, stateful_set: dict, wanted: list[str], held: dict[str, dict], update: str) -> None:
        """The next step, or all of them at once where the policy is Parallel."""
        spec = stateful_set["spec"]
        together = spec.get("podManagementPolicy") == "Parallel"
        for name in wanted:
            pod = held.get(name)
            if pod and (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded"):
                self._delete(stateful_set, pod)
                return
            if pod is None and not self._make(stateful_set, name, update):
                return
            if not together and (
                pod is None or not of.is_ready(pod) or pod["metadata"].get("deletionTimestamp")
            ):
                return
        extra = sorted(set(held) - set(wanted), key=lambda n: int(n.rpartition("-")[2]), reverse=True)
        for name in extra:
            if not held[name]["metadata"].get("deletionTimestamp"):
                self._delete(stateful_set, held[name])
            if not together:
                return
        if spec["updateStrategy"]["type"] != "RollingUpdate":
            return
        partition = (spec["updateStrategy"].get("rollingUpdate") or {}).get("partition", 0)
        for name in reversed(wanted):
            pod = held.get(name)
            if pod is None or int(name.rpartition("-")[2]) < partition:
                return
            if (pod["metadata"].get("labels") or {}).get(_REVISION) != update:
                if not pod["metadata"].get("deletionTimestamp"):
                    self._delete(stateful_set, pod)
                return
            if not of.is_ready(pod):
                return

    def _make(self, stateful_set: dict, name: str, update: str) -> bool:
        namespace, spec = stateful_set["metadata"]["namespace"], stateful_set["spec"]
        pod = of.from_template(stateful_set, spec["template"], name=name)
        ordinal = name.rpartition("-")[2]
        pod["metadata"]["labels"] |= {
            _REVISION: update,
            "statefulset.kubernetes.io/pod-name": name,
            "apps.kubernetes.io/pod-index": ordinal,
        }
        pod["spec"] |= {"hostname": name, "subdomain": spec.get("serviceName", "")}
        try:
            for template in spec.get("volumeClaimTemplates", ()):
                label = template["metadata"]["name"]
                claim = f"{label}-{name}"
                if self.store.get(self.claims.key, namespace, claim) is None:
                    meta = {
                        "name": claim,
                        "namespace": namespace,
                        "labels": dict((spec["selector"].get("matchLabels")) or {}),
                    }
                    self.writer.create(
                        self.claims, {"metadata": meta, "spec": copied(template["spec"])}, Options()
                    )
                    told = (
                        f"create Claim {claim} Pod {name} in StatefulSet "
                        f"{stateful_set['metadata']['name']} success"
                    )
                    self._tell(stateful_set, "SuccessfulCreate", told)
                volumes = [v for v in pod["spec"].get("volumes", ()) if v["name"] != label]
                volumes.append({"name": label, "persistentVolumeClaim": {"claimName": claim}})
                pod["spec"]["volumes"] = volumes
            self.writer.create(self.pods, pod, Options())
        except StatusError as error:
            told = (
                f"create Pod {name} in StatefulSet {stateful_set['metadata']['name']} failed error: "
                f"{error.message}"
            )
            self._tell(stateful_set, "FailedCreate", told, "Warning")
            set_name = stateful_set["metadata"]["name"]
            self.cluster.loop.later(
                5, ("again", self.sets.key, namespace, set_name), lambda: self.sync(namespace, set_name)
            )
            return False
        told = f"create Pod {name} in StatefulSet {stateful_set['metadata']['name']} successful"
        self._tell(stateful_set, "SuccessfulCreate", told)
        return True

    def _tell(self, stateful_set: dict, reason: str, message: str, kind: str = "Normal") -> None:
        self.cluster.recorder.tell(stateful_set, reason, message, kind=kind, component=COMPONENT)

    def _delete(self, stateful_set: dict, pod: dict) -> None:
        meta = pod["metadata"]
        self.writer.delete(self.pods, meta["namespace"], meta["name"], Deletion())
        told = f"delete Pod {meta['name']} in StatefulSet {stateful_set['metadata']['name']} successful"
        self._tell(stateful_set, "SuccessfulDelete", told)

    def _status(self, stateful_set: dict, update: str) -> None:
        meta = stateful_set["metadata"]
        held = of.owned(self.store, "pods", stateful_set)
        live = [pod for pod in held if of.is_active(pod)]
        new = [pod for pod in live if (pod["metadata"].get("labels") or {}).get(_REVISION) == update]
        ready = [pod for pod in live if of.is_ready(pod)]
        before = stateful_set.get("status") or {}
        current = before.get("currentRevision") or update
        replicas = stateful_set["spec"].get("replicas", 1)
        if len(new) == len(live) == replicas and len(ready) == replicas:
            current = update
        status = {
            "observedGeneration": meta.get("generation", 1),
            "replicas": len(live),
            "readyReplicas": len(ready),
            "availableReplicas": len(ready),
            "currentReplicas": len(new) if current == update else len(live) - len(new),
            "updatedReplicas": len(new),
            "currentRevision": current,
            "updateRevision": update,
            "collisionCount": 0,
        }
        kept = ("replicas", "availableReplicas", "collisionCount")
        status = {key: value for key, value in status.items() if value or key in kept}
        self.writer.status(self.sets, stateful_set, status)
