"""Errors in the words of vendors' clients: the vector API's and the gateway's, so that both are one.

A client that speaks a dialect reads no problem+json: it looks for its vendor's fields.
"""

from collections.abc import Callable

from controlplane.errors import ConflictError, ProblemError

# By status: the name in the errors of Pinecone's control plane, and the gRPC number in its data plane's.
PINECONE_CODES = {
    400: ("INVALID_ARGUMENT", 3),
    401: ("UNAUTHENTICATED", 16),
    403: ("FORBIDDEN", 7),
    404: ("NOT_FOUND", 5),
    405: ("UNIMPLEMENTED", 12),
    409: ("ALREADY_EXISTS", 6),
    413: ("INVALID_ARGUMENT", 3),
    415: ("INVALID_ARGUMENT", 3),
    429: ("RESOURCE_EXHAUSTED", 8),
    503: ("UNAVAILABLE", 14),
}


def status_of(error: ProblemError) -> int:
    """The status vendors answer with: what this API calls 422 is 400 with them."""
    return 400 if error.status == 422 else error.status


def message_of(error: ProblemError) -> str:
    """The error's words with the field that is wrong."""
    field = error.errors[0]["field"] if error.errors else ""
    field = field.encode("utf-8", "replace").decode()[:300]
    return f"{error.detail} (at {field})" if field else error.detail


def pinecone_body(error: ProblemError, request_id: str) -> dict:
    """The control plane's {error: {code, message}, status} and the data plane's {code, message, details}."""
    status = status_of(error)
    code, number = PINECONE_CODES.get(status, ("UNKNOWN", 2))
    if isinstance(error, ConflictError) and error.code != "exists":
        code, number = "ABORTED", 10
    message = message_of(error)
    return {
        "error": {"code": code, "message": message},
        "status": status,
        "code": number,
        "message": message,
        "details": [],
        **_ours(error, request_id),
    }


def qdrant_body(error: ProblemError, request_id: str) -> dict:
    """{status: {error}, time}."""
    words = {400: "Wrong input: ", 404: "Not found: "}.get(status_of(error), "")
    return {"status": {"error": words + message_of(error)}, "time": 0.0, **_ours(error, request_id)}


def _ours(error: ProblemError, request_id: str) -> dict:
    found = {"request_id": request_id}
    if error.retry_after_seconds is not None:
        found["retry_after"] = error.retry_after_seconds
    return found


# The body of an error by the dialect's name, which is also the first part of its addresses.
BODIES: dict[str, Callable[[ProblemError, str], dict]] = {
    "pinecone": pinecone_body,
    "qdrant": qdrant_body,
}
