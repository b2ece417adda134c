"""The vector API as ordinary Django views, for the control plane's web role.

`settings.VECTORS_AUTHENTICATE` is the dotted path of a callable(request) that gives a
`vectors.auth.Principal` or raises a ProblemError; without it the target's own authentication holds.
"""

import functools
import logging
import os

import orjson
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.request import RawPostDataException
from django.middleware.csrf import CsrfViewMiddleware
from django.utils.module_loading import import_string
from django.views.decorators.csrf import csrf_exempt

from controlplane.errors import ForbiddenError, NotFoundError, ProblemError
from vectors import auth, bodies, endpoints, limits, slow
from vectors.calls.base import REQUEST_ID, Request

log = logging.getLogger("vectors.api")
# Of the web role, whose queries come here; role api does so with its own counters.
slow.recorder.configure()


def authenticate_target(request: HttpRequest) -> auth.Principal:
    """The target's own authentication: JWT or API key of this database."""
    return auth.authenticate(
        request.headers.get("Authorization"),
        request.headers.get("Api-Key"),
        settings.VECTORS["jwt_secret_key"],
        request.headers.get("X-Aindus-Token"),
    )


@functools.cache
def authenticator(path: str):
    return import_string(path) if path else authenticate_target


def request_id_of(request: HttpRequest) -> str:
    """The id that the control plane's middleware gave, the caller's, or a new one."""
    given = getattr(request, "request_id", "") or request.headers.get("X-Request-Id", "")
    return given if REQUEST_ID.match(given) else os.urandom(8).hex()


def principal_of(request: HttpRequest) -> auth.Principal:
    """Who asks, counted; credentials that a browser adds by itself need the CSRF token."""
    authenticate = authenticator(getattr(settings, "VECTORS_AUTHENTICATE", ""))
    principal = authenticate(request)
    # The target's own authentication takes nothing that a browser adds by itself.
    by_browser = "Authorization" not in request.headers and "Api-Key" not in request.headers
    if by_browser and authenticate is not authenticate_target:
        refused = CsrfViewMiddleware(lambda _: None).process_view(request, _protected, (), {})
        if refused is not None:
            raise ForbiddenError("The CSRF token is missing or wrong.", code="csrf")
    if not isinstance(principal, auth.Principal):
        principal = auth.principal_of(principal.subject, principal.role)
    if principal.limit is not None:
        request.rate_headers = limits.rates().admit(principal.limit)
    return principal


@csrf_exempt
def endpoint(request: HttpRequest, rest: str = "") -> HttpResponse:
    """Every call of the vector API."""
    request_id = request_id_of(request)
    try:
        handler, arguments = endpoints.route(request.method, rest)
        principal = principal_of(request)
        auth.require(principal, handler.role)
        streamed = any(word in (request.content_type or "") for word in handler.takes)
        asked = Request(
            request.method,
            request.path,
            request.META.get("QUERY_STRING", ""),
            b"" if streamed else body_of(request),
            principal,
            request.read if streamed else None,
        )
        with limits.timeout(request.headers.get("X-Timeout-Ms")):
            response = handler.call(asked, *arguments)
    except ProblemError as error:
        response = endpoints.problem(error, request_id)
    made, body = HttpResponse, response.body
    if not isinstance(body, bytes):
        # A request of an event loop has a scope.
        made, body = StreamingHttpResponse, (InThreads(body) if hasattr(request, "scope") else body)
    answer = made(body, status=response.status, content_type="application/json")
    for key, value in (*getattr(request, "rate_headers", ()), *response.headers):
        answer[key] = value
    answer["X-Request-Id"] = request_id
    return answer


class InThreads:
    """A streamed body for a server on an event loop: each part is made in a thread, when it is asked for."""

    def __init__(self, body):
        self.body = body

    async def __aiter__(self):
        parts = iter(self.body)
        take = sync_to_async(next, thread_sensitive=False)
        while (part := await take(parts, None)) is not None:
            yield part

    def close(self) -> None:
        self.body.close()


def _protected(request):
    """Stands for the view in the CSRF check: exempt from nothing."""


def body_of(request: HttpRequest) -> bytes:
    """The body, up to the limit, of a method that has one."""
    most = settings.VECTORS["max_body_bytes"]
    if request.method not in ("POST", "PATCH", "PUT"):
        return b""
    length = request.headers.get("Content-Length") or "0"
    if length.isdigit() and int(length) > most:
        raise bodies.too_large(most)
    try:
        # Not request.body: Django's own limit for it is that of forms.
        body = request.read(most + 1)
    except (RequestDataTooBig, RawPostDataException):
        raise bodies.too_large(most) from None
    if len(body) > most:
        raise bodies.too_large(most)
    if body and request.content_type and "json" not in request.content_type:
        raise bodies.MediaTypeError()
    return body


def not_found(request: HttpRequest, exception=None) -> HttpResponse:
    """Role api's answer to an address that is not there."""
    request_id = request_id_of(request)
    error = NotFoundError("There is no such address; see docs/api.md.", code="unknown_address")
    answer = HttpResponse(
        orjson.dumps(error.as_dict(request_id)), status=404, content_type="application/problem+json"
    )
    answer["X-Request-Id"] = request_id
    return answer
