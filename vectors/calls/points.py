"""Calls on points: upsert, query, update, fetch, delete, count, scroll, namespaces."""

import time

import msgspec
import orjson
from django.conf import settings

from controlplane.errors import InvalidError, NotFoundError
from vectors import (
    batches,
    bodies,
    collections,
    database,
    gradual,
    namespaces,
    narrowing,
    plain,
    points,
    queries,
    search,
    streams,
    updates,
    upserts,
)
from vectors.calls.base import (
    NDJSON,
    OPERATOR,
    VIEWER,
    Request,
    Response,
    Route,
    answer,
    limit_of,
    no_nul,
    no_nul_in,
    on_points,
    within_batch,
)
from vectors.clauses import Ids


def points_upsert(request: Request, name: str) -> Response:
    if request.read is not None:
        return points_stream(request, name)
    if request.incoming is not None:
        dimension = collections.collection_get(name).dimension
        body = gradual.Receiver(request.incoming, dimension).receive()
    else:
        body = bodies.decode(bodies.Upsert, request.body)
    most = settings.VECTORS["max_batch_points"]
    if body.points is not None:
        for field in ("ids", "vectors_b64", "contents", "metadata"):
            if getattr(body, field) is not None:
                raise InvalidError("Send points, or ids with vectors_b64, not both.", field=field)
        count, field = len(body.points), "points"
    elif body.ids is not None and body.vectors_b64 is not None:
        count, field = len(body.ids), "ids"
    else:
        raise InvalidError("Send points, or ids with vectors_b64.", code="required", field="points")
    if count > most:
        raise InvalidError(f"A batch holds up to {most} points; send several.", code="too_large", field=field)
    no_nul(body.namespace, "namespace")

    def work(collection):
        make = batches.batch_from_points if body.points is not None else batches.batch_from_block
        batch = make(body.points if body.points is not None else body, collection.dimension, collection.form)
        return database.pool().call(
            lambda connection: upserts.points_upsert(
                connection, collection, namespace=body.namespace, batch=batch
            )
        )

    return answer({"upserted": collections.working_on(name, work), "errors": []})


def points_stream(request: Request, name: str) -> Response:
    """Points line by line, of any number; results line by line."""
    parameters = request.parameters("namespace", "batch", "results")
    namespace = parameters.get("namespace", "")
    no_nul(namespace, "namespace")
    if len(namespace) > points.NAMESPACE_MOST:
        raise InvalidError(f"A namespace has up to {points.NAMESPACE_MOST} characters.", field="namespace")
    most = settings.VECTORS["max_batch_points"]
    batch = parameters.get("batch", str(min(streams.BATCH_LINES, most)))
    if not batch.isascii() or not batch.isdigit() or not 1 <= int(batch[:7]) <= most:
        raise InvalidError(f"batch is between 1 and {most}.", field="batch")
    if parameters.get("results", "all") not in ("all", "errors"):
        raise InvalidError("results is all, or errors.", field="results")
    stream = streams.points_stream(
        name,
        request.read,
        namespace=namespace,
        batch_lines=int(batch),
        errors_only=parameters.get("results") == "errors",
    )
    return Response(200, stream, (NDJSON,))


def points_query(request: Request, name: str) -> Response:
    started = time.perf_counter()
    found = queries.answered(name, bodies.decode(bodies.Query, request.body))
    found["took_ms"] = round((time.perf_counter() - started) * 1000, 3)
    return Response(200, orjson.dumps(found))


def points_recommend(request: Request, name: str) -> Response:
    started = time.perf_counter()
    found = queries.recommended(name, bodies.decode(bodies.Recommend, request.body))
    found["took_ms"] = round((time.perf_counter() - started) * 1000, 3)
    return answer(found)


def points_update(request: Request, name: str) -> Response:
    body = bodies.decode(bodies.Update, request.body)
    if (body.points is not None) + (body.ids is not None) + (body.filter is not None) != 1:
        raise InvalidError("Send one of points, ids and filter.", code="required", field="ids")
    within_batch(body.ids or body.points or [])
    no_nul(body.namespace, "namespace")
    scope = {"namespace": body.namespace}

    def work(collection):
        if body.points is None:
            change = change_of(body, body.metadata_mode, collection, "")
            select = Ids(tuple(body.ids)) if body.ids is not None else body.filter
            wanted, service = body.ids or (), narrowing.points_update
            scope.update(select=select, change=change)
        else:
            for field in ("vector", "vector_b64"):
                if getattr(body, field) is not None:
                    raise InvalidError(f"With points, {field} belongs into each of them.", field=field)
            if body.content is not msgspec.UNSET or body.metadata or body.metadata_remove:
                raise InvalidError("With points, what changes belongs into each of them.", field="points")
            wanted, service = [point.id for point in body.points], updates.points_update_each
            scope["changes"] = [
                (point.id, change_of(point, body.metadata_mode, collection, f"points[{at}]."))
                for at, point in enumerate(body.points)
            ]
        updated = set(database.pool().call(lambda connection: service(connection, collection, **scope)))
        missing = [point_id for point_id in dict.fromkeys(wanted) if point_id not in updated]
        return {"updated": len(updated), "missing": missing}

    no_nul_in(body.ids or (), "ids")
    return answer(collections.working_on(name, work))


