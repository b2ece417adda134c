"""Importing into a collection and exporting from it."""

from django.contrib import messages
from django.http import JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from controlplane.errors import ProblemError
from controlplane.pages.access import actor, page
from controlplane.pages.lookup import row_or_404
from deployments.collection_jobs import collection_job_start
from deployments.pages import selectors
from deployments.pages.collection import JOB_ENDED, collection_context, operations_of
from deployments.pages.filters import filter_of
from worker.models import Operation

KINDS = ("points.import", "points.export")
VECTORS = [
    ("b64", "As base64, compact"),
    ("list", "As lists of numbers"),
    ("none", "Left out"),
]
FORMATS = [("ndjson", "NDJSON: a point a line"), ("parquet", "Parquet: columns")]
SOURCES = ("url", "path")
PROBLEMS_SHOWN = 100


@page()
def transfer(request, name, collection):
    """The forms, and the work that runs or ran last."""
    context = collection_context(request, name, collection, "transfer", stats=True)
    own = (context["collection"] or {}).get("name", collection)
    followed = request.GET.get("operation", "")
    context |= {
        "formats": FORMATS,
        "vector_forms": VECTORS,
        "operations": [one for one in operations_of(context["target"], own) if one.input["job"] in KINDS],
        "followed": followed,
    }
    return render(request, "deployments/data/transfer.html", context)


@page("target.update")
@require_POST
def start(request, name, collection):
    """Start an import (of an upload, URL or path) or an export (to a URL or path), as an operation.

    The script of the page asks for JSON and is told where to follow it.
    """
    context = collection_context(request, name, collection, "transfer")
    own = (context["collection"] or {}).get("name", collection)
    given = request.POST
    try:
        operation = collection_job_start(
            target=context["target"],
            collection=own,
            job="points.export" if given.get("job") == "export" else "points.import",
            body=body_of(given),
            requested_by=actor(request),
        )
    except ProblemError as error:
        if request.accepts("text/html"):
            messages.error(request, error.detail)
            return redirect(f"{context['here']}transfer/")
        return JsonResponse(error.as_dict(), status=error.status)
    address = f"{context['here']}transfer/?operation={operation.pk}#work"
    if request.accepts("text/html"):
        return redirect(address)
    return JsonResponse({"operation": operation.pk, "address": address})


def body_of(given) -> dict:
    """The body of the target's call; InvalidError when the filter is none."""
    body: dict = {}
    if given.get("upload"):
        body["upload"] = given["upload"]
    elif given.get("place") in SOURCES:
        body[given["place"]] = given.get("address", "").strip()
    for key in ("format", "on_error"):
        if given.get(key):
            body[key] = given[key]
    if given.get("namespace", "").strip():
        body["namespace"] = given["namespace"].strip()
    if given.get("job") == "export":
        body |= filter_of(given.get("filter", ""))
    return body


@page()
def work(request, name, collection, operation):
    """How far one import or export is, in bytes and rows, with the lines that failed."""
    context = collection_context(request, name, collection, "transfer")
    rows = Operation.objects.about(context["target"].subject).filter(project=request.project)
    held = row_or_404(rows, pk=operation)
    context["operation"] = selectors.named(held)
    job_id = held.state.get("job")
    if job_id and not context["problem"]:
        try:
            job = context["api"].call("GET", f"jobs/{job_id}")
            context["job"] = job
            found = job.get("result") or job.get("progress") or {}
            context["failed"] = found.get("errors", 0)
            context["lines"] = (found.get("problems") or [])[:PROBLEMS_SHOWN]
            context["ended"] = job["state"] in JOB_ENDED
        except ProblemError as error:
            context["job_problem"] = error.detail
    # 286 ends htmx's polling: what has ended does not change by itself.
    return render(request, "deployments/data/_work.html", context, status=286 if held.is_finished else 200)
