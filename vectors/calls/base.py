"""What all calls share: request, response, route, and how a service is run on a collection."""

import datetime
import re
from typing import NamedTuple
from urllib.parse import parse_qsl

import orjson
from django.conf import settings

from controlplane.errors import InvalidError
from vectors import collections, database

PREFIX = "/api/v1/vectors"
JSON = ("Content-Type", "application/json")
NDJSON = ("Content-Type", "application/x-ndjson")
PROBLEM = ("Content-Type", "application/problem+json")
REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,100}\Z")
VIEWER, OPERATOR, ADMIN = "viewer", "operator", "admin"


class Request:
    """What a call is given: the body is read by it alone, after the caller's role is known to do."""

    __slots__ = ("body", "incoming", "method", "path", "principal", "query", "read")

    def __init__(self, method: str, path: str, query: str, body: bytes, principal, read=None, incoming=None):
        self.method = method
        self.path = path
        self.query = query
        self.body = body
        self.principal = principal
        # read(size) of a body that is taken as it comes; then `body` is empty.
        self.read = read
        # read(size) of a large body of JSON; then `body` is empty.
        self.incoming = incoming

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
    # Words of media types whose bodies it reads as they come.
    takes: tuple[str, ...] = ()
    # Whether it decodes large bodies of JSON while they come.
    gradual: bool = False
    # A short way, tried first: quick(argument, body) is the JSON of the answer, or None for the long way.
    quick: object = None


def answer(value, status: int = 200, headers: tuple = ()) -> Response:
    return Response(status, orjson.dumps(value, option=orjson.OPT_UTC_Z), headers)


def limit_of(parameters: dict[str, str], most: int = 200, default: int = 50) -> int:
    text = parameters.get("limit", str(default))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:6]) <= most:
        raise InvalidError(f"limit is between 1 and {most}.", field="limit")
    return int(text)


def number_of(parameters: dict[str, str], name: str) -> int | None:
    """A cursor that is a row's number; InvalidError."""
    text = parameters.get(name)
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise InvalidError("This is no cursor of a former answer.", code="invalid_cursor", field=name)
    return int(text)


def time_of(parameters: dict[str, str], name: str) -> datetime.datetime | None:
    """A parameter that is a time with its zone; InvalidError."""
    text = parameters.get(name)
    if text is None:
        return None
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise InvalidError(
            f"{name} is a time in RFC 3339 with its zone, such as 2026-01-31T12:00:00Z.", field=name
        )
    return found


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
