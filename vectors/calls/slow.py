"""The list of slow queries."""

from vectors import slow
from vectors.calls.base import OPERATOR, Request, Response, Route, answer, limit_of, number_of, time_of


def slow_queries_list(request: Request) -> Response:
    parameters = request.parameters("collection", "since", "until", "limit", "cursor")
    items, last = slow.slow_query_list(
        limit=limit_of(parameters),
        before=number_of(parameters, "cursor"),
        collection=parameters.get("collection") or None,
        since=time_of(parameters, "since"),
        until=time_of(parameters, "until"),
    )
    return answer({"items": items, "next_cursor": str(last) if last else None})


ROUTES = {("slow-queries",): {"GET": Route("slow_queries_list", OPERATOR, slow_queries_list)}}
