"""What can go wrong: one tree, so that `except AindusError` catches it all.

The server's errors are problem+json (RFC 9457); `api_error` makes the exception of one, by its status.
"""

import email.utils
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class AindusError(Exception):
    """Whatever this client raises of itself."""


class NoAnswerError(AindusError):
    """No answer came: no connection, or it broke. The cause says which; a write may or may not be done."""


class DeadlineExceededError(NoAnswerError):
    """The time for the call, all its tries together, was over."""


class UnexpectedAnswerError(AindusError):
    """Something answered that is not the vector API, or broke off in the middle."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field: `points[3].vector`, a stable code, and a sentence."""

    field: str
    code: str
    message: str


class ApiError(AindusError):
    """The server's error answer.

    `status` is HTTP's; `code` is stable and for programs; `errors` names fields; `request_id` finds the
    request in the server's log; `retry_after` are the seconds until another try makes sense, or None;
    `body` is the whole problem. `rows_done` are the rows that an upload had written before, if it was one.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: tuple[FieldError, ...] = (),
        request_id: str = "",
        retry_after: float | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> None:
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = errors
        self.request_id = request_id
        self.retry_after = retry_after
        self.body = dict(body or {})
        self.rows_done: int | None = None
        super().__init__(detail)

    def __str__(self) -> str:
        known = f"{self.status} {self.code}: {self.detail}"
        if self.errors:
            fields = ", ".join(dict.fromkeys(error.field for error in self.errors if error.field))
            known += f" (at {fields})" if fields else ""
        return f"{known} [{self.request_id}]" if self.request_id else known


class BadRequestError(ApiError):
    """400: the request is not understood."""


class UnauthenticatedError(ApiError):
    """401: no valid key."""


class PermissionDeniedError(ApiError):
    """403: the key's role does not allow it."""


class NotFoundError(ApiError):
    """404: there is no such thing, or the key may not see it."""


class ConflictError(ApiError):
    """409: the present state does not allow it; `code` says which."""


class TooLargeError(ApiError):
    """413: the request is larger than the server takes."""


class InvalidError(ApiError):
    """422: values; `errors` names each field."""


class RateLimitedError(ApiError):
    """429: too much at once; `retry_after` says when to come back."""


class ServerError(ApiError):
    """5xx: the server could not do it."""


class UnavailableError(ServerError):
    """503: a part does not answer for now; `retry_after` says when to come back."""


class JobFailedError(AindusError):
    """A job that was waited for has failed or was cancelled; `job` is its last state."""

    def __init__(self, job: Any) -> None:
        self.job = job
        super().__init__(f"{job.kind} {job.id} {job.state}" + (f": {job.error}" if job.error else ""))


class LoadIncompleteError(AindusError):
    """A stream of points ended early. Lines without a result may or may not be written; send all again.

    `upserted` are the lines known to be written, None when the server did not tell.
    """

    def __init__(
        self,
        detail: str,
        *,
        upserted: int | None = None,
        code: str = "",
        retry_after: float | None = None,
    ) -> None:
        self.upserted = upserted
        self.code = code
        self.retry_after = retry_after
        super().__init__(detail)


_BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequestError,
    401: UnauthenticatedError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    413: TooLargeError,
    422: InvalidError,
    429: RateLimitedError,
    503: UnavailableError,
}


def api_error(status: int, headers: Mapping[str, str], data: bytes) -> ApiError:
    """The exception of an answer with status 400 or more; a body that is no problem is told in part."""
    try:
        body = json.loads(data)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        body = {}
    kind = _BY_STATUS.get(status, ServerError if status >= 500 else ApiError)
    detail = body.get("detail") or data[:200].decode("utf-8", "replace").strip() or "(no body)"
    errors = tuple(
        FieldError(str(item.get("field", "")), str(item.get("code", "")), str(item.get("message", "")))
        for item in body.get("errors") or ()
        if isinstance(item, dict)
    )
    return kind(
        status,
        str(body.get("code") or f"http_{status}"),
        str(detail),
        errors=errors,
        request_id=str(body.get("request_id") or headers.get("X-Request-Id", "")),
        retry_after=_wait(body.get("retry_after"), headers.get("Retry-After")),
        body=body,
    )


def problem_error(problem: Mapping[str, Any]) -> ApiError:
    """The exception of a problem that came inside an answer."""
    status = problem.get("status")
    return api_error(status if isinstance(status, int) else 500, {}, json.dumps(problem).encode())


def _wait(told: object, header: str | None) -> float | None:
    """The wait asked for: the larger of the body's and the header's, which may be a date."""
    found = [float(told)] if isinstance(told, int | float) and not isinstance(told, bool) else []
    if header is not None:
        found += seconds_of(header)
    return max(0.0, *found) if found else None


def seconds_of(header: str) -> list[float]:
    """The seconds that a Retry-After header asks for, in a list; an empty one for what is no time."""
    text = header.strip()
    if text.isascii() and text.isdigit():
        return [float(text)]
    try:
        return [email.utils.parsedate_to_datetime(text).timestamp() - time.time()]
    except (TypeError, ValueError):
        return []
