"""Calls on the measured recall of a collection."""

import datetime

from controlplane.errors import InvalidError
from vectors import bodies, collections, recalls
from vectors.calls.base import OPERATOR, PREFIX, VIEWER, Request, Response, Route, answer, limit_of


def recall_measure(request: Request, name: str) -> Response:
    body = bodies.decode(bodies.RecallMeasure, request.body or b"{}")
    job = recalls.recall_measure(name=name, queries=body.queries, k=body.k, recall=body.recall)
    return answer(job, 202, (("Location", f"{PREFIX}/jobs/{job['id']}"),))


def recall_list(request: Request, name: str) -> Response:
    parameters = request.parameters("since", "until", "limit", "cursor")
    cursor = parameters.get("cursor", "")
    if cursor and not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
        raise InvalidError("This is no cursor of a former answer.", code="invalid_cursor", field="cursor")
    items, last = recalls.recall_list(
        collections.collection_get(name),
        limit=limit_of(parameters),
        before=int(cursor) if cursor else None,
        since=time_of(parameters, "since"),
        until=time_of(parameters, "until"),
    )
    return answer({"items": items, "next_cursor": str(last) if last else None})


def time_of(parameters: dict[str, str], name: str) -> datetime.datetime | None:
    """A parameter that is a time with its zone; InvalidError."""
    text = parameters.get(name)
    if not text:
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


ROUTES = {
    ("collections", "{}", "recall"): {
        "GET": Route("recall_list", VIEWER, recall_list),
        "POST": Route("recall_measure", OPERATOR, recall_measure),
    },
}
