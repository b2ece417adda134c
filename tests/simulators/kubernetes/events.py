"""Events about objects, counted as the real recorders do: the same event again raises its count."""

import threading

from tests.simulators.kubernetes import applying


class Recorder:
    """Writes core/v1 events into the namespace of the object they are about."""

    def __init__(self, writer, resources):
        self._writer, self._resource = writer, resources.find("", "v1", "events")
        self._held: dict[tuple, str] = {}
        self._lock = threading.Lock()

    def tell(
        self,
        about: dict,
        reason: str,
        message: str,
        *,
        kind: str = "Normal",
        component: str = "kubelet",
        field_path: str = "",
        node: str = "",
    ) -> None:
        meta = about["metadata"]
        namespace = meta.get("namespace") or "default"
        now = applying.now()
        key = (meta["uid"], kind, reason, message, component)
        with self._writer.store.lock:
            store = self._writer.store
            name = self._held.get(key)
            old = store.get(self._resource.key, namespace, name) if name else None
            if old:
                store.put(self._resource.key, {**old, "count": old.get("count", 1) + 1, "lastTimestamp": now})
                return
            involved = {
                "kind": about["kind"],
                "namespace": meta.get("namespace"),
                "name": meta["name"],
                "uid": meta["uid"],
                "apiVersion": about["apiVersion"],
                "resourceVersion": meta.get("resourceVersion"),
                "fieldPath": field_path or None,
            }
            name = f"{meta['name']}.{store.version:016x}"
            document = {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": name, "namespace": namespace},
                "involvedObject": {field: value for field, value in involved.items() if value},
                "reason": reason,
                "message": message,
                "source": {"component": component, **({"host": node} if node else {})},
                "firstTimestamp": now,
                "lastTimestamp": now,
                "count": 1,
                "type": kind,
                "eventTime": None,
                "reportingComponent": component,
                "reportingInstance": node,
            }
            if store.get("namespaces", "", namespace) is None:
                return
            self._writer.create(self._resource, document)
            self._held[key] = name
