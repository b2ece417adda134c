"""Pinecone's data plane, below the host `.../pinecone/indexes/<name>`.

Scores are the vendor's: cosine similarity, dot product, and for `euclidean` the squared distance.
"""

import base64
import binascii

import orjson
from django.conf import settings

from controlplane.errors import InvalidError, NotFoundError
from vectors import (
    batches,
    bodies,
    clauses,
    collections,
    database,
    namespaces,
    narrowing,
    points,
    search,
    updates,
    upserts,
)
from vectors.calls.base import OPERATOR, Response, answer, no_nul, on_points, within_batch
from vectors.clauses import Ids
from vectors.compat import pinecone_bodies as shapes
from vectors.compat.dialects import NotServedError, Request
from vectors.compat.pinecone import NAMES, dialect, missing_namespace

DEFAULT_NAMESPACE = "__default__"
LIST_MOST = 1000
SPARSE = "Sparse values are not served: send dense values alone."
# The vendor bills by these; here nothing is billed by the read.
USAGE = {"readUnits": 0}


def namespace_of(given: str | None) -> str:
    """The namespace of this API for one that a client names."""
    name = "" if given in (None, DEFAULT_NAMESPACE) else given
    no_nul(name, "namespace")
    if len(name) > points.NAMESPACE_MOST:
        raise InvalidError(f"A namespace has up to {points.NAMESPACE_MOST} characters.", field="namespace")
    return name


def page_token(text: str) -> str:
    """A token to go on after a text."""
    # Marked, so that the token of the empty text is not empty.
    return base64.urlsafe_b64encode(b">" + text.encode()).decode().rstrip("=")


def page_after(token: str | None) -> str | None:
    """The text of a token; InvalidError."""
    if not token:
        return None
    try:
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    except (binascii.Error, ValueError):
        text = ""
    if text[:1] != ">":
        raise InvalidError("This is no token of a former answer.", field="paginationToken")
    return text[1:]


def paged(found: list, limit: int, key) -> tuple[list, dict]:
    """(the page of up to `limit`, the answer's pagination) of one more than a page may hold."""
    page = found[:limit]
    return page, {"pagination": {"next": page_token(key(page[-1]))}} if len(found) > limit else {}


def record(point: dict, values: bool = True, metadata: bool = True) -> dict:
    """A point as a record; metadata that is empty is left out, as the vendor does."""
    made = {"id": point["id"], "values": point["vector"] if values else []}
    if metadata and orjson.dumps(point["metadata"]) != b"{}":
        made["metadata"] = point["metadata"]
    return made


def nonempty(filter: dict | None) -> dict | None:
    """The filter, or None for one that asks nothing."""
    return filter or None


@dialect.call("POST", "indexes/{}/vectors/upsert", OPERATOR)
def vectors_upsert(request: Request, name: str) -> Response:
    body = bodies.decode(shapes.Upsert, request.body)
    namespace = namespace_of(body.namespace)
    most = settings.VECTORS["max_batch_points"]
    if not 1 <= len(body.vectors) <= most:
        raise InvalidError(f"A batch holds 1 to {most} vectors.", code="too_large", field="vectors")
    for at, vector in enumerate(body.vectors):
        if vector.sparse_values is not None:
            raise NotServedError(SPARSE, field=f"vectors[{at}].sparseValues")
        if vector.vector is None:
            raise InvalidError("A vector has values.", code="required", field=f"vectors[{at}].values")

    def work(collection):
        try:
            batch = batches.batch_from_points(body.vectors, collection.dimension, collection.form)
            return database.pool().call(
                lambda connection: upserts.points_upsert(
                    connection, collection, namespace=namespace, batch=batch
                )
            )
        except InvalidError as error:
            for item in error.errors:
                item["field"] = item["field"].replace("points[", "vectors[").replace("].vector", "].values")
            raise

    collections.working_on(name, work)
    return answer({"upsertedCount": len(body.vectors)})


