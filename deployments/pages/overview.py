"""The first page: in what state everything is, and what needs somebody."""

from django.shortcuts import render

from controlplane.pages.access import page
from deployments.pages import selectors
from worker.models import Operation, OperationEvent

TARGETS_SHOWN = 100


@page()
def overview(request):
    """The whole page, or its live part when htmx asks."""
    targets = selectors.decorate(selectors.targets_of(request.project).order_by("name")[:TARGETS_SHOWN])
    order = {"primary": 0, "secondary": 1, "tertiary": 2}
    targets.sort(key=lambda target: (order[target.role], target.name))
    running = selectors.with_targets(
        Operation.objects.unfinished().filter(project=request.project).order_by("-pk")[:20]
    )
    needs = selectors.attention(request.project, targets)
    events = list(
        OperationEvent.objects.filter(
            operation__project=request.project,
            outcome__in=["succeeded", "failed", "cancelled", "lost", "deadline"],
        )
        .select_related("operation")
        .order_by("-at")[:12]
    )
    selectors.with_targets([event.operation for event in events])
    context = {
        "section": "overview",
        "targets": targets,
        "running": running,
        "needs": needs,
        "events": events,
        "sentence": selectors.sentence(targets, len(running), len(needs)),
        "worst": needs[0].tone if needs else "ok" if targets else "unknown",
    }
    template = "_overview.html" if request.htmx else "overview.html"
    return render(request, f"deployments/{template}", context)
