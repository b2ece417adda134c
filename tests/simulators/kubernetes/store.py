"""What the cluster holds: objects by resource, namespace and name, one resourceVersion for all, and watches.

Documents in the store are never changed in place: whoever changes one puts a new one.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.simulators.kubernetes import errors

HISTORY = 20_000


@dataclass(frozen=True)
class Change:
    """What happened to one object: ADDED, MODIFIED or DELETED, with what it was before."""

    version: int
    type: str
    key: str
    document: dict
    before: dict | None


class Store:
    """Thread-safe: hold `lock` across a read and the write that depends on it."""

    def __init__(self):
        self.lock = threading.RLock()
        self._changed = threading.Condition(self.lock)
        self._objects: dict[str, dict[tuple[str, str], dict]] = {}
        self.version = 1000
        self._oldest = self.version
        self._history: deque[Change] = deque()
        self._listeners: list[Callable[[Change], None]] = []
        self._closed = False

    def listen(self, listener: Callable[[Change], None]) -> None:
        """Call with each change, the lock held."""
        self._listeners.append(listener)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def get(self, key: str, namespace: str, name: str) -> dict | None:
        with self.lock:
            return self._objects.get(key, {}).get((namespace, name))

    def find(self, key: str, namespace: str = "") -> list[dict]:
        """In the order of namespace and name, as etcd gives them."""
        with self.lock:
            found = self._objects.get(key, {})
            return [found[at] for at in sorted(found) if not namespace or at[0] == namespace]

    def everything(self) -> Iterator[tuple[str, dict]]:
        with self.lock:
            pairs = [(key, document) for key, held in self._objects.items() for document in held.values()]
        return iter(pairs)

    def put(self, key: str, document: dict) -> dict:
        meta = document["metadata"]
        at = (meta.get("namespace", ""), meta["name"])
        with self._changed:
            before = self._objects.get(key, {}).get(at)
            self.version += 1
            document = {**document, "metadata": {**meta, "resourceVersion": str(self.version)}}
            self._objects.setdefault(key, {})[at] = document
            self._record(Change(self.version, "MODIFIED" if before else "ADDED", key, document, before))
        return document

    def remove(self, key: str, namespace: str, name: str) -> dict | None:
        with self._changed:
            before = self._objects.get(key, {}).pop((namespace, name), None)
            if before is None:
                return None
            self.version += 1
            last = {**before, "metadata": {**before["metadata"], "resourceVersion": str(self.version)}}
            self._record(Change(self.version, "DELETED", key, last, before))
        return last

    def _record(self, change: Change) -> None:
        self._history.append(change)
        if len(self._history) > HISTORY:
            self._oldest = self._history.popleft().version
        for listener in self._listeners:
            listener(change)
        self._changed.notify_all()

    def compact(self) -> None:
        """Forget the history: older watches and continue tokens get 410, as after etcd's compaction."""
        with self._changed:
            self._history.clear()
            self._oldest = self.version

    @property
    def oldest(self) -> int:
        return self._oldest

    def changes(self, key: str, since: int) -> list[Change]:
        """Of one resource, after version `since`. Raises 410 when they are forgotten."""
        with self.lock:
            if since < self._oldest:
                raise errors.expired(f"too old resource version: {since} ({self._oldest})")
            found = []
            for change in reversed(self._history):
                if change.version <= since:
                    break
                if change.key == key:
                    found.append(change)
            return found[::-1]

    def wait(self, since: int, timeout_seconds: float) -> bool:
        """Until something changed after `since`; False when nothing did, or the store was closed."""
        deadline = time.monotonic() + timeout_seconds
        with self._changed:
            while self.version <= since and not self._closed:
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    return False
            return not self._closed

    @property
    def closed(self) -> bool:
        return self._closed
