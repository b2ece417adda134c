"""Deployments: a replica set for each template, moved by maxSurge and maxUnavailable, with a deadline."""

import math
from datetime import UTC, datetime

from tests.simulators.kubernetes import applying
from tests.simulators.kubernetes.controllers import pods as of
from tests.simulators.kubernetes.schema import copied
from tests.simulators.kubernetes.writing import Deletion, Options

COMPONENT = "deployment-controller"
REVISION = "deployment.kubernetes.io/revision"
_HASH = "pod-template-hash"


class Deployments:
    """The deployment controller."""

    def __init__(self, cluster):
        self.cluster, self.store, self.writer = cluster, cluster.store, cluster.writer
        self.deployments = cluster.resources.find("apps", "v1", "deployments")
        self.sets = cluster.resources.find("apps", "v1", "replicasets")

    def sync(self, namespace: str, name: str) -> None:
        with self.store.lock:
            deployment = self.store.get(self.deployments.key, namespace, name)
            if deployment is None or deployment["metadata"].get("deletionTimestamp"):
                return
            sets = of.owned(self.store, self.sets.key, deployment)
            new = self._current(deployment, sets)
            if not deployment["spec"].get("paused"):
                new = self._with_new(deployment, sets, new)
            old = [s for s in sets if new is None or s["metadata"]["uid"] != new["metadata"]["uid"]]
            deployment = self.store.get(self.deployments.key, namespace, name)
            if deployment["spec"].get("paused"):
                self._scale_event(deployment, new, old)
            elif deployment["spec"]["strategy"]["type"] == "Recreate":
                self._recreate(deployment, new, old)
            elif not self._scale_event(deployment, new, old):
                self._roll(deployment, new, old)
            self._clean(deployment, old)
            self._status(deployment)

    # Replica sets.

    @staticmethod
    def _template(document: dict) -> dict:
        template = copied(document["spec"]["template"])
        ((template.get("metadata") or {}).get("labels") or {}).pop(_HASH, None)
        return template

    def _current(self, deployment: dict, sets: list[dict]) -> dict | None:
        template = self._template(deployment)
        same = [s for s in sets if self._template(s) == template]
        return min(same, key=lambda s: s["metadata"]["creationTimestamp"], default=None)

    @staticmethod
    def _revision(document: dict) -> int:
        return int((document["metadata"].get("annotations") or {}).get(REVISION, "0"))

    def _with_new(self, deployment: dict, sets: list[dict], new: dict | None) -> dict:
        others = [s for s in sets if new is None or s["metadata"]["uid"] != new["metadata"]["uid"]]
        number = max((self._revision(s) for s in others), default=0) + 1
        annotations = {
            key: value
            for key, value in (deployment["metadata"].get("annotations") or {}).items()
            if key != "kubectl.kubernetes.io/last-applied-configuration"
        }
        if new is None:
            new = self._make(deployment, annotations, number)
        elif self._revision(new) < number:

            def annotate(document: dict) -> None:
                document["metadata"].setdefault("annotations", {})[REVISION] = str(number)

            new = self.writer.change(self.sets, new, annotate)
        revision = str(self._revision(new))
        if (deployment["metadata"].get("annotations") or {}).get(REVISION) != revision:

            def note(document: dict) -> None:
                document["metadata"].setdefault("annotations", {})[REVISION] = revision

            self.writer.change(self.deployments, deployment, note)
        return new

    def _make(self, deployment: dict, annotations: dict, number: int) -> dict:
        meta, spec = deployment["metadata"], deployment["spec"]
        template = self._template(deployment)
        mark = of.template_hash(template)
        name = f"{meta['name']}-{mark}"
        collisions = 0
        while self.store.get(self.sets.key, meta["namespace"], name):
            collisions += 1
            mark = of.template_hash(template, collisions)
            name = f"{meta['name']}-{mark}"
        labels = template.setdefault("metadata", {}).setdefault("labels", {})
        labels[_HASH] = mark
        selector = copied(spec["selector"])
        selector.setdefault("matchLabels", {})[_HASH] = mark
        surge, _ = self._bounds(deployment)
        wanted = spec["replicas"]
        made = {
            "metadata": {
                "name": name,
                "namespace": meta["namespace"],
                "labels": dict(labels),
                "annotations": {
                    **annotations,
                    REVISION: str(number),
                    "deployment.kubernetes.io/desired-replicas": str(wanted),
                    "deployment.kubernetes.io/max-replicas": str(wanted + surge),
                },
                "ownerReferences": [of.reference(deployment)],
            },
            "spec": {
                "replicas": 0,
                "minReadySeconds": spec.get("minReadySeconds", 0),
                "selector": selector,
                "template": template,
            },
        }
        return self.writer.create(self.sets, made, Options())

    def _bounds(self, deployment: dict) -> tuple[int, int]:
        """maxSurge and maxUnavailable as numbers of pods."""
        spec = deployment["spec"]
        if spec["strategy"]["type"] == "Recreate":
            return 0, 0
        rolling, wanted = spec["strategy"].get("rollingUpdate") or {}, spec["replicas"]

        def number(value, up: bool) -> int:
            if isinstance(value, str) and value.endswith("%"):
                share = int(value[:-1]) * wanted / 100
                return math.ceil(share) if up else math.floor(share)
            return int(value)

        surge, missing = (
            number(rolling.get("maxSurge", "25%"), True),
            number(rolling.get("maxUnavailable", "25%"), False),
        )
        return surge, 1 if surge == missing == 0 else min(missing, wanted)

    def _scale(self, deployment: dict, replica_set: dict, wanted: int) -> None:
        now = self.store.get(
            self.sets.key, replica_set["metadata"]["namespace"], replica_set["metadata"]["name"]
        )
        if now is None:
            return
        before = now["spec"]["replicas"]
        surge, _ = self._bounds(deployment)
        total = deployment["spec"]["replicas"]

        def edit(document: dict) -> None:
            document["spec"]["replicas"] = wanted
            annotations = document["metadata"].setdefault("annotations", {})
            annotations["deployment.kubernetes.io/desired-replicas"] = str(total)
            annotations["deployment.kubernetes.io/max-replicas"] = str(total + surge)

        self.writer.change(self.sets, now, edit)
        if before != wanted:
            way = "up" if wanted > before else "down"
            told = f"Scaled {way} replica set {now['metadata']['name']} from {before} to {wanted}"
            self.cluster.recorder.tell(deployment, "ScalingReplicaSet", told, component=COMPONENT)

    def _fresh(self, sets: list[dict]) -> list[dict]:
        found = (
            self.store.get(self.sets.key, s["metadata"]["namespace"], s["metadata"]["name"]) for s in sets
        )
        return [s for s in found if s]

    # Moving.

    def _scale_event(self, deployment: dict, new: dict | None, old: list[dict]) -> bool:
        """The deployment was scaled: its active sets follow in proportion."""
        total = str(deployment["spec"]["replicas"])
        active = [s for s in self._fresh([*old, *([new] if new else [])]) if s["spec"]["replicas"] > 0]
        mark = "deployment.kubernetes.io/desired-replicas"
        moved = [s for s in active if (s["metadata"].get("annotations") or {}).get(mark, total) != total]
        if not moved:
            return False
        if len(active) == 1:
            self._scale(deployment, active[0], int(total))
            return True
        surge, _ = self._bounds(deployment)
        allowed = int(total) + surge if int(total) else 0
        held = sum(s["spec"]["replicas"] for s in active)
        before = int(
            (active[0]["metadata"].get("annotations") or {}).get(
                "deployment.kubernetes.io/max-replicas", held
            )
        )
        missing = allowed - held
        active.sort(
            key=lambda s: (s["spec"]["replicas"], s["metadata"]["creationTimestamp"]), reverse=missing > 0
        )
        left = missing
        for index, replica_set in enumerate(active):
            share = (
                round(replica_set["spec"]["replicas"] * allowed / max(before, 1))
                - replica_set["spec"]["replicas"]
            )
            share = max(min(share, left), 0) if missing > 0 else min(max(share, left), 0)
            if index == len(active) - 1:
                share = left
            left -= share
            self._scale(deployment, replica_set, max(0, replica_set["spec"]["replicas"] + share))
        return True

    def _recreate(self, deployment: dict, new: dict, old: list[dict]) -> None:
        for replica_set in self._fresh(old):
            if replica_set["spec"]["replicas"] > 0:
                self._scale(deployment, replica_set, 0)
        for replica_set in old:
            if of.owned(self.store, "pods", replica_set):
                return
        if new["spec"]["replicas"] != deployment["spec"]["replicas"]:
            self._scale(deployment, new, deployment["spec"]["replicas"])

    def _roll(self, deployment: dict, new: dict, old: list[dict]) -> None:
        wanted = deployment["spec"]["replicas"]
        surge, missing = self._bounds(deployment)
        (new,), old = self._fresh([new]), self._fresh(old)
        if new["spec"]["replicas"] > wanted:
            self._scale(deployment, new, wanted)
            return
        total = sum(s["spec"]["replicas"] for s in (*old, new))
        if new["spec"]["replicas"] < wanted and total < wanted + surge:
            more = min(wanted + surge - total, wanted - new["spec"]["replicas"])
            self._scale(deployment, new, new["spec"]["replicas"] + more)
            return
        if new["spec"]["replicas"] == wanted:
            self._scale(deployment, new, wanted)
        self._shrink(deployment, new, old, wanted - missing, total)

    def _shrink(self, deployment: dict, new: dict, old: list[dict], least: int, total: int) -> None:
        def status(replica_set: dict, name: str) -> int:
            return (replica_set.get("status") or {}).get(name, 0)

        starting = new["spec"]["replicas"] - status(new, "availableReplicas")
        spare = total - least - starting
        if spare <= 0:
            return
        old.sort(key=lambda s: s["metadata"]["creationTimestamp"])
        for index, replica_set in enumerate(old):
            held = replica_set["spec"]["replicas"]
            sick = min(spare, held - status(replica_set, "availableReplicas"))
            if held and sick > 0:
                self._scale(deployment, replica_set, held - sick)
                spare -= sick
                old[index] = self._fresh([replica_set])[0]
        serving = sum(status(s, "availableReplicas") for s in (*old, new))
        spare = serving - least
        for replica_set in old:
            held = replica_set["spec"]["replicas"]
            if spare <= 0:
                return
            if held:
                fewer = min(held, spare)
                self._scale(deployment, replica_set, held - fewer)
                spare -= fewer

    def _clean(self, deployment: dict, old: list[dict]) -> None:
        limit = deployment["spec"].get("revisionHistoryLimit", 10)
        idle = [
            s
            for s in self._fresh(old)
            if not s["spec"]["replicas"] and not (s.get("status") or {}).get("replicas")
        ]
        idle.sort(key=self._revision)
        for replica_set in idle[: max(0, len(idle) - limit)]:
            meta = replica_set["metadata"]
            self.writer.delete(self.sets, meta["namespace"], meta["name"], Deletion())

    # Status.

    def _status(self, deployment: dict) -> None:
        meta = deployment["metadata"]
        deployment = self.store.get(self.deployments.key, meta["namespace"], meta["name"])
        if deployment is None:
            return
        sets = of.owned(self.store, self.sets.key, deployment)
        new = self._current(deployment, sets)
        before = deployment.get("status") or {}
        count = lambda name, these: sum((s.get("status") or {}).get(name, 0) for s in these)  # noqa: E731
        wanted = deployment["spec"]["replicas"]
        status = {
            "observedGeneration": meta.get("generation", 1),
            "replicas": count("replicas", sets),
            "updatedReplicas": count("replicas", [new] if new else []),
            "readyReplicas": count("readyReplicas", sets),
            "availableReplicas": count("availableReplicas", sets),
        }
        status["unavailableReplicas"] = max(0, wanted - status["availableReplicas"])
        if status["replicas"] > wanted:
            status["unavailableReplicas"] = max(0, status["replicas"] - status["availableReplicas"])
        conditions = self._conditions(deployment, status, before, new, sets)
        status = {key: value for key, value in status.items() if value}
        self.writer.status(self.deployments, deployment, {**status, "conditions": conditions})

    def _conditions(
        self, deployment: dict, status: dict, before: dict, new: dict | None, sets: list[dict]
    ) -> list[dict]:
        now, conditions = applying.now(), list(before.get("conditions") or [])
        _, missing = self._bounds(deployment)
        wanted = deployment["spec"]["replicas"]
        if status["availableReplicas"] >= wanted - missing:
            conditions = of.with_condition(
                conditions,
                "Available",
                "True",
                "MinimumReplicasAvailable",
                "Deployment has minimum availability.",
                now,
                updates=True,
            )
        else:
            conditions = of.with_condition(
                conditions,
                "Available",
                "False",
                "MinimumReplicasUnavailable",
                "Deployment does not have minimum availability.",
                now,
                updates=True,
            )
        conditions = self._progress(deployment, status, before, new, conditions, now)
        failures = [c for s in sets if (c := of.condition(s, "ReplicaFailure")) and s["spec"]["replicas"]]
        if failures:
            return of.with_condition(
                conditions,
                "ReplicaFailure",
                "True",
                failures[0]["reason"],
                failures[0]["message"],
                now,
                updates=True,
            )
        return [c for c in conditions if c["type"] != "ReplicaFailure"]

    def _progress(self, deployment, status, before, new, conditions, now) -> list[dict]:
        wanted = deployment["spec"]["replicas"]
        name = new["metadata"]["name"] if new else ""
        held = next((c for c in conditions if c["type"] == "Progressing"), None)
        complete = (
            new is not None
            and status["updatedReplicas"] == wanted
            and status["replicas"] == wanted
            and status["availableReplicas"] == wanted
        )
        if deployment["spec"].get("paused"):
            return of.with_condition(
                conditions,
                "Progressing",
                "Unknown",
                "DeploymentPaused",
                "Deployment is paused",
                now,
                updates=True,
            )
        if complete:
            told = f'ReplicaSet "{name}" has successfully progressed.'
            return of.with_condition(
                conditions, "Progressing", "True", "NewReplicaSetAvailable", told, now, updates=True
            )
        moved = any(
            status[key] > before.get(key, 0)
            for key in ("updatedReplicas", "readyReplicas", "availableReplicas")
        ) or (status["replicas"] - status["updatedReplicas"]) < (
            before.get("replicas", 0) - before.get("updatedReplicas", 0)
        )
        fresh = (
            before.get("observedGeneration") != status["observedGeneration"]
            and before.get("updatedReplicas", 0) != wanted
        )
        other = held is None or f'"{name}"' not in held.get("message", "")
        if other or moved or fresh:
            told = f'ReplicaSet "{name}" is progressing.'
            kept = [c for c in conditions if c["type"] != "Progressing"]
            made = of.with_condition([], "Progressing", "True", "ReplicaSetUpdated", told, now, updates=True)[
                0
            ]
            if held and held["status"] == "True":
                made["lastTransitionTime"] = held["lastTransitionTime"]
            self._deadline(deployment, deployment["spec"].get("progressDeadlineSeconds", 600))
            return [*kept, made]
        if held["status"] == "False" or held["reason"] == "NewReplicaSetAvailable":
            return conditions
        limit = deployment["spec"].get("progressDeadlineSeconds", 600)
        since = datetime.fromisoformat(held["lastUpdateTime"].replace("Z", "+00:00"))
        passed = (datetime.now(UTC) - since).total_seconds() * self.cluster.speed
        if passed >= limit:
            told = f'ReplicaSet "{name}" has timed out progressing.'
            return of.with_condition(
                conditions, "Progressing", "False", "ProgressDeadlineExceeded", told, now, updates=True
            )
        return conditions

    def _deadline(self, deployment: dict, seconds: float) -> None:
        meta = deployment["metadata"]
        # Times are kept in whole seconds: look a second later.
        self.cluster.loop.later(
            seconds + self.cluster.speed,
            ("deadline", meta["uid"]),
            lambda: self.sync(meta["namespace"], meta["name"]),
        )
