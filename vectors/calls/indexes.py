"""Calls on a collection's index, and on jobs."""

from vectors import bodies, collections, indexes
from vectors.calls.base import OPERATOR, PREFIX, VIEWER, Request, Response, Route, answer, limit_of
from vectors.calls.collections import options_of
from vectors.jobs import records


def index_build(request: Request, name: str) -> Response:
    body = bodies.decode(bodies.IndexOptions, request.body or b"{}")
    job = indexes.index_build(name=name, options=options_of(body))
    return answer(job, 202, (("Location", f"{PREFIX}/jobs/{job['id']}"),))


def index_get(request: Request, name: str) -> Response:
    collections.collection_forget(name)
    return answer(indexes.index_get(collections.collection_get(name)))


def index_delete(request: Request, name: str) -> Response:
    indexes.index_delete(name=name)
    return Response(204, b"")


def jobs_list(request: Request) -> Response:
    parameters = request.parameters("limit", "cursor")
    items, last = records.job_list(limit=limit_of(parameters), after=parameters.get("cursor", ""))
    return answer({"items": items, "next_cursor": last})


def jobs_get(request: Request, job: str) -> Response:
    return answer(records.job_get(job))


def jobs_cancel(request: Request, job: str) -> Response:
    return answer(records.job_cancel(job))


ROUTES = {
    ("collections", "{}", "index"): {
        "GET": Route("index_get", VIEWER, index_get),
        "POST": Route("index_build", OPERATOR, index_build),
        "DELETE": Route("index_delete", OPERATOR, index_delete),
    },
    ("jobs",): {"GET": Route("jobs_list", VIEWER, jobs_list)},
    ("jobs", "{}"): {"GET": Route("jobs_get", VIEWER, jobs_get)},
    ("jobs", "{}", "cancel"): {"POST": Route("jobs_cancel", OPERATOR, jobs_cancel)},
}