@dialect.call("POST", "indexes/{}/query")
def vectors_query(request: Request, name: str) -> Response:
    body = bodies.decode(shapes.Query, request.body)
    dialect.refuse(
        sparseVector=(body.sparse_vector, SPARSE), queries=(body.queries, "Send one query with vector or id.")
    )
    if body.top_k > settings.VECTORS["max_top_k"]:
        raise InvalidError(f"topK is between 1 and {settings.VECTORS['max_top_k']}.", field="topK")
    if bool(body.vector) == (body.id is not None):
        raise InvalidError("Send one of vector and id.", code="required", field="vector")
    namespace = namespace_of(body.namespace)
    include = ("metadata",) * body.include_metadata + ("vector",) * body.include_values

    def work(collection):
        packed = None
        if body.vector:
            packed = collection.form.pack(body.vector, collection.dimension, "vector")
            collection.form.check(packed, collection.metric, "vector")

        def run(connection):
            vector = packed
            if vector is None:
                vector = points.point_vector(connection, collection, namespace=namespace, point_id=body.id)
            return search.points_query(
                connection,
                collection,
                packed=vector,
                top_k=body.top_k,
                namespace=namespace,
                filter=nonempty(body.filter),
                include=include,
            )

        try:
            matches = database.pool().call(run)["matches"]
        except NotFoundError as error:
            if error.code != "unknown_point":
                raise
            matches = []
        if collection.metric == "l2":
            for match in matches:
                match["score"] *= match["score"]
        return matches

    matches = [
        record(match, body.include_values, body.include_metadata) | {"score": match["score"]}
        for match in collections.working_on(name, work)
    ]
    return answer({"matches": matches, "namespace": body.namespace or "", "usage": USAGE})


@dialect.call("GET", "indexes/{}/vectors/fetch")
def vectors_fetch(request: Request, name: str) -> Response:
    ids = request.lists().get("ids", [])
    if not ids:
        raise InvalidError("Send ids.", code="required", field="ids")
    within_batch(ids)
    given = request.text("namespace")
    found = on_points(
        name, points.points_fetch, namespace=namespace_of(given), ids=ids, include=("vector", "metadata")
    )
    return answer(
        {
            "vectors": {point["id"]: record(point) for point in found["points"]},
            "namespace": given,
            "usage": USAGE,
        }
    )


@dialect.call("POST", "indexes/{}/vectors/fetch_by_metadata")
def vectors_fetch_by_metadata(request: Request, name: str) -> Response:
    body = bodies.decode(shapes.FetchByMetadata, request.body)
    namespace = namespace_of(body.namespace)
    after = page_after(body.pagination_token)
    found = on_points(
        name,
        points.points_scroll,
        namespace=namespace,
        filter=nonempty(body.filter),
        limit=body.limit + 1,
        cursor=None if after is None else points.cursor_encode(namespace, after),
        include=("vector", "metadata"),
    )["points"]
    page, pagination = paged(found, body.limit, lambda point: point["id"])
    return answer(
        {
            "vectors": {point["id"]: record(point) for point in page},
            "namespace": body.namespace or "",
            "usage": USAGE,
            **pagination,
        }
    )


@dialect.call("GET", "indexes/{}/vectors/list")
def vectors_list(request: Request, name: str) -> Response:
    given, prefix = request.text("namespace"), request.text("prefix")
    namespace, limit = namespace_of(given), request.number("limit", 100, LIST_MOST)
    after = page_after(request.text("paginationToken"))
    no_nul(prefix, "prefix")
    found = on_points(
        name,
        points.points_scroll,
        namespace=namespace,
        filter=clauses.prefixed(prefix),
        limit=limit + 1,
        cursor=None if after is None else points.cursor_encode(namespace, after),
        include=(),
    )["points"]
    page, pagination = paged(found, limit, lambda point: point["id"])
    return answer(
        {"vectors": [{"id": point["id"]} for point in page], "namespace": given, "usage": USAGE, **pagination}
    )


