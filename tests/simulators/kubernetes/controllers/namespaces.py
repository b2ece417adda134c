"""Namespaces: active when made, emptied when deleted, and gone when empty."""

from tests.simulators.kubernetes import errors
from tests.simulators.kubernetes.resources import Resource
from tests.simulators.kubernetes.store import Change
from tests.simulators.kubernetes.writing import Deletion, Options

_KEY = "namespaces"


class Namespaces:
    """The namespace controller, and the admission that wants a namespace to exist."""

    def __init__(self, cluster):
        self.cluster, self.store, self.writer = cluster, cluster.store, cluster.writer
        self.namespaces = cluster.resources.find("", "v1", "namespaces")
        cluster.writer.admissions.append(self.admit)

    def admit(self, resource: Resource, old: dict | None, new: dict, options: Options) -> None:
        """404 for objects of a namespace that is not there, 403 while it is being terminated."""
        namespace = new["metadata"].get("namespace", "")
        if old is not None or not resource.namespaced:
            return
        held = self.store.get(_KEY, "", namespace)
        if held is None:
            raise errors.not_found(self.namespaces, namespace)
        if held["metadata"].get("deletionTimestamp") and resource.kind != "Event":
            error = errors.forbidden(
                resource,
                new["metadata"]["name"],
                f"unable to create new content in namespace {namespace} because it is being terminated",
            )
            told = f"namespace {namespace} is being terminated"
            error.details["causes"] = [
                {"reason": "NamespaceTerminating", "message": told, "field": "metadata.namespace"}
            ]
            raise error

    def changed(self, change: Change) -> None:
        meta = change.document["metadata"]
        if change.key == _KEY:
            if change.type != "DELETED":
                self._soon(meta["name"])
        elif change.type == "DELETED" and meta.get("namespace"):
            held = self.store.get(_KEY, "", meta["namespace"])
            if held and held["metadata"].get("deletionTimestamp"):
                self._soon(meta["namespace"])

    def _soon(self, name: str) -> None:
        self.cluster.loop.soon((_KEY, "", name), lambda: self.sync(name))

    def sync(self, name: str) -> None:
        with self.store.lock:
            namespace = self.store.get(_KEY, "", name)
            if namespace is None:
                return
            if not namespace["metadata"].get("deletionTimestamp"):
                self.writer.status(self.namespaces, namespace, {"phase": "Active"})
                self._account(name)
                return
            left = 0
            for resource in self.cluster.resources:
                if not resource.namespaced:
                    continue
                for document in self.store.find(resource.key, name):
                    left += 1
                    if not document["metadata"].get("deletionTimestamp"):
                        self.writer.delete(resource, name, document["metadata"]["name"], Deletion())
                        left -= self.store.get(resource.key, name, document["metadata"]["name"]) is None
            if not left and not namespace["metadata"].get("finalizers"):
                self.store.remove(_KEY, "", name)

    def _account(self, name: str) -> None:
        """What every namespace gets: the default service account, and the cluster's certificate authority."""
        accounts = self.cluster.resources.find("", "v1", "serviceaccounts")
        if self.store.get(accounts.key, name, "default") is None:
            self.writer.create(accounts, {"metadata": {"name": "default", "namespace": name}})
        maps = self.cluster.resources.find("", "v1", "configmaps")
        if self.store.get(maps.key, name, "kube-root-ca.crt") is None:
            data = {"ca.crt": self.cluster.certificate_authority}
            self.writer.create(
                maps, {"metadata": {"name": "kube-root-ca.crt", "namespace": name}, "data": data}
            )

    def finalize(self, call, document: dict) -> dict:
        """PUT namespaces/NAME/finalize: the finalizers of the spec."""
        held = self.writer.existing(call.resource, "", call.name)
        finalizers = (document.get("spec") or {}).get("finalizers") or []
        made = {**held, "spec": {**(held.get("spec") or {}), "finalizers": finalizers}}
        return self.store.put(_KEY, made)
