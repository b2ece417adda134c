"""The garbage collector: dependents go with their owners, or before them, or are left."""

from tests.simulators.kubernetes.store import Change
from tests.simulators.kubernetes.writing import Deletion


class Garbage:
    """Follows owner references; keeps an index of who depends on whom."""

    def __init__(self, cluster):
        self.cluster, self.store, self.writer = cluster, cluster.store, cluster.writer
        self._dependents: dict[str, set[tuple[str, str, str]]] = {}

    def changed(self, change: Change) -> None:
        meta = change.document["metadata"]
        at = (change.key, meta.get("namespace", ""), meta["name"])
        before = {r["uid"] for r in ((change.before or {}).get("metadata") or {}).get("ownerReferences", ())}
        now = set() if change.type == "DELETED" else {r["uid"] for r in meta.get("ownerReferences", ())}
        for uid in before - now:
            self._dependents.get(uid, set()).discard(at)
        for uid in now - before:
            self._dependents.setdefault(uid, set()).add(at)
        uid = meta["uid"]
        if change.type == "DELETED":
            if self._dependents.get(uid):
                self.cluster.loop.soon(("garbage", uid), lambda: self._orphaned(uid))
            for owner in before:
                self.cluster.loop.soon(("foreground", owner), lambda owner=owner: self._foreground(owner))
        elif meta.get("deletionTimestamp") and set(meta.get("finalizers", ())) & {
            "foregroundDeletion",
            "orphan",
        }:
            self._marked(at, uid)

    def _marked(self, at: tuple[str, str, str], uid: str) -> None:
        self.__dict__.setdefault("_waiting", {})[uid] = at
        self.cluster.loop.soon(("foreground", uid), lambda: self._foreground(uid))

    def _resource(self, key: str):
        return next(r for r in self.cluster.resources if r.key == key)

    def _held(self, uid: str) -> list[tuple[tuple[str, str, str], dict]]:
        found = [(at, self.store.get(*at)) for at in sorted(self._dependents.get(uid, ()))]
        return [(at, document) for at, document in found if document]

    def _orphaned(self, uid: str) -> None:
        """The owner is gone: what it alone owned goes too."""
        with self.store.lock:
            for (key, namespace, name), document in self._held(uid):
                owners = document["metadata"].get("ownerReferences", [])
                left = [r for r in owners if r["uid"] != uid and self._alive(r["uid"])]
                if left:
                    self._disown(key, document, uid)
                elif not document["metadata"].get("deletionTimestamp"):
                    self.writer.delete(self._resource(key), namespace, name, Deletion())
            self._dependents.pop(uid, None) if not self._held(uid) else None

    def _alive(self, uid: str) -> bool:
        return any(document["metadata"]["uid"] == uid for _, document in self.store.everything())

    def _disown(self, key: str, document: dict, uid: str) -> None:
        def drop(copy: dict) -> None:
            kept = [r for r in copy["metadata"].get("ownerReferences", ()) if r["uid"] != uid]
            copy["metadata"]["ownerReferences"] = kept
            if not kept:
                del copy["metadata"]["ownerReferences"]

        self.writer.change(self._resource(key), document, drop)

    def _foreground(self, uid: str) -> None:
        at = self.__dict__.setdefault("_waiting", {}).get(uid)
        if at is None:
            return
        with self.store.lock:
            owner = self.store.get(*at)
            if owner is None or owner["metadata"]["uid"] != uid:
                self._waiting.pop(uid, None)
                return
            finalizers = owner["metadata"].get("finalizers", ())
            if "orphan" in finalizers:
                for (key, _, _), document in self._held(uid):
                    self._disown(key, document, uid)
                self._release(at, owner, "orphan")
                return
            held = self._held(uid)
            for (key, namespace, name), document in held:
                if not document["metadata"].get("deletionTimestamp"):
                    deletion = Deletion(propagation="Foreground" if key != "pods" else "Background")
                    self.writer.delete(self._resource(key), namespace, name, deletion)
            if not self._held(uid):
                self._release(at, owner, "foregroundDeletion")

    def _release(self, at: tuple[str, str, str], owner: dict, finalizer: str) -> None:
        self._waiting.pop(owner["metadata"]["uid"], None)

        def drop(copy: dict) -> None:
            kept = [name for name in copy["metadata"].get("finalizers", ()) if name != finalizer]
            copy["metadata"]["finalizers"] = kept
            if not kept:
                del copy["metadata"]["finalizers"]

        self.writer.change(self._resource(at[0]), owner, drop)
