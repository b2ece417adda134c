"""Applies a set of objects as ours, remembers them in an inventory, and removes by it alone.

The inventory is written before anything of it is made, so that no kill leaves an object that nobody knows of.
What carries another owner, or none, is never touched.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from deployments.errors import Conflict, Invalid
from deployments.providers.base import PENDING, SUCCEEDED, Change, Drift, Problem, Progress
from deployments.runtimes.kubernetes.client import FIELD_MANAGER, ClusterClient, FieldConflict
from deployments.runtimes.kubernetes.fields import asked_for, differences, flat, owned, shown, without
from deployments.runtimes.kubernetes.kinds import kind_at, kind_named, kind_of
from deployments.runtimes.kubernetes.manifests.place import OWNER_LABEL, Place
from deployments.runtimes.workload import Manifest

AT_ONCE = 6
# Holds the number of pods while an autoscaler decides it: a manager of its own, so that it may be taken away.
REPLICAS_MANAGER = f"{FIELD_MANAGER}-replicas"
HANDED_OVER = (REPLICAS_MANAGER, "kube-controller-manager")
# What every namespace has by itself, or what makes others that are looked at.
NOT_FOREIGN = ("kube-root-ca.crt", "istio-ca-root-cert", "default")
LOOKED_FOR = (
    *("Pod", "Deployment", "StatefulSet", "Service", "ConfigMap", "Secret", "PersistentVolumeClaim"),
    *("Job", "CronJob", "ServiceAccount"),
)

Key = tuple[str, str, str, str]  # api version, kind, namespace, name


def key_of(document: Mapping[str, Any]) -> Key:
    meta = document["metadata"]
    return document["apiVersion"], document["kind"], meta.get("namespace", ""), meta["name"]


def _each(function: Callable, items: Iterable) -> list:
    items = list(items)
    if len(items) < 2:
        return [function(one) for one in items]
    with ThreadPoolExecutor(max_workers=min(AT_ONCE, len(items))) as pool:
        return list(pool.map(function, items))


class Applier:
    """One part of a target (`infrastructure` or `workload`) in its namespace."""

    def __init__(self, client: ClusterClient, place: Place, part: str, ignored: Iterable[str] = ()):
        self.client, self.place, self.part = client, place, part
        self.name = f"aindusdb-inventory-{part}"
        self.ignored: dict[str, set[str]] = {}
        for one in ignored:
            key, _, path = one.partition("#")
            self.ignored.setdefault(key, set()).add(path)

    # What is there

    def _documents(self, manifests: Sequence[Manifest]) -> list[dict]:
        """What is asked for, without the fields that are left to others."""
        return [
            without(one.document, self._ignored(one.document["kind"], one.document["metadata"]["name"]))
            for one in manifests
        ]

    def _ignored(self, kind: str, name: str) -> set[str]:
        return self.ignored.get(f"{kind}/{name}", set())

    def _live(self, keys: Sequence[Key]) -> list[dict | None]:
        return _each(lambda key: self.client.get(kind_at(key[0], key[1]), key[3], key[2]), keys)

    def is_ours(self, live: Mapping[str, Any]) -> bool:
        """Whether the object carries this target's label."""
        return (live["metadata"].get("labels") or {}).get(OWNER_LABEL) == self.place.owner

    def _refuse_foreign(self, documents: Sequence[dict], live: Sequence[dict | None]) -> None:
        for problem in self._foreign(documents, live):
            raise Conflict(problem.message, remedy=problem.remedy, code=problem.code)

    def _foreign(self, documents: Sequence[dict], live: Sequence[dict | None]) -> list[Problem]:
        problems = []
        for document, found in zip(documents, live, strict=True):
            if found is None or self.is_ours(found):
                continue
            kind, name = document["kind"], document["metadata"]["name"]
            owner = (found["metadata"].get("labels") or {}).get(OWNER_LABEL)
            whose = f"belongs to the target {owner}" if owner else "was not made by us"
            remedy = "Choose another namespace."
            if kind == "Namespace" and not owner:
                remedy = (
                    "Choose another namespace, or switch `create_namespace` off to use this one as it is."
                )
            problems.append(
                Problem(
                    "spec.namespace",
                    f"{kind} {name} exists already and {whose}; it is not touched.",
                    remedy,
                    code="not_ours",
                )
            )
        return problems

    def inventory(self) -> list[Key]:
        """What this part consists of, as far as it was ever begun."""
        live = self.client.get(kind_named("ConfigMap"), self.name, self.place.namespace)
        if live is None or not self.is_ours(live):
            return []
        return [tuple(key) for key in json.loads((live.get("data") or {}).get("objects", "[]"))]

    def _write_inventory(self, keys: Iterable[Key]) -> None:
        text = json.dumps(sorted(set(keys)), separators=(",", ":"))
        document = self.place.document("ConfigMap", self.name, component="aindusdb", data={"objects": text})
        self.client.apply(document, force=True)

    # Comparing

    def compare(self, manifests: Sequence[Manifest]) -> tuple[tuple[Change, ...], list[Problem]]:
        """(changes, problems) that applying would bring, by the cluster's own dry run."""
        documents = self._documents(manifests)
        live = self._live([key_of(one) for one in documents])
        problems = self._foreign(documents, live)
        if problems:
            return (), problems
        place_exists = self.client.get(kind_named("Namespace"), self.place.namespace) is not None

        def one(pair) -> tuple[Change | None, Problem | None]:
            return self._compared(*pair, place_exists=place_exists)

        found = _each(one, zip(documents, live, strict=True))
        changes = [change for change, _ in found if change]
        problems = [problem for _, problem in found if problem]
        wanted = {key_of(one) for one in documents}
        gone = [key for key in self.inventory() if key not in wanted] if place_exists else []
        for key, left in zip(gone, self._live(gone), strict=True):
            if left is not None and self.is_ours(left):
                changes.append(Change("destroy", key[1], key[3], replaces_data=key[1] in DATA_KINDS))
        return tuple(changes), problems

    def _compared(self, document: dict, live: dict | None, *, place_exists: bool):
        kind, name = document["kind"], document["metadata"]["name"]
        if live is None:
            if place_exists and kind_of(document).namespaced:
                # A dry run of what is new asks the admission control and the quota for their opinion.
                self.client.apply(document, dry_run=True)
            return Change("create", kind, name, _as_created(document)), None
        problem = None
        try:
            after = self.client.apply(document, dry_run=True)
        except FieldConflict as conflict:
            problem = self._conflict_problem(document, conflict)
            after = self.client.apply(document, dry_run=True, force=True)
        fields = differences(live, after)
        return (Change("change", kind, name, fields) if fields else None), problem

    def _conflict_problem(self, document: dict, conflict: FieldConflict) -> Problem | None:
        if _may_take(document, conflict):
            return None
        message = f"{document['kind']} {document['metadata']['name']}: " + "; ".join(
            f"{field.lstrip('.')} is owned by {manager}" for field, manager in sorted(conflict.fields.items())
        )
        return Problem("spec", f"{message}.", conflict.remedy, code="field_conflict")

    # Applying

    def apply(self, manifests: Sequence[Manifest], *, prune: bool = True) -> tuple[Change, ...]:
        """Make it so, in order; then remove what the inventory holds and is asked for no more.

        Conflict names what is not ours, or who else owns a field; nothing of the object is changed then.
        """
        documents = self._documents(manifests)
        wanted = [key_of(one) for one in documents]
        live = self._live(wanted)
        self._refuse_foreign(documents, live)
        changes = []
        spaces = [one for one in documents if one["kind"] == "Namespace"]
        for document, found in zip(documents, live, strict=True):
            if document in spaces:
                changes += self._apply_one(document, found)
        before = self.inventory()
        if set(wanted) - set(before):
            self._write_inventory([*before, *wanted])
        gone = [key for key in before if key not in set(wanted)] if prune else []
        # An autoscaler that is to go would set back the number of pods it is asked for no more.
        changes += self._removed([key for key in gone if key[1] == "HorizontalPodAutoscaler"])
        for document, found in zip(documents, live, strict=True):
            if document not in spaces:
                changes += self._apply_one(document, found)
        if gone:
            changes += self._removed(gone)
            self._write_inventory(wanted)
        return tuple(changes)

    def _apply_one(self, document: dict, live: dict | None) -> list[Change]:
        kind, name = document["kind"], document["metadata"]["name"]
        if live is not None and kind == "Deployment":
            self._keep_replicas(document, live)
        try:
            after = self.client.apply(document)
        except FieldConflict as conflict:
            if not _may_take(document, conflict):
                raise
            after = self.client.apply(document, force=True)
        if live is None:
            return [Change("create", kind, name, _as_created(document))]
        fields = differences(live, after)
        return [Change("change", kind, name, fields)] if fields else []

    def _keep_replicas(self, document: dict, live: dict) -> None:
        """Before an autoscaler decides the number, somebody must own it, or it would fall back to one."""
        if "replicas" in document["spec"] or "spec.replicas" not in owned(live, mine=True):
            return
        self.set_replicas(document, live["spec"]["replicas"])

    def set_replicas(self, document: Mapping[str, Any], count: int) -> None:
        """Set the number of an autoscaled deployment, by the manager that gives it up to the autoscaler."""
        meta = {key: document["metadata"][key] for key in ("name", "namespace")}
        small = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": {"replicas": count}}
        self.client.call(
            "PATCH",
            kind_named("Deployment").path(meta["namespace"], meta["name"]),
            query={"fieldManager": REPLICAS_MANAGER, "force": "true"},
            body=small,
            content_type="application/apply-patch+yaml",
        )

    def _removed(self, keys: Sequence[Key]) -> list[Change]:
        changes = []
        for key, live in zip(keys, self._live(keys), strict=True):
            if live is None or not self.is_ours(live) or key[1] == "Namespace":
                continue
            self._delete(key, live)
            changes.append(Change("destroy", key[1], key[3], replaces_data=key[1] in DATA_KINDS))
        return changes

    def _delete(self, key: Key, live: Mapping[str, Any]) -> None:
        if not live["metadata"].get("deletionTimestamp"):
            self.client.delete(kind_at(key[0], key[1]), key[3], key[2], uid=live["metadata"].get("uid", ""))

    # Removing

    def delete(self) -> Progress:
        """Remove all of the inventory, the namespace last and only when nothing else is in it.

        Called again while it answers `pending`.
        """
        spaces = kind_named("Namespace")
        space = self.client.get(spaces, self.place.namespace)
        if space is None:
            return Progress(SUCCEEDED, message="Nothing is left of it.", percent=100)
        gone = Progress(PENDING, message=f"the namespace {self.place.namespace} to be removed", percent=99)
        if space["metadata"].get("deletionTimestamp"):
            return gone
        keys = self.inventory()
        left = self._delete_all(keys)
        if left:
            names = ", ".join(f"{kind} {name}" for _, kind, _, name in left[:3])
            more = f" and {len(left) - 3} more" if len(left) > 3 else ""
            percent = int(99 * (len(keys) - len(left)) / max(len(keys), 1))
            return Progress(PENDING, message=f"{names}{more} to be removed", percent=percent)
        self._delete_inventory()
        if not self.is_ours(space) or self._other_parts():
            return Progress(SUCCEEDED, message="Nothing of it is left.", percent=100)
        strangers = self.strangers()
        if strangers:
            message = f"The namespace {self.place.namespace} stays: it holds {', '.join(strangers[:3])}."
            return Progress(SUCCEEDED, message=message, percent=100)
        self.client.delete(spaces, self.place.namespace, uid=space["metadata"].get("uid", ""))
        return gone

    def remove(self) -> None:
        """Ask for the end of the inventory and its volumes at once; of the namespace, if it is ours alone."""
        spaces = kind_named("Namespace")
        space = self.client.get(spaces, self.place.namespace)
        if space is None or space["metadata"].get("deletionTimestamp"):
            return
        if self.is_ours(space) and not self.strangers():
            self.client.delete(spaces, self.place.namespace, uid=space["metadata"].get("uid", ""))
            return
        self._delete_all(self.inventory())
        for claim in self.remains():
            if claim[1] == "PersistentVolumeClaim":
                self.client.delete(kind_named(claim[1]), claim[3], claim[2])
        self._delete_inventory()

    def _delete_all(self, keys: Sequence[Key]) -> list[Key]:
        """Ask for the end of what of these is there, last applied first; gives what is still there."""
        found = [
            (key, live)
            for key, live in zip(keys, self._live(keys), strict=True)
            if live is not None and self.is_ours(live) and key[1] != "Namespace"
        ]
        for key, live in sorted(found, key=lambda pair: -kind_at(pair[0][0], pair[0][1]).order):
            self._delete(key, live)
        return [key for key, _ in found]

    def _delete_inventory(self) -> None:
        configs = kind_named("ConfigMap")
        own = self.client.get(configs, self.name, self.place.namespace)
        if own is not None and self.is_ours(own):
            self.client.delete(configs, self.name, self.place.namespace, uid=own["metadata"].get("uid", ""))

    def _other_parts(self) -> bool:
        labels = f"{OWNER_LABEL}={self.place.owner}"
        configs = self.client.list(kind_named("ConfigMap"), self.place.namespace, labels=labels)
        return any(
            one["metadata"]["name"].startswith("aindusdb-inventory-") and one["metadata"]["name"] != self.name
            for one in configs
        )

    def remains(self) -> list[Key]:
        """Volumes and pods of ours: they end later than what made them."""
        labels = f"{OWNER_LABEL}={self.place.owner}"
        return [
            ("v1", name, self.place.namespace, one["metadata"]["name"])
            for name in ("PersistentVolumeClaim", "Pod")
            for one in self.client.list(kind_named(name), self.place.namespace, labels=labels)
        ]

    def strangers(self) -> list[str]:
        """What stands in the namespace and is neither ours nor made by what is ours."""

        def of(name: str) -> list[str]:
            return [
                f"{name} {one['metadata']['name']}"
                for one in self.client.list(kind_named(name), self.place.namespace)
                if not self.is_ours(one)
                and not one["metadata"].get("ownerReferences")
                and one["metadata"]["name"] not in NOT_FOREIGN
                and one.get("type") != "kubernetes.io/service-account-token"
            ]

        return [one for found in _each(of, LOOKED_FOR) for one in found]

    # Drift

    def drift(self, manifests: Sequence[Manifest]) -> list[Drift]:
        """What is otherwise than asked for, field by field, and what others added to what is ours."""
        documents = self._documents(manifests)
        live = self._live([key_of(one) for one in documents])
        found = _each(lambda pair: self._drift_of(*pair), zip(documents, live, strict=True))
        return [drift for drifts in found for drift in drifts]

    def _drift_of(self, document: dict, live: dict | None) -> list[Drift]:
        kind, name = document["kind"], document["metadata"]["name"]
        if live is None:
            return [Drift(kind, name, "", "present", None)]
        if not self.is_ours(live):
            return [Drift(kind, name, f'metadata.labels."{OWNER_LABEL}"', self.place.owner, None)]
        others = owned(live, mine=False)
        values, asked = flat(asked_for(live)), flat(asked_for(document))
        try:
            after = self.client.apply(document, dry_run=True, force=True)
            differing = differences(live, after)
        except Invalid:
            # Changed so that both together are no valid object: the key of a list's item, for one.
            differing = {
                path: [shown(kind, path, values.get(path)), shown(kind, path, value)]
                for path, value in asked.items()
                if values.get(path) != value
            }
        ignored = self._ignored(kind, name)
        found = {
            path: Drift(kind, name, path, pair[1], pair[0], others.get(path, ""))
            for path, pair in differing.items()
        }
        ours = owned(live, mine=True)
        for path, manager in others.items():
            is_added = path in values and path not in asked and path not in ours
            if is_added and path not in found and _is_decided(path):
                found[path] = Drift(kind, name, path, None, shown(kind, path, values[path]), manager)
        return [drift for path, drift in sorted(found.items()) if path not in ignored]


# Removing one of these takes data with it.
DATA_KINDS = ("PersistentVolumeClaim", "StatefulSet", "Cluster")


def _may_take(document: Mapping[str, Any], conflict: FieldConflict) -> bool:
    """Only the number of pods, from the autoscaler that is no more: it had it from us."""
    return (
        document["kind"] == "Deployment"
        and set(conflict.fields) == {".spec.replicas"}
        and all(manager in HANDED_OVER for manager in conflict.fields.values())
    )


def _is_decided(path: str) -> bool:
    """Whether a field says what should be, rather than being somebody's note on the object."""
    return path.split(".")[0] in ("spec", "data", "type", "rules", "stringData")


def _as_created(document: Mapping[str, Any]) -> dict[str, list]:
    kind = document["kind"]
    return {
        path: [None, shown(kind, path, value)]
        for path, value in flat(document).items()
        if path.split(".")[0] not in ("apiVersion", "kind", "metadata")
    }
