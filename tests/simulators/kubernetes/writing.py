"""How an object is written, whoever writes it: decode, default, validate, admit, own, store.

Clients come by way of `requests`, controllers call `Writer` directly; both go through the same steps.
"""

import itertools
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.simulators.kubernetes import applying, defaults, errors, fields, schema, structural, validation
from tests.simulators.kubernetes.resources import Resource
from tests.simulators.kubernetes.schema import Schemas, copied
from tests.simulators.kubernetes.store import Store

CONTROLLER = "kube-controller-manager"
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
# Kinds whose status the server keeps apart from the rest; they have a generation.
_UNVERSIONED = (
    "Pod",
    "Service",
    "Node",
    "Namespace",
    "PersistentVolumeClaim",
    "PersistentVolume",
    "ResourceQuota",
)


@dataclass
class Options:
    """Who writes, and how. `warnings` collects what goes into the Warning headers."""

    manager: str = CONTROLLER
    dry_run: bool = False
    validation: str = "Ignore"  # Ignore | Warn | Strict
    force: bool = False
    user: str = "system:admin"
    warnings: list[str] = field(default_factory=list)


@dataclass
class Deletion:
    """Options of a deletion: `propagation` is Background, Foreground or Orphan."""

    propagation: str = "Background"
    grace_seconds: int | None = None
    uid: str = ""
    version: str = ""
    dry_run: bool = False


Admission = Callable[[Resource, dict | None, dict, Options], None]


