"""The vector API's calls: each takes a Request and gives a Response.

Neither WSGI nor Django is known here: `vectors/wsgi.py` serves these raw, `vectors/views.py` as Django views.
"""

import contextlib
import re
import time
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

import msgspec
import orjson
from django.conf import settings

from controlplane import ids
from controlplane.errors import ConflictError, InvalidError, NotFoundError, ProblemError
from vectors import (
    auth,
    bodies,
    collections,
    database,
    indexes,
    namespaces,
    points,
    queries,
    search,
    streams,
    updates,
    vectors,
)
from vectors.clauses import Ids

PREFIX = "/api/v1/vectors"
DEFAULT = "default"
DEFAULT_DIMENSION = 1536
JSON = ("Content-Type", "application/json")
NDJSON = ("Content-Type", "application/x-ndjson")
PROBLEM = ("Content-Type", "application/problem+json")
REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,100}\Z")


class Request:
    """What a call is given: the body is read by it alone, after the caller's role is known to do."""

    __slots__ = ("body", "method", "path", "principal", "query", "read")

    def __init__(self, method: str, path: str, query: str, body: bytes, principal, read=None):
        self.method = method
        self.path = path
        self.query = query
        self.body = body
        self.principal = principal
        # read(size) of a body that is taken as it comes, lines of JSON; then `body` is empty.
        self.read = read

    def parameters(self, *names: str) -> dict[str, str]:
        """The query string's parameters; InvalidError for others than `names`."""
        found = dict(parse_qsl(self.query, keep_blank_values=True))
        for name in found:
            if name not in names:
                raise InvalidError(
                    f"There is no parameter {name[:60]!r}"
                    + (f"; there are {', '.join(names)}." if names else "."),
                    field=name[:60],
                )
        return found


class Response(NamedTuple):
    """A status, a body (bytes; or an iterable of them with close(), made while it is sent), and headers."""

    status: int
    body: object
    headers: tuple = ()


class Route(NamedTuple):
    """A call: its name (a metric's label), the least role, and the function."""

    name: str
    role: str
    call: object


def answer(value, status: int = 200, headers: tuple = ()) -> Response:
    return Response(status, orjson.dumps(value, option=orjson.OPT_UTC_Z), headers)


def limit_of(parameters: dict[str, str], most: int = 200, default: int = 50) -> int:
    text = parameters.get("limit", str(default))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:6]) <= most:
        raise InvalidError(f"limit is between 1 and {most}.", field="limit")
    return int(text)


# Points


