"""Upstream's calls, on the collection `default`."""

import contextlib

import orjson
from django.conf import settings

from controlplane import ids
from controlplane.errors import ConflictError, InvalidError, NotFoundError
from vectors import batches, bodies, collections, database, points, search, upserts, vectors
from vectors.calls.base import OPERATOR, PREFIX, VIEWER, Request, Response, Route, answer, on_points

DEFAULT = "default"
DEFAULT_DIMENSION = 1536


def simple_add(request: Request) -> Response:
    body = bodies.decode(bodies.SimpleAdd, request.body)
    point = bodies.Point(
        id=str(ids.uuid7()), vector=body.embedding, content=body.content, metadata=body.metadata
    )
    if not collections.collection_exists(DEFAULT):
        # Judged in full before the first use makes the collection.
        check_dimension(body.embedding, len(body.embedding) or DEFAULT_DIMENSION)
        wrong = batches.fault(simple_batch(point, len(body.embedding)), [0], "cosine")
        if wrong is not None:
            raise wrong
        with contextlib.suppress(ConflictError):
            collections.collection_create(name=DEFAULT, dimension=len(body.embedding))

    def work(collection):
        check_dimension(body.embedding, collection.dimension)
        batch = simple_batch(point, collection.dimension, collection.form)
        return database.pool().call(
            lambda connection: upserts.points_upsert(connection, collection, namespace="", batch=batch)
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


def simple_batch(point, dimension: int, form=vectors):
    """A batch of one point whose parts are called as upstream calls them."""
    form.pack(point.vector, dimension, "embedding")
    batch = batches.batch_from_points([point], dimension, form)
    batch.places = lambda at: {
        "vector": "embedding",
        "metadata": "metadata",
        "content": "content",
        "id": "id",
    }
    batches.check(batch)
    return batch


def simple_search(request: Request) -> Response:
    body = bodies.decode(bodies.SimpleSearch, request.body)
    if body.limit > settings.VECTORS["max_top_k"]:
        raise InvalidError(f"limit is between 1 and {settings.VECTORS['max_top_k']}.", field="limit")

    def work(collection):
        packed = collection.form.pack(body.query_vector, collection.dimension, "query_vector")
        collection.form.check(packed, collection.metric, "query_vector")
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


ROUTES = {
    (): {"POST": Route("simple_add", OPERATOR, simple_add)},
    ("search",): {"POST": Route("simple_search", VIEWER, simple_search)},
    ("{}",): {
        "GET": Route("simple_get", VIEWER, simple_get),
        "DELETE": Route("simple_delete", OPERATOR, simple_delete),
    },
}
