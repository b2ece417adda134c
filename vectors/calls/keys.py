"""Calls on the target's own API keys."""

import msgspec

from vectors import auth, bodies
from vectors.calls.base import ADMIN, Request, Response, Route, answer


def keys_create(request: Request) -> Response:
    body = bodies.decode(bodies.ApiKeyCreate, request.body)
    made = auth.key_create(
        name=body.name,
        role=body.role,
        expires_at=body.expires_at,
        requests_per_second=body.requests_per_second,
        burst=body.burst,
    )
    return answer(made, 201)


def keys_list(request: Request) -> Response:
    return answer({"items": auth.key_list(), "next_cursor": None})


def keys_update(request: Request, key: str) -> Response:
    body = bodies.decode(bodies.ApiKeyUpdate, request.body)
    given = {name: getattr(body, name) for name in body.__struct_fields__}
    changes = {name: value for name, value in given.items() if value is not msgspec.UNSET}
    return answer(auth.key_update(key, **changes))


def keys_delete(request: Request, key: str) -> Response:
    auth.key_delete(key)
    return Response(204, b"")


ROUTES = {
    ("api-keys",): {
        "GET": Route("keys_list", ADMIN, keys_list),
        "POST": Route("keys_create", ADMIN, keys_create),
    },
    ("api-keys", "{}"): {
        "PATCH": Route("keys_update", ADMIN, keys_update),
        "DELETE": Route("keys_delete", ADMIN, keys_delete),
    },
}