def points_upsert(request: Request, name: str) -> Response:
    if request.read is not None:
        return points_stream(request, name)
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
        make = points.batch_from_points if body.points is not None else points.batch_from_block
        batch = make(body.points if body.points is not None else body, collection.dimension)
        return database.pool().call(
            lambda connection: points.points_upsert(
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
            wanted, service = body.ids or (), updates.points_update
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
        packed = vectors.pack(given.vector, collection.dimension, f"{at}vector")
    elif given.vector_b64 is not None:
        packed = vectors.pack_base64(given.vector_b64, collection.dimension, f"{at}vector_b64")
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
                name, points.points_delete, namespace=namespace, ids=body.ids, filter=body.filter
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
        {"count": on_points(name, points.points_count, namespace=body.namespace, filter=body.filter)}
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


def on_points(name: str, service, **arguments):
    """A service of `points` on a collection, with connection."""
    return collections.working_on(
        name,
        lambda collection: database.pool().call(
            lambda connection: service(connection, collection, **arguments)
        ),
    )


def within_batch(point_ids: list[str]) -> None:
    most = settings.VECTORS["max_batch_points"]
    if len(point_ids) > most:
        raise InvalidError(f"Up to {most} ids at once.", code="too_large", field="ids")


def no_nul_in(texts, field: str) -> None:
    for at, text in enumerate(texts):
        no_nul(text, f"{field}[{at}]")


def no_nul(text: str, field: str) -> None:
    if "\0" in text:
        raise InvalidError("Texts must not hold the character NUL.", field=field)


# Collections, indexes, jobs, keys


def options_of(index) -> dict | None:
    if index is None:
        return None
    return {key: value for key in index.__struct_fields__ if (value := getattr(index, key)) is not None}


def collections_create(request: Request) -> Response:
    body = bodies.decode(bodies.CollectionCreate, request.body)
    made = collections.collection_create(
        name=body.name,
        dimension=body.dimension,
        metric=body.metric,
        index=options_of(body.index),
        auto_index=body.auto_index,
    )
    return answer(collections.describe(made), 201, (("Location", f"{PREFIX}/collections/{made.name}"),))


def collections_list(request: Request) -> Response:
    parameters = request.parameters("limit", "cursor")
    after = points.cursor_decode(parameters["cursor"])[0] if parameters.get("cursor") else ""
    items, last = collections.collection_list(limit=limit_of(parameters), after=after)
    return answer({"items": items, "next_cursor": points.cursor_encode(last, "") if last else None})


def collections_get(request: Request, name: str) -> Response:
    collections.collection_forget(name)
    return answer(collections.working_on(name, collections.collection_stats))


def collections_stats(request: Request, name: str) -> Response:
    collections.collection_forget(name)
    return answer(
        collections.working_on(name, lambda found: collections.collection_stats(found, namespaces=True))
    )


def collections_update(request: Request, name: str) -> Response:
    body = bodies.decode(bodies.CollectionUpdate, request.body)
    changed = collections.collection_update(
        name=name, auto_index=body.auto_index, index=options_of(body.index)
    )
    return answer(collections.describe(changed))


def collections_delete(request: Request, name: str) -> Response:
    collections.collection_delete(name=name)
    return Response(204, b"")


def index_build(request: Request, name: str) -> Response:
    body = bodies.decode(bodies.IndexOptions, request.body or b"{}")
    job = indexes.index_build(name=name, options=options_of(body))
    return answer(job, 202, (("Location", f"{PREFIX}/jobs/{job['id']}"),))


def index_get(request: Request, name: str) -> Response:
    collections.collection_forget(name)
    return answer(indexes.index_get(collections.collection_get(name)))


def index_delete(request: Request, name: str) -> Response:
    indexes.index_delete(name=name)
    return Response(204, b"")


def jobs_list(request: Request) -> Response:
    parameters = request.parameters("limit", "cursor")
    items, last = indexes.job_list(limit=limit_of(parameters), after=parameters.get("cursor", ""))
    return answer({"items": items, "next_cursor": last})


def jobs_get(request: Request, job: str) -> Response:
    return answer(indexes.job_get(job))


def keys_create(request: Request) -> Response:
    body = bodies.decode(bodies.ApiKeyCreate, request.body)
    return answer(auth.key_create(name=body.name, role=body.role, expires_at=body.expires_at), 201)


def keys_list(request: Request) -> Response:
    return answer({"items": auth.key_list(), "next_cursor": None})


def keys_delete(request: Request, key: str) -> Response:
    auth.key_delete(key)
    return Response(204, b"")


# Upstream's calls on the collection `default`


def simple_add(request: Request) -> Response:
    body = bodies.decode(bodies.SimpleAdd, request.body)
    point = bodies.Point(
        id=str(ids.uuid7()), vector=body.embedding, content=body.content, metadata=body.metadata
    )
    if not collections.collection_exists(DEFAULT):
        # Judged in full before the first use makes the collection.
        check_dimension(body.embedding, len(body.embedding) or DEFAULT_DIMENSION)
        wrong = points.fault(simple_batch(point, len(body.embedding)), [0], "cosine")
        if wrong is not None:
            raise wrong
        with contextlib.suppress(ConflictError):
            collections.collection_create(name=DEFAULT, dimension=len(body.embedding))

    def work(collection):
        check_dimension(body.embedding, collection.dimension)
        batch = simple_batch(point, collection.dimension)
        return database.pool().call(
            lambda connection: points.points_upsert(connection, collection, namespace="", batch=batch)
        )

    collections.working_on(DEFAULT, work)
    metadata = bytes(body.metadata)
    return answer(
        {
            "id": point.id,
            "content": body.content,
            "metadata": orjson.Fragment(metadata if metadata[:1] == b"{" else b"{}"),
        },
        201,
        (("Location", f"{PREFIX}/{point.id}"),),
    )


def check_dimension(embedding: list[float], dimension: int) -> None:
    if len(embedding) != dimension:
        raise vectors.wrong_dimension(len(embedding), dimension, "embedding")
    if dimension > vectors.DIMENSION_MOST:
        raise InvalidError(
            f"A vector has up to {vectors.DIMENSION_MOST} dimensions.", code="out_of_range", field="embedding"
        )


def simple_batch(point, dimension: int):
    """A batch of one point whose parts are called as upstream calls them."""
    vectors.pack(point.vector, dimension, "embedding")
    batch = points.batch_from_points([point], dimension)
    batch.places = lambda at: {
        "vector": "embedding",
        "metadata": "metadata",
        "content": "content",
        "id": "id",
    }
    points.prepared(batch)
    return batch


def simple_search(request: Request) -> Response:
    body = bodies.decode(bodies.SimpleSearch, request.body)
    if body.limit > settings.VECTORS["max_top_k"]:
        raise InvalidError(f"limit is between 1 and {settings.VECTORS['max_top_k']}.", field="limit")

    def work(collection):
        packed = vectors.pack(body.query_vector, collection.dimension, "query_vector")
        vectors.check(packed, collection.metric, "query_vector")
        return database.pool().call(
            lambda connection: search.points_query(
                connection,
                collection,
                packed=packed,
                top_k=body.limit,
                include=("content", "metadata"),
                score_threshold=body.threshold,
            )
        )

    try:
        found = collections.working_on(DEFAULT, work)["matches"]
    except NotFoundError:
        found = []
    return answer({"results": found, "count": len(found)})


def simple_get(request: Request, point_id: str) -> Response:
    found = on_points(
        DEFAULT, points.points_fetch, namespace="", ids=[point_id], include=("content", "metadata", "vector")
    )
    if not found["points"]:
        raise NotFoundError(f"There is no vector {point_id[:100]!r}.", code="unknown_point")
    point = found["points"][0]
    return answer(
        {
            "id": point["id"],
            "embedding": point["vector"],
            "content": point["content"],
            "metadata": point["metadata"],
        }
    )


def simple_delete(request: Request, point_id: str) -> Response:
    if not on_points(DEFAULT, points.points_delete, namespace="", ids=[point_id]):
        raise NotFoundError(f"There is no vector {point_id[:100]!r}.", code="unknown_point")
    return Response(204, b"")


VIEWER, OPERATOR, ADMIN = "viewer", "operator", "admin"
# By the path's parts below /api/v1/vectors; `{}` is any one part.
ROUTES: dict[tuple[str, ...], dict[str, Route]] = {
    (): {"POST": Route("simple_add", OPERATOR, simple_add)},
    ("search",): {"POST": Route("simple_search", VIEWER, simple_search)},
    ("collections",): {
        "GET": Route("collections_list", VIEWER, collections_list),
        "POST": Route("collections_create", OPERATOR, collections_create),
    },
    ("collections", "{}"): {
        "GET": Route("collections_get", VIEWER, collections_get),
        "PATCH": Route("collections_update", OPERATOR, collections_update),
        "DELETE": Route("collections_delete", OPERATOR, collections_delete),
    },
    ("collections", "{}", "stats"): {"GET": Route("collections_stats", VIEWER, collections_stats)},
    ("collections", "{}", "index"): {
        "GET": Route("index_get", VIEWER, index_get),
        "POST": Route("index_build", OPERATOR, index_build),
        "DELETE": Route("index_delete", OPERATOR, index_delete),
    },
    ("collections", "{}", "points"): {"POST": Route("upsert", OPERATOR, points_upsert)},
    ("collections", "{}", "query"): {"POST": Route("query", VIEWER, points_query)},
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
    ("jobs",): {"GET": Route("jobs_list", VIEWER, jobs_list)},
    ("jobs", "{}"): {"GET": Route("jobs_get", VIEWER, jobs_get)},
    ("api-keys",): {
        "GET": Route("keys_list", ADMIN, keys_list),
        "POST": Route("keys_create", ADMIN, keys_create),
    },
    ("api-keys", "{}"): {"DELETE": Route("keys_delete", ADMIN, keys_delete)},
    ("{}",): {
        "GET": Route("simple_get", VIEWER, simple_get),
        "DELETE": Route("simple_delete", OPERATOR, simple_delete),
    },
}
# Calls that take NDJSON as it comes.
STREAMED = ("upsert",)
UNMATCHED = Route("unmatched", VIEWER, None)


def route(method: str, path: str) -> tuple[Route, tuple[str, ...]]:
    """The route of a path below /api/v1/vectors (with or without a slash at its end), and its parameters."""
    rest = path.strip("/")
    parts = tuple(rest.split("/")) if rest else ()
    arguments: tuple[str, ...] = ()
    found = ROUTES.get(parts)
    if found is None and parts and len(parts) <= 3:
        if parts[0] in ("collections", "jobs", "api-keys"):
            found, arguments = ROUTES.get((parts[0], "{}", *parts[2:])), parts[1:2]
        elif len(parts) == 1:
            found, arguments = ROUTES["{}",], parts
    if found is None:
        raise NotFoundError("There is no such address; see docs/api.md.", code="unknown_address")
    handler = found.get(method)
    if handler is None:
        allowed = ", ".join(found)
        raise bodies.MethodNotAllowedError(f"This address takes {allowed}.", allow=allowed)
    if arguments and "%" in arguments[0]:
        arguments = (unquote(arguments[0]),)
    return handler, arguments


def problem(error: ProblemError, request_id: str) -> Response:
    """The one shape of errors, with the headers that belong to its status."""
    headers = [PROBLEM]
    if error.retry_after_seconds is not None:
        headers.append(("Retry-After", str(error.retry_after_seconds)))
    if error.status == 401:
        headers.append(("WWW-Authenticate", "Bearer"))
    if "allow" in error.extra:
        headers.append(("Allow", error.extra["allow"]))
    for item in error.errors:
        item["field"] = item["field"].encode("utf-8", "replace").decode()[:300]
    return Response(error.status, orjson.dumps(error.as_dict(request_id)), tuple(headers))
