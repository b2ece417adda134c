"""The vector API's addresses: which call answers a path, and the shape of errors.

Neither WSGI nor Django is known here: `vectors/wsgi.py` serves these raw, `vectors/views.py` as Django views.
"""

from urllib.parse import unquote

import orjson

from controlplane.errors import NotFoundError, ProblemError
from vectors import bodies
from vectors.calls import (
    aliases,
    collections,
    indexes,
    keys,
    points,
    projection,
    recall,
    simple,
    slow,
    transfer,
)
from vectors.calls.base import PROBLEM, Response, Route

# By the path's parts below /api/v1/vectors; `{}` is any one part.
ROUTES: dict[tuple[str, ...], dict[str, Route]] = {}
for _calls in (simple, collections, aliases, indexes, recall, projection, points, keys, slow, transfer):
    ROUTES |= _calls.ROUTES
# Those that a parameter follows; any other first part is an id of upstream's calls.
FIRST_PARTS = frozenset(parts[0] for parts in ROUTES if len(parts) > 1)


def route(method: str, path: str) -> tuple[Route, tuple[str, ...]]:
    """The route of a path below /api/v1/vectors (with or without a slash at its end), and its parameters."""
    rest = path.strip("/")
    parts = tuple(rest.split("/")) if rest else ()
    arguments: tuple[str, ...] = ()
    found = ROUTES.get(parts)
    if found is None and parts and len(parts) <= 3:
        if parts[0] in FIRST_PARTS:
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
    headers += getattr(error, "headers", ())
    for item in error.errors:
        item["field"] = item["field"].encode("utf-8", "replace").decode()[:300]
    return Response(error.status, orjson.dumps(error.as_dict(request_id)), tuple(headers))
