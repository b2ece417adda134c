"""Calls on the target's own API keys."""

from vectors import auth, bodies
from vectors.calls.base import ADMIN, Request, Response, Route, answer


def keys_create(request: Request) -> Response:
    body = bodies.decode(bodies.ApiKeyCreate, request.body)
    return answer(auth.key_create(name=body.name, role=body.role, expires_at=body.expires_at), 201)


def keys_list(request: Request) -> Response:
    return answer({"items": auth.key_list(), "next_cursor": None})


def keys_delete(request: Request, key: str) -> Response:
    auth.key_delete(key)
    return Response(204, b"")


ROUTES = {
    ("api-keys",): {
        "GET": Route("keys_list", ADMIN, keys_list),
        "POST": Route("keys_create", ADMIN, keys_create),
    },
    ("api-keys", "{}"): {"DELETE": Route("keys_delete", ADMIN, keys_delete)},
}
