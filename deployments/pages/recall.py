"""The measured recall of a collection over time, and measuring it now."""

from datetime import datetime

from django.contrib import messages
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from controlplane.errors import ProblemError
from controlplane.pages.access import actor, page
from deployments.collection_jobs import collection_job_start
from deployments.pages.collection import collection_context, served
from worker.services import OperationInProgressError

MOST_SHOWN = 200


@page()
def recall(request, name, collection):
    """The series as a chart with the recall that was asked for, and as a table."""
    context = collection_context(request, name, collection, "recall")
    if context["problem"]:
        return render(request, "deployments/data/recall.html", context)
    try:
        answer = served(context["api"].call, "GET", f"{context['path']}/recall", limit=MOST_SHOWN)
    except ProblemError as error:
        context["problem"] = error
        return render(request, "deployments/data/recall.html", context)
    context["served"] = answer is not None
    samples = answer["items"] if answer else []
    context["samples"] = sorted(samples, key=lambda one: one["at"], reverse=True)
    context["drawn"] = {
        "samples": [
            {
                "at": datetime.fromisoformat(one["at"]).timestamp(),
                "recall": one["recall"],
                "asked": one["asked"],
                "text": f"k {one['k']}, {one['queries']} queries, {one['points']:,} points",
            }
            for one in reversed(context["samples"])
        ]
    }
    return render(request, "deployments/data/recall.html", context)


@page("target.update")
@require_POST
def measure(request, name, collection):
    """Measure now, as an operation."""
    context = collection_context(request, name, collection, "recall")
    own = (context["collection"] or {}).get("name", collection)
    given = {key: request.POST.get(key, "") for key in ("queries", "k")}
    try:
        operation = collection_job_start(
            target=context["target"],
            collection=own,
            job="recall.measure",
            body={key: int(text) for key, text in given.items() if text.isascii() and text.isdigit()},
            requested_by=actor(request),
        )
    except OperationInProgressError as error:
        return redirect("operation", error.extra["operation"])
    except ProblemError as error:
        messages.error(request, error.detail)
        return redirect(f"{context['here']}recall/")
    return redirect("operation", operation.pk)
