"""The controllers: each reconciles one key at a time on the cluster's loop, woken by changes of the store."""

from tests.simulators.kubernetes import customs
from tests.simulators.kubernetes.admission import Admission
from tests.simulators.kubernetes.controllers.autoscalers import Autoscalers
from tests.simulators.kubernetes.controllers.budgets import Budgets
from tests.simulators.kubernetes.controllers.cronjobs import CronJobs
from tests.simulators.kubernetes.controllers.deployments import Deployments
from tests.simulators.kubernetes.controllers.garbage import Garbage
from tests.simulators.kubernetes.controllers.jobs import Jobs
from tests.simulators.kubernetes.controllers.metrics import Metrics
from tests.simulators.kubernetes.controllers.namespaces import Namespaces
from tests.simulators.kubernetes.controllers.operators import Operators
from tests.simulators.kubernetes.controllers.pods import owner_of
from tests.simulators.kubernetes.controllers.replicasets import ReplicaSets
from tests.simulators.kubernetes.controllers.scheduler import Scheduler
from tests.simulators.kubernetes.controllers.services import Services
from tests.simulators.kubernetes.controllers.statefulsets import StatefulSets
from tests.simulators.kubernetes.controllers.volumes import Volumes
from tests.simulators.kubernetes.store import Change


class Controllers:
    """Wires the store's changes to whoever must look at them."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.scheduler = Scheduler(cluster)
        self.replica_sets = ReplicaSets(cluster)
        self.deployments = Deployments(cluster)
        self.jobs = Jobs(cluster)
        self.cron_jobs = CronJobs(cluster)
        self.stateful_sets = StatefulSets(cluster)
        self.services = Services(cluster)
        self.namespaces = Namespaces(cluster)
        self.volumes = Volumes(cluster)
        self.budgets = Budgets(cluster)
        self.autoscalers = Autoscalers(cluster)
        self.operators = Operators(cluster)
        self.admission = Admission(cluster)
        self.garbage = Garbage(cluster)
        self.metrics = Metrics(cluster)
        self._owners = {
            "ReplicaSet": ("replicasets.apps", self.replica_sets.sync),
            "Deployment": ("deployments.apps", self.deployments.sync),
            "Job": ("jobs.batch", self.jobs.sync),
            "CronJob": ("cronjobs.batch", self.cron_jobs.sync),
            "StatefulSet": ("statefulsets.apps", self.stateful_sets.sync),
        }
        self._own = dict(self._owners.values())

    def start(self) -> None:
        self.cluster.store.listen(self._changed)

    def _soon(self, key: str, namespace: str, name: str, sync) -> None:
        self.cluster.loop.soon((key, namespace, name), lambda: sync(namespace, name))

    def _changed(self, change: Change) -> None:
        document, meta = change.document, change.document["metadata"]
        namespace, name = meta.get("namespace", ""), meta["name"]
        self.garbage.changed(change)
        self.namespaces.changed(change)
        self.volumes.changed(change)
        self.budgets.changed(change)
        self.autoscalers.changed(change)
        self.operators.changed(change)
        self.admission.changed(change)
        if sync := self._own.get(change.key):
            self._soon(change.key, namespace, name, sync)
        owner = owner_of(document)
        if change.key == "persistentvolumeclaims":
            # Its labels are the set's selector: the set may have to own it.
            for held in self.cluster.store.find("statefulsets.apps", namespace):
                self._soon("statefulsets.apps", namespace, held["metadata"]["name"], self.stateful_sets.sync)
        if owner and owner["kind"] in self._owners:
            key, sync = self._owners[owner["kind"]]
            self._soon(key, namespace, owner["name"], sync)
        if change.key == "pods":
            self.cluster.kubelet.seen(document)
            self.scheduler.changed(change)
            self.services.pod_changed(change)
        elif change.key == "services":
            self._soon(change.key, namespace, name, self.services.sync)
        elif change.key == customs.KEY:
            customs.changed(self.cluster, change)
        elif change.key in ("nodes", "persistentvolumeclaims"):
            self.scheduler.retry()
