"""Calls on aliases."""

from vectors import aliases, bodies, points
from vectors.calls.base import OPERATOR, VIEWER, Request, Response, Route, answer, limit_of


def aliases_list(request: Request) -> Response:
    parameters = request.parameters("limit", "cursor")
    after = points.cursor_decode(parameters["cursor"])[0] if parameters.get("cursor") else ""
    items, last = aliases.alias_list(limit=limit_of(parameters), after=after)
    return answer({"items": items, "next_cursor": points.cursor_encode(last, "") if last else None})


def aliases_get(request: Request, alias: str) -> Response:
    return answer(aliases.alias_get(alias))


def aliases_put(request: Request, alias: str) -> Response:
    body = bodies.decode(bodies.AliasPut, request.body)
    return answer(aliases.alias_put(alias=alias, collection=body.collection))


def aliases_delete(request: Request, alias: str) -> Response:
    aliases.alias_delete(alias=alias)
    return Response(204, b"")


ROUTES = {
    ("aliases",): {"GET": Route("aliases_list", VIEWER, aliases_list)},
    ("aliases", "{}"): {
        "GET": Route("aliases_get", VIEWER, aliases_get),
        "PUT": Route("aliases_put", OPERATOR, aliases_put),
        "DELETE": Route("aliases_delete", OPERATOR, aliases_delete),
    },
}
