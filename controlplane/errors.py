"""One tree of errors and their one shape: RFC 9457 problem details.

Importable without Django apps, so that role `api` answers in the same shape as the control plane.
"""

from http import HTTPStatus


class ProblemError(Exception):
    """The request cannot be done."""

    status = 400
    code = "bad_request"
    title = ""
    # What is told when nothing better is known: whole seconds until another try makes sense.
    retry_after_seconds: int | None = None

    def __init__(
        self,
        detail: str = "",
        *,
        code: str = "",
        field: str = "",
        errors: list[dict] | None = None,
        retry_after_seconds: int | None = None,
        **extra,
    ):
        self.detail = detail or (self.__doc__ or "").strip().splitlines()[0]
        self.code = code or type(self).code
        self.errors = errors if errors is not None else []
        if field and not self.errors:
            self.errors = [{"field": field, "code": self.code, "message": self.detail}]
        if retry_after_seconds is not None:
            self.retry_after_seconds = retry_after_seconds
        self.extra = extra
        super().__init__(self.detail)

    def as_dict(self, request_id: str = "") -> dict:
        """The body of the answer: {type, title, status, detail, code, errors, request_id}.

        What may be tried again has `retry_after` too: the seconds of its Retry-After header.
        """
        body = {
            "type": f"urn:aindusdb:problem:{self.code}",
            "title": self.title or HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "errors": self.errors,
            "request_id": request_id,
        }
        if self.retry_after_seconds is not None:
            body["retry_after"] = body["retry_after_seconds"] = self.retry_after_seconds
        return body | self.extra


class InvalidError(ProblemError):
    """Some values are not valid."""

    status = 422
    code = "invalid"


class UnauthenticatedError(ProblemError):
    """No valid credentials: send `Authorization: Bearer` with an API key."""

    status = 401
    code = "unauthenticated"


class ForbiddenError(ProblemError):
    """Your role does not allow this."""

    status = 403
    code = "forbidden"


class NotFoundError(ProblemError):
    """There is no such thing, or you may not see it."""

    status = 404
    code = "not_found"


class ConflictError(ProblemError):
    """The present state does not allow this."""

    status = 409
    code = "conflict"


class PreconditionFailedError(ProblemError):
    """This changed since you read it; read it again and decide anew."""

    status = 412
    code = "precondition_failed"


class TooLargeError(ProblemError):
    """The request is larger than this server takes."""

    status = 413
    code = "too_large"


class UnsupportedMediaTypeError(ProblemError):
    """Send the file itself as the body, not a form that holds it."""

    status = 415
    code = "unsupported_media_type"


class TooManyRequestsError(ProblemError):
    """Too many requests; try again later."""

    status = 429
    code = "too_many_requests"
    retry_after_seconds = 1


class UnavailableError(ProblemError):
    """A part this depends on does not answer; try again later."""

    status = 503
    code = "unavailable"
    retry_after_seconds = 1


class InternalError(ProblemError):
    """Something went wrong here; the server's log tells more under this request id."""

    status = 500
    code = "internal"