def change_of(given, mode: str, collection, at: str) -> updates.Change:
    """The change that a body or one of its points asks for; `at` is how it is named in errors."""
    if given.vector is not None and given.vector_b64 is not None:
        raise InvalidError("Send vector or vector_b64, not both.", field=f"{at}vector")
    packed = None
    if given.vector is not None:
        packed = collection.form.pack(given.vector, collection.dimension, f"{at}vector")
    elif given.vector_b64 is not None:
        packed = collection.form.pack_base64(given.vector_b64, collection.dimension, f"{at}vector_b64")
    metadata = None
    if given.metadata or given.metadata_remove:
        paths = tuple(tuple(path.split(".")) for path in given.metadata_remove)
        metadata = updates.MetadataChange(bytes(given.metadata) or None, mode == "replace", paths)
    content = None if given.content is msgspec.UNSET else (given.content,)
    if packed is None and metadata is None and content is None:
        raise InvalidError(
            "Say what changes: vector, vector_b64, content, metadata or metadata_remove.",
            code="required",
            field=f"{at}metadata",
        )
    return updates.Change(packed, content, metadata)


def namespaces_list(request: Request, name: str) -> Response:
    parameters = request.parameters("limit", "cursor", "prefix")
    limit = limit_of(parameters)
    after = points.cursor_decode(parameters["cursor"])[0] if parameters.get("cursor") else None
    prefix = parameters.get("prefix", "")
    no_nul(prefix, "prefix")
    found = on_points(name, namespaces.namespaces_list, prefix=prefix, after=after, limit=limit + 1)
    return answer(
        {
            "items": [{"name": space, "points": count} for space, count in found[:limit]],
            "next_cursor": points.cursor_encode(found[limit - 1][0], "") if len(found) > limit else None,
        }
    )


def namespaces_delete(request: Request, name: str) -> Response:
    parameters = request.parameters("name")
    if "name" not in parameters:
        raise InvalidError(
            "Say which: ?name=<namespace>, or ?name= for the unnamed one.", code="required", field="name"
        )
    no_nul(parameters["name"], "name")
    gone = on_points(name, points.points_delete, namespace=parameters["name"])
    if not gone:
        raise NotFoundError(f"There is no namespace {parameters['name'][:100]!r}.", code="unknown_namespace")
    return answer({"deleted": gone})


def points_fetch(request: Request, name: str) -> Response:
    body = bodies.decode(bodies.Fetch, request.body)
    within_batch(body.ids)
    no_nul(body.namespace, "namespace")
    include = tuple(dict.fromkeys(body.include))
    return answer(
        on_points(name, points.points_fetch, namespace=body.namespace, ids=body.ids, include=include)
    )


def points_delete(request: Request, name: str) -> Response:
    body = bodies.decode(bodies.Delete, request.body)
    if (body.ids is not None) + (body.filter is not None) + body.all != 1:
        raise InvalidError("Send one of ids, filter and all: true.", code="required", field="ids")
    within_batch(body.ids or [])
    no_nul(body.namespace or "", "namespace")
    namespace = body.namespace if body.all else body.namespace or ""
    return answer(
        {
            "deleted": on_points(
                name, narrowing.points_delete, namespace=namespace, ids=body.ids, filter=body.filter
            )
        }
    )


def points_count(request: Request, name: str) -> Response:
    body = bodies.decode(bodies.Count, request.body or b"{}")
    no_nul(body.namespace or "", "namespace")
    if body.estimated:
        count = on_points(name, search.points_estimate, namespace=body.namespace, filter=body.filter)
        return answer({"count": count, "estimated": True})
    return answer(
        {"count": on_points(name, narrowing.points_count, namespace=body.namespace, filter=body.filter)}
    )


def points_scroll(request: Request, name: str) -> Response:
    body = bodies.decode(bodies.Scroll, request.body or b"{}")
    no_nul(body.namespace or "", "namespace")
    return answer(
        on_points(
            name,
            points.points_scroll,
            namespace=body.namespace,
            filter=body.filter,
            limit=body.limit,
            cursor=body.cursor,
            include=tuple(dict.fromkeys(body.include)),
        )
    )


ROUTES = {
    ("collections", "{}", "points"): {
        "POST": Route("upsert", OPERATOR, points_upsert, takes=("ndjson",), gradual=True),
    },
    ("collections", "{}", "query"): {"POST": Route("query", VIEWER, points_query, quick=plain.answered)},
    ("collections", "{}", "recommend"): {"POST": Route("recommend", VIEWER, points_recommend)},
    ("collections", "{}", "update"): {"POST": Route("update", OPERATOR, points_update)},
    ("collections", "{}", "namespaces"): {
        "GET": Route("namespaces_list", VIEWER, namespaces_list),
        "DELETE": Route("namespaces_delete", OPERATOR, namespaces_delete),
    },
    ("collections", "{}", "fetch"): {"POST": Route("fetch", VIEWER, points_fetch)},
    ("collections", "{}", "delete"): {"POST": Route("delete", OPERATOR, points_delete)},
    ("collections", "{}", "count"): {"POST": Route("count", VIEWER, points_count)},
    ("collections", "{}", "scroll"): {"POST": Route("scroll", VIEWER, points_scroll)},
}
