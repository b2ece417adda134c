"""Qdrant's calls on points. Scores are the vendor's: Cosine similarity, Dot product, Euclid distance."""

import msgspec
import orjson
from django.conf import settings

from controlplane.errors import InvalidError, NotFoundError
from vectors import (
    batches,
    bodies,
    clauses,
    collections,
    database,
    narrowing,
    points,
    search,
    updates,
    upserts,
)
from vectors.calls.base import OPERATOR, on_points, within_batch
from vectors.clauses import Clause, IdRange, Ids
from vectors.compat import qdrant_bodies as shapes
from vectors.compat import qdrant_filters as filters
from vectors.compat.dialects import NotServedError, Request
from vectors.compat.qdrant import NAMED, answering, completed, dialect

NAMESPACE = ""
SHARDS = "Shard keys are not served."
SCROLL_MOST = 10_000


def one_vector(given, field: str) -> list[float]:
    """The dense vector, which may go by the empty name; NotServedError for others."""
    if isinstance(given, dict) and set(given) == {""}:
        given = given[""]
    if not isinstance(given, list) or any(isinstance(item, list) for item in given):
        raise NotServedError(NAMED, field=field)
    return given


class Wanted:
    """What is wanted of each point: with_payload and with_vector."""

    def __init__(self, payload, vector, default: bool):
        self.names: list[str] | None = None
        self.without = False
        if payload is None:
            payload = default
        if isinstance(payload, dict) and len(payload) == 1 and set(payload) <= {"include", "exclude"}:
            self.without = "exclude" in payload
            payload = next(iter(payload.values()))
        if isinstance(payload, list) and all(isinstance(name, str) for name in payload):
            self.names = payload
        elif not isinstance(payload, bool):
            raise InvalidError(
                "with_payload is true, false, a list of fields, or include or exclude.", field="with_payload"
            )
        self.payload = bool(payload) or self.names is not None
        if not isinstance(vector, bool | None) and vector not in ([""], []):
            raise NotServedError(NAMED, field="with_vector")
        self.vector = bool(vector)
        self.include = ("metadata",) * self.payload + ("vector",) * self.vector

    def record(self, point: dict) -> dict:
        """A point in the vendor's shape."""
        made = {"id": filters.id_value(point["id"])}
        if self.payload:
            made["payload"] = point["metadata"]
            if self.names is not None:
                made["payload"] = self.chosen(orjson.loads(orjson.dumps(point["metadata"])))
        if self.vector:
            made["vector"] = point["vector"]
        return made

    def chosen(self, payload: dict) -> dict:
        """The payload with the keys wanted, or without them; a dot goes into an object."""
        if self.without:
            for name in self.names:
                *parents, last = name.split(".")
                place = payload
                for parent in parents:
                    place = place.get(parent) if isinstance(place, dict) else None
                if isinstance(place, dict):
                    place.pop(last, None)
            return payload
        made: dict = {}
        for name in self.names:
            *parents, last = name.split(".")
            source, target = payload, made
            for parent in parents:
                source = source.get(parent) if isinstance(source, dict) else None
            if isinstance(source, dict) and last in source:
                for parent in parents:
                    target = target.setdefault(parent, {})
                target[last] = source[last]
        return made


def selected(body: shapes.Select) -> Clause | None:
    """The clause of points by ids or by a filter; None for all of them."""
    dialect.refuse(shard_key=(body.shard_key, SHARDS))
    if (body.points is None) == (body.filter is None):
        raise InvalidError("Send one of points and filter.", code="required", field="points")
    if body.points is None:
        return filters.compile(body.filter)
    within_batch(body.points)
    return Ids(tuple(filters.id_given(item, f"points[{at}]") for at, item in enumerate(body.points)))


# Writing


