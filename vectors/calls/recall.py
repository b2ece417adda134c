"""Calls on the measured recall of a collection."""

from vectors import bodies, collections, recalls
from vectors.calls.base import (
    OPERATOR,
    PREFIX,
    VIEWER,
    Request,
    Response,
    Route,
    answer,
    limit_of,
    number_of,
    time_of,
)


def recall_measure(request: Request, name: str) -> Response:
    body = bodies.decode(bodies.RecallMeasure, request.body or b"{}")
    job = recalls.recall_measure(name=name, queries=body.queries, k=body.k, recall=body.recall)
    return answer(job, 202, (("Location", f"{PREFIX}/jobs/{job['id']}"),))


def recall_list(request: Request, name: str) -> Response:
    parameters = request.parameters("since", "until", "limit", "cursor")
    items, last = recalls.recall_list(
        collections.collection_get(name),
        limit=limit_of(parameters),
        before=number_of(parameters, "cursor"),
        since=time_of(parameters, "since"),
        until=time_of(parameters, "until"),
    )
    return answer({"items": items, "next_cursor": str(last) if last else None})


ROUTES = {
    ("collections", "{}", "recall"): {
        "GET": Route("recall_list", VIEWER, recall_list),
        "POST": Route("recall_measure", OPERATOR, recall_measure),
    },
}
