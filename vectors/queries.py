"""The query call: what a body asks for, checked, resolved against its collection, and run.

A call holds one query or several. Several run one after the other on one connection, in the order sent.
"""

import math
import struct
import zlib

import msgspec
from django.conf import settings

from controlplane.errors import InvalidError, ProblemError
from vectors import (
    bodies,
    clauses,
    collections,
    database,
    filters,
    groups,
    hybrid,
    points,
    recommending,
    search,
    text,
    widths,
)
from vectors.search import Place

QUERIES_MOST = 100
ALONE = bodies.Query()
DEFAULT_FUSION = bodies.Fusion()
# A cursor: the distance, how many matches there were, the query's mark; the id's bytes follow.
CURSOR = struct.Struct(">dQI")


def answered(name: str, body: bodies.Query) -> dict:
    """The answer of a query, or {answers} of several in the order asked."""
    if body.queries is None:
        return run_all(name, (body,), ("",))[0] if body.group_by is None else grouped(name, body)
    for field in bodies.Query.__struct_fields__:
        if field != "queries" and getattr(body, field) != getattr(ALONE, field):
            raise InvalidError(f"With queries, {field} belongs into each of them.", field=field)
    if not 1 <= len(body.queries) <= QUERIES_MOST:
        raise InvalidError(f"queries holds 1 to {QUERIES_MOST} queries.", field="queries")
    if sum(query.top_k for query in body.queries) > settings.VECTORS["max_top_k"]:
        raise InvalidError(
            f"The top_k of all queries of a call are together up to {settings.VECTORS['max_top_k']}.",
            field="queries",
        )
    places = [f"queries[{at}]." for at in range(len(body.queries))]
    return {"answers": run_all(name, body.queries, places)}


def grouped(name: str, body: bodies.Query) -> dict:
    """The answer of a query whose matches are grouped."""
    check(body, "")
    if body.text is not None:
        raise InvalidError("Groups are by vector alone: leave text or group_by out.", field="text")
    if body.cursor is not None:
        raise InvalidError("Groups have no pages: raise top_k.", field="cursor")
    if body.top_k * body.group_size > settings.VECTORS["max_top_k"]:
        raise InvalidError(
            f"top_k times group_size is up to {settings.VECTORS['max_top_k']}.", field="group_size"
        )
    filters.path(body.group_by, "group_by")

    def work(collection):
        packed = vector_of(body, collection, "") if body.id is None else None

        def run(connection):
            return groups.points_query_groups(
                connection,
                collection,
                packed=packed
                or points.point_vector(connection, collection, namespace=body.namespace, point_id=body.id),
                path=body.group_by.split("."),
                group_size=body.group_size,
                **options_of(body),
            )

        return database.pool().call(run)

    return collections.working_on(name, work)


def recommended(name: str, body: bodies.Recommend) -> dict:
    """The points nearest to the positive examples and away from the negative ones, but for the examples."""
    check_options(body, "")
    examples = (*body.positive, *body.negative)
    if len(examples) > recommending.EXAMPLES_MOST:
        raise InvalidError(
            f"positive and negative hold together up to {recommending.EXAMPLES_MOST} ids.",
            code="too_large",
            field="positive",
        )
    others = clauses.negated(clauses.Ids(examples))
    chosen = others if body.filter is None else clauses.every([clauses.clause_of(body.filter), others])

    def work(collection):
        def run(connection):
            packed = recommending.examples_vector(
                connection,
                collection,
                namespace=body.namespace,
                positive=body.positive,
                negative=body.negative,
            )
            options = options_of(body) | {"filter": chosen}
            return search.points_query(connection, collection, packed=packed, **options)

        return database.pool().call(run)

    found = collections.working_on(name, work)
    del found["last"]
    return found


def options_of(query) -> dict:
    """What the services take of a call's options."""
    return {
        "top_k": query.top_k,
        "namespace": query.namespace,
        "filter": query.filter,
        "include": tuple(dict.fromkeys(query.include)),
        "exact": query.exact or query.recall == "exact",
        "recall": query.recall,
        "score_threshold": query.score_threshold,
    }


def run_all(name: str, asked, places) -> list[dict]:
    """The answers of checked queries; `places` is how each is named in errors."""
    for query, at in zip(asked, places, strict=True):
        check(query, at)

    def work(collection):
        if not collection.text_indexed and any(query.text is not None for query in asked):
            # What is remembered may be older than an index just built.
            collections.collection_forget(name)
            collection = collections.collection_get(name)
        packed = [
            vector_of(query, collection, at) if by_vector(query) and query.id is None else None
            for query, at in zip(asked, places, strict=True)
        ]

        def run(connection):
            return [
                run_one(connection, collection, query, vector, at)
                for query, vector, at in zip(asked, packed, places, strict=True)
            ]

        return database.pool().call(run)

    return collections.working_on(name, work)