def stored_points(body: shapes.Upsert) -> list[shapes.Stored]:
    """The points of either form of an upsert."""
    dialect.refuse(
        shard_key=(body.shard_key, SHARDS),
        update_filter=(body.update_filter, "Conditional upserts are not served."),
    )
    if (body.points is None) == (body.batch is None):
        raise InvalidError("Send one of points and batch.", code="required", field="points")
    if body.points is not None:
        found = [(point.id, point.vector, point.payload) for point in body.points]
    else:
        given = one_vectors(body.batch.vectors)
        payloads = body.batch.payloads or [msgspec.Raw(b"")] * len(given)
        if not len(body.batch.ids) == len(given) == len(payloads):
            raise InvalidError("Send as many ids as vectors and payloads.", field="batch")
        found = list(zip(body.batch.ids, given, payloads, strict=True))
    within_batch(found)
    return [
        shapes.Stored(
            filters.id_text(point_id, f"points[{at}].id"), one_vector(vector, f"points[{at}].vector"), payload
        )
        for at, (point_id, vector, payload) in enumerate(found)
    ]


def one_vectors(given) -> list:
    """The dense vectors of a batch, which may go by the empty name."""
    if isinstance(given, dict) and set(given) == {""}:
        given = given[""]
    if not isinstance(given, list):
        raise NotServedError(NAMED, field="batch.vectors")
    return given


def upsert(name: str, body: shapes.Upsert) -> dict:
    found = stored_points(body)

    def work(collection):
        try:
            batch = batches.batch_from_points(found, collection.dimension, collection.form)
            return database.pool().call(
                lambda connection: upserts.points_upsert(
                    connection, collection, namespace=NAMESPACE, batch=batch
                )
            )
        except TypeError:
            raise InvalidError("A vector is a list of numbers.", field="points") from None
        except InvalidError as error:
            for item in error.errors:
                item["field"] = item["field"].replace("].metadata", "].payload")
            raise

    collections.working_on(name, work)
    return completed()


def delete(name: str, body: shapes.Select) -> dict:
    on_points(name, narrowing.points_delete, namespace=NAMESPACE, filter=selected(body))
    return completed()


def change_payload(name: str, body: shapes.Select, change: updates.MetadataChange) -> dict:
    on_points(
        name,
        narrowing.points_update_metadata,
        namespace=NAMESPACE,
        select=selected(body),
        change=change,
        field="payload",
    )
    return completed()


def set_payload(name: str, body: shapes.SetPayload) -> dict:
    dialect.refuse(key=(body.key, "Setting below a key is not served: send the payload's top-level fields."))
    return change_payload(name, body, updates.MetadataChange(bytes(body.payload)))


def overwrite_payload(name: str, body: shapes.SetPayload) -> dict:
    dialect.refuse(key=(body.key, "Overwriting below a key is not served: send the whole payload."))
    return change_payload(name, body, updates.MetadataChange(bytes(body.payload), replace=True))


def delete_payload(name: str, body: shapes.DeletePayload) -> dict:
    if not 1 <= len(body.keys) <= 1000 or not all(body.keys):
        raise InvalidError("keys holds 1 to 1000 names.", field="keys")
    paths = tuple(tuple(key.split(".")) for key in body.keys)
    return change_payload(name, body, updates.MetadataChange(remove=paths))


def clear_payload(name: str, body: shapes.Select) -> dict:
    return change_payload(name, body, updates.MetadataChange(b"{}", replace=True))


def update_vectors(name: str, body: shapes.UpdateVectors) -> dict:
    dialect.refuse(
        shard_key=(body.shard_key, SHARDS),
        update_filter=(body.update_filter, "Conditional updates are not served."),
    )
    within_batch(body.points)

    def work(collection):
        packed = {}
        for at, point in enumerate(body.points):
            field = f"points[{at}].vector"
            packed[filters.id_given(point.id, f"points[{at}].id")] = collection.form.pack(
                one_vector(point.vector, field), collection.dimension, field
            )

        def run(connection):
            with connection.db.transaction():
                missing = updates.points_update_vectors(
                    connection, collection, namespace=NAMESPACE, packed=packed, field="points"
                )
                if missing:
                    raise NotFoundError(f"No point with id {missing[0][:100]} found.", code="unknown_point")

        database.pool().call(run)

    collections.working_on(name, work)
    return completed()


