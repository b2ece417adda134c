"""Calls on collections."""

import msgspec

from vectors import bodies, collections, declarations, fields, points
from vectors.calls.base import OPERATOR, PREFIX, VIEWER, Request, Response, Route, answer, limit_of


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
        declare=[options_of(field) for field in body.fields],
        language=body.text.language if body.text else None,
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
    given = None if body.fields is None else fields.checked([options_of(field) for field in body.fields])
    changed = collections.collection_update(
        name=name, auto_index=body.auto_index, index=options_of(body.index)
    )
    if given is not None or body.text is not msgspec.UNSET:
        text = None if body.text is msgspec.UNSET else (body.text.language if body.text else None,)
        changed = declarations.declarations_set(name=name, fields=given, text=text)
    return answer(collections.describe(changed))


def collections_delete(request: Request, name: str) -> Response:
    collections.collection_delete(name=name)
    return Response(204, b"")


ROUTES = {
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
}
