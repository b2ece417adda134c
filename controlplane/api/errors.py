"""Every error of the control plane's API as problem+json; nothing else makes an error body."""

import logging
from http import HTTPStatus

import orjson
from django.core import exceptions as django_exceptions
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from psycopg_pool import PoolTimeout
from rest_framework import exceptions as drf

from controlplane import ids
from controlplane.errors import (
    ForbiddenError,
    InternalError,
    InvalidError,
    NotFoundError,
    ProblemError,
    TooLargeError,
    UnauthenticatedError,
    UnavailableError,
)
from controlplane.pages import errors as pages

log = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"


def problem_answer(problem: ProblemError, request_id: str = "") -> HttpResponse:
    """The answer of a problem, with the headers that its status asks for."""
    answer = HttpResponse(
        orjson.dumps(problem.as_dict(request_id)), status=problem.status, content_type=CONTENT_TYPE
    )
    answer["Cache-Control"] = "no-store"
    for name, value in problem_headers(problem).items():
        answer[name] = value
    return answer


def problem_headers(problem: ProblemError) -> dict[str, str]:
    """Headers that go with a problem: Retry-After, WWW-Authenticate, Allow."""
    headers = {}
    if problem.retry_after_seconds is not None:
        headers["Retry-After"] = str(problem.retry_after_seconds)
    if problem.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="aindusdb"'
    if allowed := getattr(problem, "allowed_methods", None):
        headers["Allow"] = ", ".join(allowed)
    return headers


def request_id_of(request) -> str:
    """The id that RequestIdMiddleware gave, also of a request that did not come through it."""
    plain = getattr(request, "_request", request)
    if not getattr(plain, "request_id", ""):
        plain.request_id = ids.new("req")
    return plain.request_id


def exception_handler(error: Exception, context: dict) -> HttpResponse:
    """DRF's EXCEPTION_HANDLER: whatever a view raised, as its answer."""
    request = context.get("request")
    request_id = request_id_of(request) if request is not None else ""
    return problem_answer(problem_of(error, request_id), request_id)


def problem_of(error: Exception, request_id: str = "") -> ProblemError:
    """The problem that an exception is; one that is not foreseen is logged and told as `internal`."""
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, drf.ValidationError):
        return _invalid(flattened(error.detail))
    if isinstance(error, django_exceptions.ValidationError):
        messages = getattr(error, "message_dict", None) or {"": error.messages}
        return _invalid(
            [
                {"field": "" if field == "__all__" else field, "code": "invalid", "message": " ".join(texts)}
                for field, texts in messages.items()
            ]
        )
    if isinstance(error, Http404 | drf.NotFound):
        return NotFoundError()
    if isinstance(error, django_exceptions.PermissionDenied | drf.PermissionDenied):
        return ForbiddenError()
    if isinstance(error, drf.NotAuthenticated | drf.AuthenticationFailed):
        return UnauthenticatedError()
    if isinstance(error, django_exceptions.RequestDataTooBig):
        return TooLargeError()
    if isinstance(error, drf.APIException):
        return _of_drf(error)
    if isinstance(error, OperationalError | InterfaceError | PoolTimeout):
        log.warning("%s: the database did not answer: %s", request_id, error)
        return UnavailableError(
            "The database does not answer for now; try again in a moment.",
            code="database_unavailable",
            retry_after_seconds=2,
        )
    log.error("%s failed: %s", request_id, error, exc_info=error)
    return InternalError()


def _invalid(errors: list[dict]) -> InvalidError:
    first = errors[0] if errors else {"field": "", "message": ""}
    detail = f"{first['field']}: {first['message']}" if first["field"] else first["message"]
    return InvalidError(detail, errors=errors)


def _of_drf(error: drf.APIException) -> ProblemError:
    codes = {
        400: "malformed",
        405: "method_not_allowed",
        406: "not_acceptable",
        415: "unsupported_media_type",
    }
    problem = ProblemError(str(error.detail), code=codes.get(error.status_code, "bad_request"))
    problem.status = error.status_code
    if isinstance(error, drf.UnsupportedMediaType):
        problem.detail = "Send the body as application/json."
    return problem


def flattened(detail, prefix: str = "") -> list[dict]:
    """[{field, code, message}] of DRF's nested error details; fields are told as dotted paths."""
    if isinstance(detail, dict):
        found = []
        for name, inner in detail.items():
            path = prefix if name == "non_field_errors" else f"{prefix}.{name}".strip(".")
            found += flattened(inner, path)
        return found
    if isinstance(detail, list):
        found = []
        for index, inner in enumerate(detail):
            nested = isinstance(inner, dict | list)
            found += flattened(inner, f"{prefix}.{index}".strip(".") if nested else prefix)
        return found
    return [{"field": prefix, "code": getattr(detail, "code", "invalid"), "message": str(detail)}]


def is_api(request: HttpRequest) -> bool:
    """Whether errors of this address are told as problem+json."""
    return request.path.startswith("/api/")


def handler400(request, exception):
    """Django's handler for a request that is not understood."""
    if is_api(request):
        return problem_answer(ProblemError("The request is not valid."), request_id_of(request))
    return pages.bad_request(request, exception)


def handler403(request, exception):
    """Django's handler for what is not allowed."""
    if is_api(request):
        return problem_answer(ForbiddenError(), request_id_of(request))
    return pages.forbidden(request, exception)


def handler404(request, exception):
    """Django's handler for an address that leads nowhere."""
    if is_api(request):
        problem = NotFoundError(f"There is nothing at {request.path[:200]}; /api/docs/ lists every endpoint.")
        return problem_answer(problem, request_id_of(request))
    return pages.not_found(request, exception)


def handler500(request):
    """Django's handler for a failure outside of any API view."""
    if is_api(request):
        return problem_answer(InternalError(), request_id_of(request))
    return pages.server_error(request)