# By the name that a batch of operations gives each: the body, the function.
CHANGES = {
    "upsert": (shapes.Upsert, upsert),
    "delete": (shapes.Select, delete),
    "set_payload": (shapes.SetPayload, set_payload),
    "overwrite_payload": (shapes.SetPayload, overwrite_payload),
    "delete_payload": (shapes.DeletePayload, delete_payload),
    "clear_payload": (shapes.Select, clear_payload),
    "update_vectors": (shapes.UpdateVectors, update_vectors),
}
for _method, _address, _change in (
    ("PUT", "points", "upsert"),
    ("POST", "points/delete", "delete"),
    ("POST", "points/payload", "set_payload"),
    ("PUT", "points/payload", "overwrite_payload"),
    ("POST", "points/payload/delete", "delete_payload"),
    ("POST", "points/payload/clear", "clear_payload"),
    ("PUT", "points/vectors", "update_vectors"),
):

    def _call(request: Request, name: str, change: str = _change) -> dict:
        shape, function = CHANGES[change]
        return function(name, bodies.decode(shape, request.body))

    answering(_method, f"collections/{{}}/{_address}", OPERATOR)(_call)


@answering("POST", "collections/{}/points/batch", OPERATOR)
def batch_update(request: Request, name: str) -> list[dict]:
    """One change after the other; those before one that fails stay, as with the vendor."""
    body = bodies.decode(shapes.Operations, request.body)
    results = []
    for at, operation in enumerate(body.operations):
        given = [change for change in operation.NAMES if getattr(operation, change) is not None]
        if len(given) != 1 or given[0] not in CHANGES:
            raise NotServedError(f"An operation is one of {', '.join(CHANGES)}.", field=f"operations[{at}]")
        results.append(CHANGES[given[0]][1](name, getattr(operation, given[0])))
    return results


# Reading


def fetched(name: str, ids: list[str], include) -> list[dict]:
    return on_points(name, points.points_fetch, namespace=NAMESPACE, ids=ids, include=include)["points"]


@answering("POST", "collections/{}/points")
def retrieve(request: Request, name: str) -> list[dict]:
    body = bodies.decode(shapes.Retrieve, request.body)
    dialect.refuse(shard_key=(body.shard_key, SHARDS))
    within_batch(body.ids)
    wanted = Wanted(body.with_payload, body.with_vector, True)
    ids = [filters.id_given(item, f"ids[{at}]") for at, item in enumerate(body.ids)]
    return [wanted.record(point) for point in fetched(name, ids, wanted.include)]


@answering("GET", "collections/{}/points/{}")
def retrieve_one(request: Request, name: str, point_id: str) -> dict:
    wanted = Wanted(True, True, True)
    found = fetched(name, [filters.id_given(point_id, "id")], wanted.include)
    if not found:
        raise NotFoundError(f"Point with id {point_id[:100]} does not exist.", code="unknown_point")
    return wanted.record(found[0])


@answering("POST", "collections/{}/points/scroll")
def scroll(request: Request, name: str) -> dict:
    body = bodies.decode(shapes.Scroll, request.body or b"{}")
    dialect.refuse(
        shard_key=(body.shard_key, SHARDS),
        order_by=(body.order_by, "Ordering by a payload field is not served."),
    )
    wanted = Wanted(body.with_payload, body.with_vector, True)
    limit = body.limit or 10
    if limit > SCROLL_MOST:
        raise InvalidError(f"limit is between 1 and {SCROLL_MOST}.", field="limit")
    parts = [filters.compile(body.filter)]
    if body.offset is not None:
        parts.append(IdRange(filters.id_given(body.offset, "offset")))
    found = page_of(name, clauses.every(parts), limit + 1, wanted)
    return {
        "points": [wanted.record(point) for point in found[:limit]],
        "next_page_offset": filters.id_value(found[limit]["id"]) if len(found) > limit else None,
    }


def page_of(name: str, clause: Clause | None, limit: int, wanted: Wanted) -> list[dict]:
    """The first points that a clause selects, by id."""
    return on_points(
        name,
        points.points_scroll,
        namespace=NAMESPACE,
        filter=clause,
        limit=limit,
        cursor=None,
        include=wanted.include,
    )["points"]