def check(query: bodies.OneQuery, at: str) -> None:
    """InvalidError for what is wrong whatever the collection."""
    given = (query.vector is not None) + (query.vector_b64 is not None) + (query.id is not None)
    if given > 1 or (given == 0 and query.text is None):
        raise InvalidError(
            "Send one of vector, vector_b64 and id, or text, or both.", code="required", field=f"{at}vector"
        )
    if query.text is not None:
        text.check_query(query.text, f"{at}text")
        if query.cursor is not None:
            raise InvalidError(
                "A query with text has no pages: raise top_k, and leave cursor out.", field=f"{at}cursor"
            )
    if query.fusion is not None and (query.text is None or not given):
        raise InvalidError("fusion is of a vector and a text: send both.", field=f"{at}fusion")
    check_options(query, at)


def by_vector(query: bodies.OneQuery) -> bool:
    """Whether a query has a vector, of its own or a stored point's."""
    return query.vector is not None or query.vector_b64 is not None or query.id is not None


def check_options(query, at: str) -> None:
    """The same of the options that all calls with matches share."""
    if query.top_k > settings.VECTORS["max_top_k"]:
        raise InvalidError(f"top_k is between 1 and {settings.VECTORS['max_top_k']}.", field=f"{at}top_k")
    if "\0" in query.namespace:
        raise InvalidError("Texts must not hold the character NUL.", field=f"{at}namespace")
    if query.recall not in widths.RECALLS:
        raise InvalidError(
            'recall is 0.95, 0.99 or "exact"; leave it out for the default of about 0.99.',
            field=f"{at}recall",
        )


def vector_of(query, collection, at: str) -> bytes:
    """The vector given, packed and checked."""
    form = collection.form
    if query.vector is not None:
        packed = form.pack(query.vector, collection.dimension, f"{at}vector")
        form.check_values(query.vector, collection.metric, f"{at}vector")
        return packed
    packed = form.pack_base64(query.vector_b64, collection.dimension, f"{at}vector_b64")
    form.check(packed, collection.metric, f"{at}vector_b64")
    return packed


def run_one(connection, collection, query: bodies.OneQuery, packed: bytes | None, at: str) -> dict:
    """The answer of one query, with the cursor of its next page."""
    try:
        if query.text is not None:
            text.check_enabled(collection, "text")
        if packed is None and query.id is not None:
            packed = points.point_vector(connection, collection, namespace=query.namespace, point_id=query.id)
        if query.text is not None:
            return by_text(connection, collection, query, packed) | {"next_cursor": None}
        after = None
        if query.cursor is not None:
            after = cursor_decode(query.cursor, mark_of(collection, query, packed))
        found = search.points_query(
            connection,
            collection,
            packed=packed,
            after=after,
            **options_of(query),
        )
    except ProblemError as error:
        if at:
            for item in error.errors:
                item["field"] = f"{at}{item['field']}"
        raise
    place = found.pop("last")
    found["next_cursor"] = None
    if not found["exhausted"]:
        found["next_cursor"] = cursor_encode(*place, mark_of(collection, query, packed))
    return found


def by_text(connection, collection, query: bodies.OneQuery, packed: bytes | None) -> dict:
    """The answer of a query with text, and with a vector when there is one."""
    options = options_of(query)
    if packed is not None:
        fusion = query.fusion or DEFAULT_FUSION
        return hybrid.points_hybrid(
            connection, collection, packed=packed, words=query.text, fusion=fusion, **options
        )
    del options["exact"], options["recall"]
    return text.points_text(connection, collection, text=query.text, **options)


def mark_begun(collection, namespace: str) -> int:
    """The checksum that a mark starts from; that of the vector goes on with it."""
    return zlib.crc32(namespace.encode(), collection.id.int & 0xFFFFFFFF)


def mark_of(collection, query: bodies.OneQuery, packed: bytes) -> int:
    """A number that tells apart queries whose pages must not be mixed."""
    mark = zlib.crc32(packed, mark_begun(collection, query.namespace))
    if query.filter is not None:
        mark = zlib.crc32(msgspec.json.encode(query.filter, order="deterministic"), mark)
    return mark


def cursor_encode(distance: float, point_id: str, seen: int, mark: int) -> str:
    """The text form of a Place, for pages of the query that the mark is of."""
    return (CURSOR.pack(distance, seen, mark) + point_id.encode()).hex()


def cursor_decode(cursor: str, mark: int) -> Place:
    """The place of a cursor of the same query; InvalidError."""
    try:
        raw = bytes.fromhex(cursor)
        distance, seen, marked = CURSOR.unpack_from(raw)
        point_id = raw[CURSOR.size :].decode()
    except (ValueError, struct.error):
        marked = None
    if marked is None or "\0" in point_id or seen >= 2**53 or not math.isfinite(distance):
        raise InvalidError("This is no cursor of a former answer.", code="invalid_cursor", field="cursor")
    if marked != mark:
        raise InvalidError(
            "This cursor belongs to another query: send the vector, namespace and filter of its page.",
            code="invalid_cursor",
            field="cursor",
        )
    return Place(distance, point_id, seen)
