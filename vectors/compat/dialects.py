"""What the dialects share: how calls are found, requests read and errors worded."""

from typing import NamedTuple
from urllib.parse import parse_qs

import orjson

from controlplane import dialects
from controlplane.errors import InvalidError, NotFoundError, ProblemError
from vectors import bodies
from vectors.calls.base import JSON, VIEWER, Response, Route
from vectors.calls.base import Request as BaseRequest

# Stands in a pattern for one part of the path, and as the last for all that follows.
ONE, REST = "{}", "{rest}"


class NotServedError(ProblemError):
    """This server has nothing that this call could be translated to."""

    status = 400
    code = "not_served"


class Request(BaseRequest):
    """A request with the address of the dialect's root as the client sees it."""

    __slots__ = ("root_url",)

    def __init__(self, method: str, path: str, query: str, body: bytes, principal, root_url: str):
        super().__init__(method, path, query, body, principal)
        self.root_url = root_url

    def lists(self) -> dict[str, list[str]]:
        """The query string's parameters, each with all its values."""
        return parse_qs(self.query, keep_blank_values=True)

    def text(self, name: str, default: str = "") -> str:
        """The last value of a parameter."""
        return self.lists().get(name, [default])[-1]

    def number(self, name: str, default: int, most: int) -> int:
        """A parameter between 1 and `most`; InvalidError."""
        text = self.text(name)
        if not text:
            return default
        if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= most:
            raise InvalidError(f"{name} is between 1 and {most}.", field=name)
        return int(text)


class Pattern(NamedTuple):
    """An address and the method it takes."""

    method: str
    parts: tuple[str, ...]
    route: Route

    def match(self, parts: tuple[str, ...]) -> tuple[str, ...] | None:
        """The path's parameters, or None when it is another address."""
        own = self.parts
        if own and own[-1] == REST:
            if len(parts) < len(own):
                return None
            parts = (*parts[: len(own) - 1], "/".join(parts[len(own) - 1 :]))
        if len(parts) != len(own):
            return None
        if any(mine not in (ONE, REST) and mine != given for mine, given in zip(own, parts, strict=True)):
            return None
        return tuple(given for mine, given in zip(own, parts, strict=True) if mine in (ONE, REST))


class Dialect:
    """A vendor's API: its calls; its errors have the shape of that name in controlplane.dialects."""

    def __init__(self, name: str):
        self.name = name
        self.patterns: list[Pattern] = []

    def call(self, method: str, address: str, role: str = VIEWER):
        """A decorator: the function answers a method at an address, such as `collections/{}/points`."""
        parts = tuple(part for part in address.split("/") if part)

        def register(function):
            self.patterns.append(Pattern(method, parts, Route(self.name, role, function)))
            return function

        return register

    def route(self, method: str, path: str) -> tuple[Route, tuple[str, ...]]:
        """The call of a path below the dialect's root, and its parameters."""
        rest = path.strip("/")
        parts = tuple(rest.split("/")) if rest else ()
        allowed = []
        for pattern in self.patterns:
            arguments = pattern.match(parts)
            if arguments is None:
                continue
            if pattern.method == method:
                return pattern.route, arguments
            allowed.append(pattern.method)
        if allowed:
            takes = ", ".join(dict.fromkeys(allowed))
            raise bodies.MethodNotAllowedError(f"This address takes {takes}.", allow=takes)
        raise NotFoundError(
            f"{method} /{rest[:200]} is not served here; docs/api.md lists what is.", code="unknown_address"
        )

    def problem(self, error: ProblemError, request_id: str) -> Response:
        """The error in the vendor's shape."""
        body = dialects.BODIES[self.name](error, request_id)
        return Response(dialects.status_of(error), orjson.dumps(body), headers_of(error))

    def refuse(self, **given) -> None:
        """NotServedError for the first that was given: each is (value, what to say)."""
        for field, (value, message) in given.items():
            if value not in (None, [], {}, False):
                raise NotServedError(message, field=field)


def headers_of(error: ProblemError) -> tuple:
    """The headers that belong to an error's status."""
    headers = [JSON]
    if error.retry_after_seconds is not None:
        headers.append(("Retry-After", str(error.retry_after_seconds)))
    if "allow" in error.extra:
        headers.append(("Allow", error.extra["allow"]))
    return (*headers, *getattr(error, "headers", ()))


def body_of(request: Request):
    """The body as JSON values; an empty body is an empty object."""
    return bodies.decode(dict, request.body or b"{}")