@answering("POST", "collections/{}/points/count")
def count(request: Request, name: str) -> dict:
    body = bodies.decode(shapes.Count, request.body or b"{}")
    dialect.refuse(shard_key=(body.shard_key, SHARDS))
    clause = filters.compile(body.filter)
    return {"count": on_points(name, narrowing.points_count, namespace=NAMESPACE, filter=clause)}


class Nearest:
    """What a query asks to be near to: a vector, a point, or points to be like and unlike."""

    def __init__(self, query):
        self.vector: list[float] | None = None
        self.ids: list[str] = []
        if isinstance(query, dict) and "nearest" in query:
            if query.get("mmr") is not None:
                raise NotServedError("mmr is not served.", field="query.mmr")
            query = query["nearest"]
        if isinstance(query, dict) and set(query) != {""}:
            raise NotServedError(
                f"A query is a vector or the id of a point; {', '.join(query)[:60]} is not served.",
                field="query",
            )
        if isinstance(query, int | str) and not isinstance(query, bool):
            self.ids = [filters.id_given(query, "query")]
        else:
            self.vector = one_vector(query, "query")

    def packed(self, connection, collection) -> bytes:
        """The vector to search with; NotFoundError for an unknown point."""
        if self.ids:
            return points.point_vector(connection, collection, namespace=NAMESPACE, point_id=self.ids[0])
        if not all(isinstance(item, int | float) and not isinstance(item, bool) for item in self.vector):
            raise InvalidError("A vector is a list of numbers.", field="query")
        packed = collection.form.pack(self.vector, collection.dimension, "query")
        collection.form.check(packed, collection.metric, "query")
        return packed


def queried(name: str, body: shapes.Query) -> dict:
    """{points} of one query."""
    dialect.refuse(
        prefetch=(body.prefetch, "Queries in stages (prefetch, fusion) are not served: send one query."),
        using=(body.using, NAMED),
        lookup_from=(body.lookup_from, "Vectors of another collection cannot be looked up here."),
        shard_key=(body.shard_key, SHARDS),
    )
    limit, offset = body.limit or 10, body.offset or 0
    if limit + offset > settings.VECTORS["max_top_k"]:
        raise InvalidError(
            f"limit and offset together are up to {settings.VECTORS['max_top_k']}.", field="limit"
        )
    wanted = Wanted(body.with_payload, body.with_vector, False)
    clause = filters.compile(body.filter)
    if body.query is None:
        found = [point | {"score": 0.0} for point in page_of(name, clause, limit + offset, wanted)]
    else:
        found = nearest(name, body, clause, limit + offset, wanted)
    scored = [wanted.record(point) | {"version": 0, "score": point["score"]} for point in found[offset:]]
    return {"points": scored}


def nearest(name: str, body: shapes.Query, clause: Clause | None, top_k: int, wanted: Wanted) -> list[dict]:
    """The matches of a query with a vector or a point; the point itself is no match of it."""
    near = Nearest(body.query)
    if near.ids:
        clause = clauses.every([clause, clauses.negated(Ids(tuple(near.ids)))])

    def work(collection):
        def run(connection):
            return search.points_query(
                connection,
                collection,
                packed=near.packed(connection, collection),
                top_k=top_k,
                namespace=NAMESPACE,
                filter=clause,
                include=wanted.include,
                exact=bool(body.params and body.params.exact),
                score_threshold=body.score_threshold,
            )

        return database.pool().call(run)["matches"]

    return collections.working_on(name, work)


@answering("POST", "collections/{}/points/query")
def query(request: Request, name: str) -> dict:
    return queried(name, bodies.decode(shapes.Query, request.body))


@answering("POST", "collections/{}/points/query/batch")
def query_batch(request: Request, name: str) -> list[dict]:
    body = bodies.decode(shapes.Queries, request.body)
    within_batch(body.searches)
    return [queried(name, one) for one in body.searches]
