"""The dialects as Django views; mounted by `vectors/compat/urls.py` under any prefix."""

import logging

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from controlplane.errors import ProblemError
from vectors import auth, limits, views
from vectors.compat import dialects, pinecone_data, qdrant_points

log = logging.getLogger("vectors.api")


class InternalError(ProblemError):
    """A defect of this server; its log has the cause under this request_id."""

    status = 500
    code = "internal"


def root_url(request: HttpRequest, rest: str) -> str:
    """The address of the dialect's root, as the client that asked sees it.

    A proxy in between says with X-Forwarded-* what the client called; only the asker reads the answer.
    """
    scheme = request.headers.get("X-Forwarded-Proto", request.scheme)
    host = request.headers.get("X-Forwarded-Host") or request.headers.get("Host") or "localhost"
    path = request.path[: len(request.path) - len(rest)].rstrip("/")
    return f"{scheme}://{host}{request.headers.get('X-Forwarded-Prefix', '').rstrip('/')}{path}"


def serve(dialect: dialects.Dialect, request: HttpRequest, rest: str) -> HttpResponse:
    """Authenticate, find the call, answer in the dialect's words."""
    request_id = views.request_id_of(request)
    try:
        principal = views.principal_of(request)
        handler, arguments = dialect.route(request.method, rest)
        auth.require(principal, handler.role)
        asked = dialects.Request(
            request.method,
            request.path,
            request.META.get("QUERY_STRING", ""),
            views.body_of(request),
            principal,
            root_url(request, rest),
        )
        with limits.timeout(request.headers.get("X-Timeout-Ms")):
            response = handler.call(asked, *arguments)
    except ProblemError as error:
        response = dialect.problem(error, request_id)
    except Exception:
        log.exception("request %s %s %s failed", request_id, request.method, request.path)
        response = dialect.problem(InternalError(), request_id)
    answer = HttpResponse(response.body, status=response.status, content_type="application/json")
    for key, value in (*getattr(request, "rate_headers", ()), *response.headers):
        answer[key] = value
    answer["X-Request-Id"] = request_id
    return answer


@csrf_exempt
def serve_pinecone(request: HttpRequest, rest: str | None = None) -> HttpResponse:
    """Pinecone's control plane, and below indexes/<name> its data plane."""
    return serve(pinecone_data.dialect, request, rest or "")


@csrf_exempt
def serve_qdrant(request: HttpRequest, rest: str | None = None) -> HttpResponse:
    """Qdrant's REST API."""
    return serve(qdrant_points.dialect, request, rest or "")
