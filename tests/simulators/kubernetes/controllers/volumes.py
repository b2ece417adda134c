"""Claims: bound to a volume made for them, when first used or at once, and made larger on demand."""

from tests.simulators.kubernetes import quantities
from tests.simulators.kubernetes.store import Change
from tests.simulators.kubernetes.writing import Deletion, Options

_DEFAULT = "storageclass.kubernetes.io/is-default-class"
_PROTECTION = "kubernetes.io/pvc-protection"
COMPONENT = "persistentvolume-controller"


class Volumes:
    """The persistent volume controller and its provisioner; also gives claims the default class."""

    def __init__(self, cluster):
        self.cluster, self.store, self.writer = cluster, cluster.store, cluster.writer
        self.claims = cluster.resources.find("", "v1", "persistentvolumeclaims")
        self.volumes = cluster.resources.find("", "v1", "persistentvolumes")
        self.classes = cluster.resources.find("storage.k8s.io", "v1", "storageclasses")
        cluster.writer.admissions.append(self._admit)

    def _admit(self, resource, old, new, options) -> None:
        if resource.kind != "PersistentVolumeClaim" or old is not None:
            return
        finalizers = new["metadata"].setdefault("finalizers", [])
        if _PROTECTION not in finalizers:
            finalizers.append(_PROTECTION)
        if "storageClassName" in new["spec"]:
            return
        for found in self.store.find(self.classes.key):
            if (found["metadata"].get("annotations") or {}).get(_DEFAULT) == "true":
                new["spec"]["storageClassName"] = found["metadata"]["name"]

    def changed(self, change: Change) -> None:
        meta = change.document["metadata"]
        if change.key == self.claims.key:
            if change.type == "DELETED":
                self._release(change.document)
            else:
                self._soon(meta["namespace"], meta["name"])
        elif change.key == "pods":
            for claim in claims_of(change.document):
                self._soon(meta["namespace"], claim)

    def _soon(self, namespace: str, name: str) -> None:
        self.cluster.loop.soon((self.claims.key, namespace, name), lambda: self.sync(namespace, name))

    def sync(self, namespace: str, name: str) -> None:
        with self.store.lock:
            claim = self.store.get(self.claims.key, namespace, name)
            if claim is None:
                return
            spec, status = claim["spec"], claim.get("status") or {}
            if claim["metadata"].get("deletionTimestamp"):
                self._let_go(claim)
                return
            if status.get("phase") == "Bound":
                self._grow(claim)
                return
            if status.get("phase") != "Pending":
                claim = self.writer.status(self.claims, claim, {"phase": "Pending"})
            kind = self.store.get(self.classes.key, "", spec.get("storageClassName", ""))
            if kind is None:
                told = f'storageclass.storage.k8s.io "{spec.get("storageClassName", "")}" not found'
                self._tell(claim, "ProvisioningFailed", told, "Warning")
                return
            used = any(
                pod["spec"].get("nodeName") and name in claims_of(pod)
                for pod in self.store.find("pods", namespace)
            )
            if kind.get("volumeBindingMode") == "WaitForFirstConsumer" and not used:
                told = "waiting for first consumer to be created before binding"
                self._tell(claim, "WaitForFirstConsumer", told)
                return
            self._bind(claim, kind)

    def _let_go(self, claim: dict) -> None:
        """A claim that is to go does so when no pod uses it."""
        meta = claim["metadata"]
        if any(meta["name"] in claims_of(pod) for pod in self.store.find("pods", meta["namespace"])):
            return

        def drop(document: dict) -> None:
            kept = [name for name in document["metadata"].get("finalizers", ()) if name != _PROTECTION]
            document["metadata"]["finalizers"] = kept
            if not kept:
                del document["metadata"]["finalizers"]

        self.writer.change(self.claims, claim, drop)

    def _tell(self, claim: dict, reason: str, message: str, kind: str = "Normal") -> None:
        self.cluster.recorder.tell(claim, reason, message, kind=kind, component=COMPONENT)

    def _bind(self, claim: dict, kind: dict) -> None:
        meta, spec = claim["metadata"], claim["spec"]
        size = spec["resources"]["requests"]["storage"]
        name = f"pvc-{meta['uid']}"
        volume = {
            "metadata": {
                "name": name,
                "annotations": {"pv.kubernetes.io/provisioned-by": kind["provisioner"]},
            },
            "spec": {
                "capacity": {"storage": size},
                "accessModes": spec["accessModes"],
                "persistentVolumeReclaimPolicy": kind.get("reclaimPolicy", "Delete"),
                "storageClassName": kind["metadata"]["name"],
                "claimRef": {
                    "kind": "PersistentVolumeClaim",
                    "apiVersion": "v1",
                    "namespace": meta["namespace"],
                    "name": meta["name"],
                    "uid": meta["uid"],
                },
                "csi": {"driver": kind["provisioner"], "volumeHandle": name},
            },
        }
        made = self.writer.create(self.volumes, volume, Options())
        self.writer.status(self.volumes, made, {"phase": "Bound"})

        def bind(document: dict) -> None:
            document["spec"]["volumeName"] = name

        bound = self.writer.change(self.claims, claim, bind)
        status = {"phase": "Bound", "accessModes": spec["accessModes"], "capacity": {"storage": size}}
        self.writer.status(self.claims, bound, status)
        self._tell(bound, "ProvisioningSucceeded", f"Successfully provisioned volume {name}")

    def _grow(self, claim: dict) -> None:
        wanted = claim["spec"]["resources"]["requests"]["storage"]
        held = claim["status"]["capacity"]["storage"]
        if quantities.parse(wanted) > quantities.parse(held):
            self.writer.status(self.claims, claim, {**claim["status"], "capacity": {"storage": wanted}})
            self._tell(
                claim, "FileSystemResizeSuccessful", "MountVolume.NodeExpandVolume succeeded for volume"
            )

    def _release(self, claim: dict) -> None:
        name = claim["spec"].get("volumeName")
        volume = self.store.get(self.volumes.key, "", name) if name else None
        if volume is None:
            return
        if volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete":
            self.writer.delete(self.volumes, "", name, Deletion())
        else:
            self.writer.status(self.volumes, volume, {"phase": "Released"})


def claims_of(pod: dict) -> list[str]:
    """The claims that a pod mounts."""
    found = [
        (volume.get("persistentVolumeClaim") or {}).get("claimName")
        for volume in pod["spec"].get("volumes", ())
    ]
    return [name for name in found if name]