@dialect.call("POST", "indexes/{}/vectors/update", OPERATOR)
def vectors_update(request: Request, name: str) -> Response:
    body = bodies.decode(shapes.Update, request.body)
    dialect.refuse(sparseValues=(body.sparse_values, SPARSE))
    namespace = namespace_of(body.namespace)
    if (body.id is None) == (not body.filter):
        raise InvalidError("Send one of id and filter.", code="required", field="id")
    if body.filter and body.values is not None:
        raise InvalidError("By filter only metadata can be changed.", field="values")
    if body.id is not None:
        selected = Ids((body.id,))
        no_nul(body.id, "id")
    else:
        selected = clauses.clause_of(body.filter)
    if body.dry_run:
        matched = on_points(name, narrowing.points_count, namespace=namespace, filter=selected)
        return answer({"matchedRecords": matched})
    change = None
    if bytes(body.set_metadata) not in (b"", b"null"):
        change = updates.MetadataChange(values=bytes(body.set_metadata))
        change.check("setMetadata")

    def work(collection):
        packed = None
        if body.values is not None:
            packed = {body.id: collection.form.pack(body.values, collection.dimension, "values")}

        def run(connection):
            matched = 0
            with connection.db.transaction():
                if change is not None:
                    matched = narrowing.points_update_metadata(
                        *(connection, collection),
                        namespace=namespace,
                        select=selected,
                        change=change,
                        field="setMetadata",
                    )
                if packed is not None:
                    missing = updates.points_update_vectors(
                        connection, collection, namespace=namespace, packed=packed, field="values"
                    )
                    matched = 1 - len(missing)
            return matched

        return database.pool().call(run)

    return answer({"matchedRecords": collections.working_on(name, work)})


@dialect.call("POST", "indexes/{}/vectors/delete", OPERATOR)
def vectors_delete(request: Request, name: str) -> Response:
    body = bodies.decode(shapes.Delete, request.body)
    if (body.ids is not None) + bool(body.filter) + body.delete_all != 1:
        raise InvalidError("Send one of ids, filter and deleteAll: true.", code="required", field="ids")
    within_batch(body.ids or [])
    on_points(
        name,
        narrowing.points_delete,
        namespace=namespace_of(body.namespace),
        ids=body.ids,
        filter=nonempty(body.filter),
    )
    return answer({})


@dialect.call("POST", "indexes/{}/describe_index_stats")
@dialect.call("GET", "indexes/{}/describe_index_stats")
def index_stats(request: Request, name: str) -> Response:
    body = bodies.decode(shapes.Stats, request.body or b"{}")
    counts = on_points(name, namespaces.namespaces_list, filter=nonempty(body.filter))
    found = collections.collection_get(name)
    return answer(
        {
            "namespaces": {space or DEFAULT_NAMESPACE: {"vectorCount": count} for space, count in counts},
            "dimension": found.dimension,
            "indexFullness": 0.0,
            "totalVectorCount": sum(count for _, count in counts),
            "metric": NAMES.get(found.metric, found.metric),
            "vectorType": "dense",
            "memoryFullness": 0.0,
            "storageFullness": 0.0,
        }
    )


def described_namespace(space: str, count: int) -> dict:
    return {"name": space or DEFAULT_NAMESPACE, "record_count": count}


@dialect.call("GET", "indexes/{}/namespaces")
def namespaces_page(request: Request, name: str) -> Response:
    limit, prefix = request.number("limit", 100, LIST_MOST), request.text("prefix")
    after = page_after(request.text("paginationToken"))
    no_nul(prefix + (after or ""), "prefix")
    everything = on_points(name, namespaces.namespaces_list, prefix=prefix)
    found = [item for item in everything if after is None or item[0] > after]
    page, pagination = paged(found, limit, lambda item: item[0])
    described = [described_namespace(space, count) for space, count in page]
    return answer({"namespaces": described, "total_count": len(everything), **pagination})


@dialect.call("POST", "indexes/{}/namespaces", OPERATOR)
def namespaces_create(request: Request, name: str) -> Response:
    message = "A namespace comes to be with its first vector: upsert into it."
    dialect.refuse(name=(True, message))


@dialect.call("GET", "indexes/{}/namespaces/{rest}")
def namespaces_describe(request: Request, name: str, namespace: str) -> Response:
    space = namespace_of(namespace)
    count = on_points(name, points.points_count, namespace=space, filter=None)
    if not count:
        raise missing_namespace(namespace)
    return answer(described_namespace(space, count))


@dialect.call("DELETE", "indexes/{}/namespaces/{rest}", OPERATOR)
def namespaces_delete(request: Request, name: str, namespace: str) -> Response:
    if not on_points(name, points.points_delete, namespace=namespace_of(namespace)):
        raise missing_namespace(namespace)
    return answer({})


@dialect.call("POST", "indexes/{}/records/namespaces/{}/upsert", OPERATOR)
@dialect.call("POST", "indexes/{}/records/namespaces/{}/search")
def records(request: Request, name: str, namespace: str) -> Response:
    dialect.refuse(records=(True, "No text is embedded here: upsert vectors, and query with a vector."))