class Writer:
    """The one place where documents enter and leave the store."""

    def __init__(self, store: Store, schemas: Schemas):
        self.store, self.schemas = store, schemas
        self.admissions: list[Admission] = []
        self._addresses = itertools.count(10)
        self.random = random.Random()

    def decode(self, resource: Resource, document: dict, options: Options) -> dict:
        """The document as its kind declares it. Raises 400 for wrong types and, when strict, more."""
        kind = self.schemas.of(resource)
        unknown: list[str] = []
        self._typed(resource, document)
        try:
            made = schema.decode(document, kind, "", unknown)
        except schema.WrongType as error:
            raise errors.bad_request(
                f'{resource.kind} in version "{resource.version}" cannot be handled as a '
                f"{resource.kind}: {error}"
            ) from None
        if unknown and options.validation == "Strict":
            told = ", ".join(f'unknown field "{path}"' for path in unknown)
            raise errors.bad_request(
                f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
                f"strict decoding error: {told}"
            )
        if unknown and options.validation == "Warn":
            options.warnings += [f'unknown field "{path}"' for path in unknown]
        made["apiVersion"], made["kind"] = resource.api_version, resource.kind
        made.setdefault("metadata", {})
        return made

    def _structure(self, resource: Resource) -> dict:
        return self.schemas.custom_schemas.get((resource.group, resource.version, resource.kind), {})

    def _typed(self, resource: Resource, document: dict) -> None:
        """422 where a custom resource holds values of another type than its definition says."""
        name = (document.get("metadata") or {}).get("name", "")
        found = structural.problems(self._structure(resource), _without_nulls(document))
        found = [problem for problem in found if "must be of type" in problem[1]]
        if found:
            raise errors.invalid(resource, name, found)

    def create(self, resource: Resource, document: dict, options: Options | None = None) -> dict:
        options = options or Options()
        with self.store.lock:
            new = self.decode(resource, document, options)
            new["metadata"].pop("managedFields", None)
            return self._create(resource, new, options)

    def _create(self, resource: Resource, new: dict, options: Options, *, owned: bool = False) -> dict:
        meta = new["metadata"]
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = meta["generateName"] + "".join(self.random.choices(_SUFFIX, k=5))
        if self.store.get(resource.key, meta.get("namespace", ""), meta.get("name", "")):
            raise errors.already_exists(resource, meta["name"])
        for name in ("resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"):
            meta.pop(name, None)
        meta["uid"] = str(uuid.uuid4())
        meta["creationTimestamp"] = applying.now()
        if self._versioned(resource):
            meta["generation"] = 1
        if "status" in resource.subresources:
            new.pop("status", None)
        self._default(resource, new)
        self._allocate(resource, None, new)
        self._validate(resource, None, new)
        self._admit(resource, None, new, options)
        if not owned:
            applying.updated(None, new, self.schemas.of(resource), resource, options.manager)
        if options.dry_run:
            return new
        return self.store.put(resource.key, new)

    def replace(
        self,
        resource: Resource,
        document: dict,
        options: Options | None = None,
        *,
        subresource: str = "",
        decoded: bool = False,
    ) -> dict:
        """Update. Raises 404, and 409 when the document's resourceVersion is not the current one."""
        options = options or Options()
        with self.store.lock:
            new = copied(document) if decoded else self.decode(resource, document, options)
            old = self.existing(
                resource, new["metadata"].get("namespace", ""), new["metadata"].get("name", "")
            )
            given = new["metadata"].get("resourceVersion")
            if given and given != old["metadata"]["resourceVersion"]:
                raise errors.conflict(resource, old["metadata"]["name"])
            if new["metadata"].get("uid") not in (None, "", old["metadata"]["uid"]):
                raise errors.conflict(
                    resource,
                    old["metadata"]["name"],
                    f"Precondition failed: UID in precondition: {new['metadata']['uid']}, "
                    f"UID in object meta: {old['metadata']['uid']}",
                )
            return self._update(resource, old, new, options, subresource)

    def patched(
        self, resource: Resource, old: dict, new: dict, options: Options, subresource: str = ""
    ) -> dict:
        """Store what a patch made of `old`."""
        with self.store.lock:
            return self.replace(resource, new, options, subresource=subresource)

    def apply(
        self, resource: Resource, config: dict, options: Options, *, subresource: str = ""
    ) -> tuple[dict, bool]:
        """Server-side apply: the object, and whether it is new."""
        kind = self.schemas.of(resource)
        self._typed(resource, config)
        meta = config.get("metadata") or {}
        namespace, name = meta.get("namespace", ""), meta.get("name", "")
        if meta.get("managedFields"):
            raise errors.bad_request("metadata.managedFields must be nil")
        unknown: list[str] = []
        try:
            config = schema.decode(config, kind, "", unknown)
        except schema.WrongType as error:
            raise errors.StatusError(500, "", self._untyped(resource, namespace, name, str(error))) from None
        if twice := fields.duplicates(config, kind):
            raise errors.StatusError(500, "", self._untyped(resource, namespace, name, twice[0]))
        if unknown:
            told = f".{unknown[0]}: field not declared in schema"
            if len(unknown) > 1:
                told = "errors:\n" + "\n".join(f"  .{path}: field not declared in schema" for path in unknown)
            raise errors.StatusError(500, "", self._untyped(resource, namespace, name, told))
        with self.store.lock:
            old = self.store.get(resource.key, namespace, name)
            given = (config.get("metadata") or {}).get("resourceVersion")
            if given and (old is None or given != old["metadata"]["resourceVersion"]):
                raise errors.conflict(resource, name)
            if old is None and subresource:
                raise errors.not_found(resource, name)
            for server in ("resourceVersion", "uid", "creationTimestamp", "generation", "managedFields"):
                config["metadata"].pop(server, None)
            if subresource == "status":
                config = {
                    key: config[key] for key in ("apiVersion", "kind", "metadata", "status") if key in config
                }
            elif "status" in resource.subresources:
                config.pop("status", None)
            new = applying.apply(
                old, config, kind, resource, options.manager, force=options.force, subresource=subresource
            )
            new["apiVersion"], new["kind"] = resource.api_version, resource.kind
            if old is None:
                return self._create(resource, new, options, owned=True), True
            return self._update(resource, old, new, options, subresource, owned=True), False

    @staticmethod
    def _untyped(resource: Resource, namespace: str, name: str, why: str) -> str:
        return (
            f"failed to create typed patch object ({namespace}/{name}; {resource.group}/{resource.version}, "
            f"Kind={resource.kind}): {why}"
        )

    def _update(
        self,
        resource: Resource,
        old: dict,
        new: dict,
        options: Options,
        subresource: str = "",
        *,
        owned: bool = False,
    ) -> dict:
        meta, before = new["metadata"], old["metadata"]
        for name in (
            "uid",
            "creationTimestamp",
            "generation",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        ):
            meta.pop(name, None)
            if name in before:
                meta[name] = before[name]
        meta["resourceVersion"] = before["resourceVersion"]
        if not owned:
            given = meta.pop("managedFields", None)
            if "managedFields" in before and given != []:
                meta["managedFields"] = before["managedFields"]
        if subresource == "status":
            kept = {name: value for name, value in old.items() if name not in ("metadata", "status")}
            managed = meta.get("managedFields")
            meta = {**before, "labels": meta.get("labels"), "annotations": meta.get("annotations")}
            meta = {name: value for name, value in meta.items() if value is not None}
            if owned and managed:
                meta["managedFields"] = managed
            status = new.get("status")
            new = {**kept, "metadata": meta, **({"status": status} if status is not None else {})}
        elif "status" in resource.subresources:
            new.pop("status", None)
            if "status" in old:
                new["status"] = old["status"]
        if subresource != "status":
            self._default(resource, new)
            self._allocate(resource, old, new)
            if self._versioned(resource) and self._meaning(old) != self._meaning(new):
                new["metadata"]["generation"] = before.get("generation", 0) + 1
            self._validate(resource, old, new)
            self._admit(resource, old, new, options)
        if not owned:
            applying.updated(old, new, self.schemas.of(resource), resource, options.manager, subresource)
        if self._timeless(new) == self._timeless(old):
            return old
        if options.dry_run:
            return new
        if (
            before.get("deletionTimestamp")
            and not new["metadata"].get("finalizers")
            and self._removable(resource, new)
        ):
            self.store.put(resource.key, new)
            return self.store.remove(resource.key, before.get("namespace", ""), before["name"]) or new
        return self.store.put(resource.key, new)

    @staticmethod
    def _removable(resource: Resource, document: dict) -> bool:
        # Pods end with their kubelet, namespaces with their last object.
        if resource.kind == "Namespace":
            return not (document.get("spec") or {}).get("finalizers")
        return not (resource.kind == "Pod" and document["metadata"].get("deletionGracePeriodSeconds"))

    @staticmethod
    def _timeless(document: dict) -> Any:
        meta = dict(document["metadata"])
        managed = meta.pop("managedFields", None) or []
        meta.pop("resourceVersion", None)
        entries = [{key: value for key, value in entry.items() if key != "time"} for entry in managed]
        return {**document, "metadata": {**meta, "managedFields": entries}}

    @staticmethod
    def _meaning(document: dict) -> dict:
        return {name: value for name, value in document.items() if name not in ("metadata", "status")}

    @staticmethod
    def _versioned(resource: Resource) -> bool:
        if resource.custom:
            return True
        return resource.kind not in _UNVERSIONED and (
            "status" in resource.subresources or resource.kind in ("NetworkPolicy",)
        )

    def existing(self, resource: Resource, namespace: str, name: str) -> dict:
        found = self.store.get(resource.key, namespace, name)
        if found is None:
            raise errors.not_found(resource, name)
        return found

    def _default(self, resource: Resource, new: dict) -> None:
        if resource.custom:
            structural.default(self._structure(resource), new)
        else:
            defaults.default(resource.kind, new)

    def _validate(self, resource: Resource, old: dict | None, new: dict) -> None:
        found = validation.problems(resource, old, new)
        if resource.custom:
            found += structural.problems(self._structure(resource), new)
        if found:
            raise errors.invalid(resource, new["metadata"].get("name", ""), found)

    def _admit(self, resource: Resource, old: dict | None, new: dict, options: Options) -> None:
        for admission in self.admissions:
            admission(resource, old, new, options)

    def _allocate(self, resource: Resource, old: dict | None, new: dict) -> None:
        """What the server allocates: a service's address, a job's selector."""
        spec = new.get("spec") or {}
        if resource.kind == "Service" and spec.get("type") != "ExternalName":
            before = (old or {}).get("spec") or {}
            if not spec.get("clusterIP"):
                spec["clusterIP"] = (
                    before.get("clusterIP")
                    or f"10.96.{next(self._addresses) // 250}.{next(self._addresses) % 250}"
                )
            if not spec.get("clusterIPs"):
                spec["clusterIPs"] = [spec["clusterIP"]]
            if spec.get("type") in ("NodePort", "LoadBalancer"):
                for port in spec.get("ports", ()):
                    port.setdefault("nodePort", 30000 + next(self._addresses))
        if resource.kind == "Job" and old is None and not spec.get("selector"):
            uid, name = new["metadata"]["uid"], new["metadata"]["name"]
            spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
            labels = spec["template"].setdefault("metadata", {}).setdefault("labels", {})
            for prefix in ("batch.kubernetes.io/", ""):
                labels[f"{prefix}controller-uid"] = uid
                labels[f"{prefix}job-name"] = name
        if resource.kind == "Job" and old is not None:
            before = old["spec"]
            spec.setdefault("selector", before.get("selector"))
            if "template" in spec:
                kept = ((before["template"].get("metadata") or {}).get("labels")) or {}
                labels = spec["template"].setdefault("metadata", {}).setdefault("labels", {})
                for key, value in kept.items():
                    if key.rpartition("/")[2] in ("controller-uid", "job-name"):
                        labels.setdefault(key, value)

    def delete(
        self, resource: Resource, namespace: str, name: str, deletion: Deletion | None = None
    ) -> tuple[dict, bool]:
        """The object as it is now, and whether it is gone already."""
        deletion = deletion or Deletion()
        with self.store.lock:
            old = self.existing(resource, namespace, name)
            meta = old["metadata"]
            for given, held, what in (
                (deletion.uid, meta["uid"], "UID"),
                (deletion.version, meta["resourceVersion"], "ResourceVersion"),
            ):
                if given and given != held:
                    raise errors.conflict(
                        resource,
                        name,
                        f"Precondition failed: {what} in precondition: {given}, {what} in object "
                        f"meta: {held}",
                    )
            finalizers = list(meta.get("finalizers") or ())
            grace = 0
            if deletion.propagation == "Foreground":
                finalizers.append("foregroundDeletion")
            elif deletion.propagation == "Orphan":
                finalizers.append("orphan")
            if resource.kind == "Pod":
                spec = old.get("spec") or {}
                grace = spec.get("terminationGracePeriodSeconds", 30)
                if deletion.grace_seconds is not None:
                    grace = deletion.grace_seconds
                if not spec.get("nodeName") or (old.get("status") or {}).get("phase") in (
                    "Failed",
                    "Succeeded",
                ):
                    grace = 0
            held_back = bool(finalizers) or grace > 0 or resource.kind == "Namespace"
            if deletion.dry_run:
                return old, not held_back
            if not held_back:
                return self.store.remove(resource.key, namespace, name) or old, True
            if (
                meta.get("deletionTimestamp")
                and meta.get("finalizers", []) == finalizers
                and not (resource.kind == "Pod" and grace < meta.get("deletionGracePeriodSeconds", 0))
            ):
                return old, False
            new = {**old, "metadata": {**meta}}
            new["metadata"].setdefault("deletionTimestamp", applying.now())
            new["metadata"]["deletionGracePeriodSeconds"] = grace
            if finalizers:
                new["metadata"]["finalizers"] = list(dict.fromkeys(finalizers))
            if self._versioned(resource):
                new["metadata"]["generation"] = meta.get("generation", 0) + 1
            if resource.kind == "Namespace":
                new["status"] = {**(old.get("status") or {}), "phase": "Terminating"}
            return self.store.put(resource.key, new), False

    def scale(self, resource: Resource, old: dict, new: dict, options: Options) -> dict:
        """Store a changed number of replicas, as the subresource scale does."""
        with self.store.lock:
            return self._update(resource, old, copied(new), options, "scale")

    # What controllers call.

    def status(
        self, resource: Resource, document: dict, status: dict, manager: str = CONTROLLER
    ) -> dict | None:
        """Write the status of an object as its controller sees it; None when it is gone."""
        meta = document["metadata"]
        with self.store.lock:
            old = self.store.get(resource.key, meta.get("namespace", ""), meta["name"])
            if old is None or old["metadata"]["uid"] != meta["uid"]:
                return None
            if (old.get("status") or {}) == status:
                return old
            new = {**old, "metadata": dict(old["metadata"]), "status": status}
            return self._update(resource, old, new, Options(manager=manager), "status")

    def change(
        self, resource: Resource, document: dict, edit: Callable[[dict], None], manager: str = CONTROLLER
    ) -> dict | None:
        """Edit a copy of the object as it is now, and store it; None when it is gone."""
        meta = document["metadata"]
        with self.store.lock:
            old = self.store.get(resource.key, meta.get("namespace", ""), meta["name"])
            if old is None or old["metadata"]["uid"] != meta["uid"]:
                return None
            new = copied(old)
            edit(new)
            return self._update(resource, old, new, Options(manager=manager))


def _without_nulls(value: Any) -> Any:
    """A null is as good as nothing where the field is not nullable."""
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
