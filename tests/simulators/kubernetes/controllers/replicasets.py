"""Replica sets: as many pods as wanted, and the events of those that cannot be made."""

from tests.simulators.kubernetes import applying
from tests.simulators.kubernetes.controllers import pods as of
from tests.simulators.kubernetes.errors import StatusError
from tests.simulators.kubernetes.writing import Deletion, Options

COMPONENT = "replicaset-controller"


class ReplicaSets:
    """The replica set controller."""

    def __init__(self, cluster):
        self.cluster, self.store, self.writer = cluster, cluster.store, cluster.writer
        self.sets = cluster.resources.find("apps", "v1", "replicasets")
        self.pods = cluster.resources.find("", "v1", "pods")

    def sync(self, namespace: str, name: str) -> None:
        with self.store.lock:
            replica_set = self.store.get(self.sets.key, namespace, name)
            if replica_set is None or replica_set["metadata"].get("deletionTimestamp"):
                return
            held = of.owned(self.store, "pods", replica_set)
            active = [pod for pod in held if of.is_active(pod)]
            wanted = replica_set["spec"].get("replicas", 1)
            failure = ""
            if len(active) < wanted:
                failure = self._create(replica_set, wanted - len(active))
            elif len(active) > wanted:
                self._delete(replica_set, active, len(active) - wanted)
            self._status(replica_set, failure)

    def _create(self, replica_set: dict, count: int) -> str:
        meta = replica_set["metadata"]
        for _ in range(count):
            pod = of.from_template(
                replica_set, replica_set["spec"]["template"], generateName=f"{meta['name']}-"
            )
            try:
                made = self.writer.create(self.pods, pod, Options())
            except StatusError as error:
                told = f"Error creating: {error.message}"
                self.cluster.recorder.tell(
                    replica_set, "FailedCreate", told, kind="Warning", component=COMPONENT
                )
                self._again(meta)
                return error.message
            told = f"Created pod: {made['metadata']['name']}"
            self.cluster.recorder.tell(replica_set, "SuccessfulCreate", told, component=COMPONENT)
        return ""

    def _again(self, meta: dict) -> None:
        key = (self.sets.key, meta["namespace"], meta["name"])
        self.cluster.loop.later(5, ("again", *key), lambda: self.sync(meta["namespace"], meta["name"]))

    def _delete(self, replica_set: dict, active: list[dict], count: int) -> None:
        def rank(pod: dict) -> tuple:
            # Unassigned before assigned, unready before ready, younger before older.
            return (
                bool(pod["spec"].get("nodeName")),
                (pod.get("status") or {}).get("phase") == "Running",
                of.is_ready(pod),
                -int(pod["metadata"]["resourceVersion"]),
            )

        for pod in sorted(active, key=rank)[:count]:
            name = pod["metadata"]["name"]
            self.writer.delete(self.pods, pod["metadata"]["namespace"], name, Deletion())
            told = f"Deleted pod: {name}"
            self.cluster.recorder.tell(replica_set, "SuccessfulDelete", told, component=COMPONENT)

    def _status(self, replica_set: dict, failure: str) -> None:
        meta = replica_set["metadata"]
        replica_set = self.store.get(self.sets.key, meta["namespace"], meta["name"])
        if replica_set is None:
            return
        active = [pod for pod in of.owned(self.store, "pods", replica_set) if of.is_active(pod)]
        least = replica_set["spec"].get("minReadySeconds", 0)
        waits = [of.available_in(pod, least, self.cluster.speed) for pod in active]
        labels = (replica_set["spec"]["template"].get("metadata") or {}).get("labels") or {}
        full = [p for p in active if labels.items() <= (p["metadata"].get("labels") or {}).items()]
        conditions = (replica_set.get("status") or {}).get("conditions") or []
        if failure:
            conditions = of.with_condition(
                conditions, "ReplicaFailure", "True", "FailedCreate", failure, applying.now()
            )
        else:
            conditions = [c for c in conditions if c["type"] != "ReplicaFailure"]
        status = {
            "replicas": len(active),
            "fullyLabeledReplicas": len(full),
            "readyReplicas": sum(wait is not None for wait in waits),
            "availableReplicas": sum(wait == 0 for wait in waits),
            "observedGeneration": meta.get("generation", 1),
            "conditions": conditions,
        }
        status = {
            key: value for key, value in status.items() if value or key in ("replicas", "observedGeneration")
        }
        self.writer.status(self.sets, replica_set, status)
        later = [wait for wait in waits if wait]
        if later:
            key = (self.sets.key, meta["namespace"], meta["name"])
            self.cluster.loop.later(min(later) + 1, key, lambda: self.sync(meta["namespace"], meta["name"]))
