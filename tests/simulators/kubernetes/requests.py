"""From an HTTP request to the objects: routing, verbs, lists, watches, patches, deletions."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.simulators.kubernetes import errors, patching, selectors, tables
from tests.simulators.kubernetes.access import User
from tests.simulators.kubernetes.resources import Resource
from tests.simulators.kubernetes.server import Answer, Request, line, parsed
from tests.simulators.kubernetes.writing import Deletion, Options

_BOOKMARK_SECONDS = 60
_VERBS = {
    "GET": "get",
    "HEAD": "get",
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}


@dataclass
class Call:
    """A request for a resource, taken apart."""

    request: Request
    user: User
    resource: Resource
    namespace: str
    name: str
    subresource: str
    rest: str
    verb: str

    @property
    def query(self) -> dict[str, str]:
        return self.request.query


def take_apart(request: Request, user: User, resources) -> Call:
    """Raises 404 for what is not served."""
    parts = request.path.strip("/").split("/")
    if parts[0] == "api":
        group, version, rest = "", parts[1], parts[2:]
    else:
        group, version, rest = parts[1], parts[2], parts[3:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    resource = resources.find(group, version, rest[0])
    if bool(namespace) > resource.namespaced:
        raise errors.no_such_resource()
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    if subresource and subresource not in resource.subresources:
        raise errors.no_such_resource()
    if resource.namespaced and name and not namespace:
        raise errors.no_such_resource()
    verb = _VERBS.get(request.method, "")
    if verb == "get" and not name:
        verb = "watch" if request.flag("watch") else "list"
    if verb == "delete" and not name:
        verb = "deletecollection"
    return Call(request, user, resource, namespace, name, subresource, "/".join(rest[3:]), verb)


class Objects:
    """The verbs on objects, for one cluster."""

    def __init__(self, cluster):
        self.cluster, self.store, self.writer = cluster, cluster.store, cluster.writer
        self.closing = threading.Event()

    def answer(self, call: Call) -> Answer:
        if call.verb not in call.resource.verbs and not call.subresource:
            raise errors.method_not_allowed()
        if call.subresource in ("", "status", "finalize"):
            return getattr(self, f"_{call.verb}")(call)
        return self.cluster.subresources.answer(call)

    # Reading.

    def _get(self, call: Call) -> Answer:
        document = self.writer.existing(call.resource, call.namespace, call.name)
        return self._given(call, document)

    def _selection(self, call: Call):
        labels = selectors.parse(call.query.get("labelSelector", ""))
        fields = selectors.parse_fields(call.query.get("fieldSelector", ""), call.resource.plural)
        if call.name:
            fields.append(("metadata.name", True, call.name))

        def fits(document: dict) -> bool:
            if call.namespace and document["metadata"].get("namespace") != call.namespace:
                return False
            return selectors.matches(labels, document["metadata"].get("labels")) and selectors.matches_fields(
                fields, document
            )

        return fits

    def _list(self, call: Call) -> Answer:
        fits = self._selection(call)
        with self.store.lock:
            version, start = self.store.version, ("", "")
            if token := call.query.get("continue"):
                version, start = self._continued(token)
            found = [d for d in self.store.find(call.resource.key, call.namespace) if fits(d)]
        place = lambda d: (d["metadata"].get("namespace", ""), d["metadata"]["name"])  # noqa: E731
        found = [document for document in found if place(document) > start]
        meta: dict[str, Any] = {"resourceVersion": str(version)}
        limit = int(call.query.get("limit") or 0)
        if limit and len(found) > limit:
            meta["remainingItemCount"] = len(found) - limit
            found = found[:limit]
            token = json.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": place(found[-1])})
            meta["continue"] = base64.urlsafe_b64encode(token.encode()).decode()
        if tables.wanted(call.request):
            return Answer(json=tables.table(call, found, meta))
        items = found
        if "PartialObjectMetadataList" in call.request.headers.get("accept", ""):
            items = [_partial(document) for document in found]
            kind, api = "PartialObjectMetadataList", "meta.k8s.io/v1"
        else:
            kind, api = f"{call.resource.kind}List", call.resource.api_version
            items = [
                {k: v for k, v in document.items() if call.resource.custom or k not in ("kind", "apiVersion")}
                for document in found
            ]
        return Answer(json={"kind": kind, "apiVersion": api, "metadata": meta, "items": items})

    def _continued(self, token: str) -> tuple[int, tuple[str, str]]:
        try:
            held = json.loads(base64.urlsafe_b64decode(token))
            version, start = held["rv"], tuple(held["start"])
        except (ValueError, KeyError):
            raise errors.bad_request("continue key is not valid: the token is malformed") from None
        if version < self.store.oldest:
            raise errors.expired(
                "The provided continue parameter is too old to display a consistent list result. "
                "You can start "
                "a new list without the continue parameter, or use the continue token in this response to "
                "retrieve the remainder of the results. Continuing with the provided token results in an "
                "inconsistent list - objects that were created, modified, or deleted between the "
                "time the first "
                "chunk was returned and now may show up in the list."
            )
        return version, start

    def _watch(self, call: Call) -> Answer:
        return Answer(stream=self._watched(call, self._selection(call)))

    def _watched(self, call: Call, fits) -> Iterator[bytes]:
        given = call.query.get("resourceVersion", "")
        bookmarks = call.request.flag("allowWatchBookmarks")
        seconds = float(call.query.get("timeoutSeconds") or 1800)
        deadline = time.monotonic() + seconds
        first: list[dict] = []
        with self.store.lock:
            version = self.store.version
            if given in ("", "0"):
                first = [d for d in self.store.find(call.resource.key, call.namespace) if fits(d)]
            else:
                try:
                    version = int(given)
                except ValueError:
                    raise errors.bad_request(
                        f'Invalid value: "{given}": strconv.ParseUint: parsing'
                    ) from None
        for document in first:
            yield self._event(call, "ADDED", document)
        if call.request.flag("sendInitialEvents") and bookmarks:
            yield self._bookmark(call, version, {"k8s.io/initial-events-end": "true"})
        told = time.monotonic()
        while not self.store.closed:
            try:
                with self.store.lock:
                    found, latest = self.store.changes(call.resource.key, version), self.store.version
            except errors.StatusError as error:
                yield line({"type": "ERROR", "object": error.body()})
                return
            for change in found:
                if event := _seen(change, fits):
                    yield self._event(call, event, change.document)
            version = max(version, latest)
            left = deadline - time.monotonic()
            if left <= 0:
                break
            if bookmarks and time.monotonic() - told >= _BOOKMARK_SECONDS / self.cluster.speed:
                yield self._bookmark(call, version)
                told = time.monotonic()
            self.store.wait(version, min(left, _BOOKMARK_SECONDS / self.cluster.speed, 5))
        if bookmarks and not self.store.closed:
            yield self._bookmark(call, version)

    @staticmethod
    def _event(call: Call, kind: str, document: dict) -> bytes:
        if tables.wanted(call.request):
            document = tables.table(
                call, [document], {"resourceVersion": document["metadata"]["resourceVersion"]}
            )
        return line({"type": kind, "object": document})

    @staticmethod
    def _bookmark(call: Call, version: int, annotations: dict | None = None) -> bytes:
        meta: dict[str, Any] = {"resourceVersion": str(version), "creationTimestamp": None}
        if annotations:
            meta["annotations"] = annotations
        body = {"kind": call.resource.kind, "apiVersion": call.resource.api_version, "metadata": meta}
        return line({"type": "BOOKMARK", "object": body})

    # Writing.

    def options(self, call: Call) -> Options:
        query = call.query
        manager = query.get("fieldManager") or call.request.headers.get("user-agent", "").partition("/")[0]
        if query.get("dryRun") not in (None, "", "All"):
            raise errors.bad_request(f'Invalid value: "{query["dryRun"]}": supported values: "All"')
        validation = query.get("fieldValidation") or "Warn"
        if validation not in ("Strict", "Warn", "Ignore"):
            raise errors.bad_request(
                f'fieldValidation: Unsupported value: "{validation}": supported values: "Ignore", '
                '"Strict", "Warn"'
            )
        return Options(
            manager=(manager or "unknown")[:128],
            dry_run=query.get("dryRun") == "All",
            validation=validation,
            force=call.request.flag("force"),
            user=call.user.name,
        )

    def _document(self, call: Call) -> dict:
        try:
            document = parsed(call.request)
        except ValueError as error:
            raise errors.bad_request(
                f"the object provided is unrecognized (must be of type {call.resource.kind}): {error}"
            ) from None
        if not isinstance(document, dict):
            raise errors.bad_request("the request body is empty or no object")
        return self._fitted(call, document)

    def _fitted(self, call: Call, document: dict) -> dict:
        resource = call.resource
        if document.get("kind", resource.kind) != resource.kind or (
            document.get("apiVersion", resource.api_version) != resource.api_version
        ):
            version = document.get("apiVersion", "").rpartition("/")[2]
            raise errors.bad_request(
                f'{document.get("kind")} in version "{version}" cannot be handled as a {resource.kind}: '
                f'no kind "{document.get("kind")}" is registered for version "{document.get("apiVersion")}"'
            )
        meta = dict(document.get("metadata") or {})
        if resource.namespaced:
            if meta.get("namespace") not in (None, "", call.namespace):
                raise errors.bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request"
                )
            meta["namespace"] = call.namespace
        else:
            meta.pop("namespace", None)
        if call.name:
            if meta.get("name") not in (None, "", call.name):
                raise errors.bad_request(
                    f"the name of the object ({meta.get('name')}) does not match the name on the "
                    f"URL ({call.name})"
                )
            meta["name"] = call.name
        return {**document, "metadata": meta}

    def _create(self, call: Call) -> Answer:
        options = self.options(call)
        document = self._document(call)
        if call.name:
            raise errors.method_not_allowed()
        made = self.writer.create(call.resource, document, options)
        return self._given(call, made, options, 201)

    def _update(self, call: Call) -> Answer:
        options = self.options(call)
        document = self._document(call)
        if call.subresource == "finalize":
            return self._given(call, self.cluster.namespaces.finalize(call, document))
        made = self.writer.replace(call.resource, document, options, subresource=call.subresource)
        return self._given(call, made, options)

    def _patch(self, call: Call) -> Answer:
        options = self.options(call)
        kind = call.request.headers.get("content-type", "").partition(";")[0].strip()
        try:
            patch = parsed(call.request)
        except ValueError as error:
            raise errors.bad_request(f"error decoding patch: {error}") from None
        if kind == patching.APPLY:
            if not call.query.get("fieldManager"):
                raise errors.StatusError(
                    422,
                    "Invalid",
                    'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is '
                    "required for apply patch",
                    {"group": "meta.k8s.io", "kind": "PatchOptions"},
                )
            config = self._fitted(call, patch or {})
            made, new = self.writer.apply(call.resource, config, options, subresource=call.subresource)
            return self._given(call, made, options, 201 if new else 200)
        if call.request.flag("force"):
            raise errors.StatusError(
                422,
                "Invalid",
                'PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified '
                "for non-apply patch",
                {"group": "meta.k8s.io", "kind": "PatchOptions"},
            )
        with self.store.lock:
            old = self.writer.existing(call.resource, call.namespace, call.name)
            new = self.patched(call, kind, old, patch)
            made = self.writer.replace(call.resource, new, options, subresource=call.subresource)
        return self._given(call, made, options)

    def patched(self, call: Call, kind: str, old: dict, patch: Any) -> dict:
        if kind == patching.JSON:
            new = patching.json_patch(old, patch)
        elif kind == patching.MERGE:
            new = patching.merge_patch(old, patch)
        elif kind == patching.STRATEGIC and not call.resource.custom:
            new = patching.strategic_patch(old, patch, self.cluster.schemas.of(call.resource))
        else:
            accepted = [patching.JSON, patching.MERGE, patching.APPLY]
            if not call.resource.custom:
                accepted.insert(2, patching.STRATEGIC)
            raise errors.unsupported_media_type(accepted)
        return self._fitted(call, new)

    def _deletion(self, call: Call) -> Deletion:
        try:
            body = parsed(call.request) or {}
        except ValueError as error:
            raise errors.bad_request(str(error)) from None
        if body and body.get("kind", "DeleteOptions") != "DeleteOptions":
            body = {}
        conditions = body.get("preconditions") or {}
        grace = body.get("gracePeriodSeconds", call.query.get("gracePeriodSeconds"))
        orphan = body.get("orphanDependents")
        policy = body.get("propagationPolicy") or call.query.get("propagationPolicy")
        if not policy:
            policy = "Orphan" if orphan or (call.resource.kind == "Job" and orphan is None) else "Background"
        if policy not in ("Background", "Foreground", "Orphan"):
            raise errors.bad_request(f'invalid propagationPolicy "{policy}"')
        return Deletion(
            propagation=policy,
            grace_seconds=None if grace in (None, "") else int(grace),
            uid=conditions.get("uid", ""),
            version=conditions.get("resourceVersion", ""),
            dry_run="All" in (body.get("dryRun") or []) or call.query.get("dryRun") == "All",
        )

    def _delete(self, call: Call) -> Answer:
        deletion = self._deletion(call)
        document, gone = self.writer.delete(call.resource, call.namespace, call.name, deletion)
        if not gone or call.resource.kind == "Pod":
            return self._given(call, document, status=200)
        meta = document["metadata"]
        details = {
            "name": meta["name"],
            "group": call.resource.group,
            "kind": call.resource.plural,
            "uid": meta["uid"],
        }
        details = {key: value for key, value in details.items() if value}
        return Answer(
            json={
                "kind": "Status",
                "apiVersion": "v1",
                "metadata": {},
                "status": "Success",
                "details": details,
            }
        )

    def _deletecollection(self, call: Call) -> Answer:
        deletion, fits = self._deletion(call), self._selection(call)
        with self.store.lock:
            found = [d for d in self.store.find(call.resource.key, call.namespace) if fits(d)]
            for document in found:
                meta = document["metadata"]
                self.writer.delete(call.resource, meta.get("namespace", ""), meta["name"], deletion)
            version = str(self.store.version)
        return Answer(
            json={
                "kind": f"{call.resource.kind}List",
                "apiVersion": call.resource.api_version,
                "metadata": {"resourceVersion": version},
                "items": found,
            }
        )

    @staticmethod
    def _given(call: Call, document: dict, options: Options | None = None, status: int = 200) -> Answer:
        headers = [("Warning", f"299 - {json.dumps(text)}") for text in (options.warnings if options else ())]
        if tables.wanted(call.request):
            document = tables.table(
                call, [document], {"resourceVersion": document["metadata"].get("resourceVersion", "")}
            )
        elif "PartialObjectMetadata" in call.request.headers.get("accept", ""):
            document = _partial(document)
        return Answer(status, json=document, headers=headers)


def _partial(document: dict) -> dict:
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": document["metadata"]}


def _seen(change, fits) -> str:
    """What a watcher with a selection sees of a change: an object may enter or leave its selection."""
    now = fits(change.document)
    if change.type == "ADDED":
        return "ADDED" if now else ""
    before = fits(change.before)
    if change.type == "DELETED":
        return "DELETED" if before else ""
    if now:
        return "MODIFIED" if before else "ADDED"
    return "DELETED" if before else ""
