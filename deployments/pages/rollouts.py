"""Rollouts of a target, and one rollout with the two releases side by side."""

from django.shortcuts import render

from controlplane.pages.access import page
from controlplane.pages.lookup import row_or_404
from controlplane.pages.paging import paginate
from deployments.models import LIVE_REPLICA, Rollout
from deployments.pages import selectors
from deployments.pages.plans import flat_difference
from deployments.pages.targets import tab_context, target_or_404
from worker.models import Operation


@page()
def index(request, name):
    found = target_or_404(request, name)
    rows = Rollout.objects.filter(target=found).select_related("release", "previous")
    shown = paginate(
        rows, request.GET, sorts={"created": "created_at", "status": "status"}, default="-created"
    )
    context = tab_context(request, found, "rollouts", page=shown)
    template = "_rollouts.html" if request.htmx else "rollouts.html"
    return render(request, f"deployments/{template}", context)


@page()
def rollout(request, rollout_id):
    rows = Rollout.objects.filter(target__project=request.project)
    held = row_or_404(rows.select_related("release", "previous", "target"), pk=rollout_id)
    found = target_or_404(request, held.target_id)
    sides = []
    replicas = list(found.replicas.select_related("release").order_by("pk"))
    for label, release in (("Before", held.previous), ("New", held.release)):
        if release is not None:
            mine = [one for one in replicas if one.release_id == release.pk and one.status in LIVE_REPLICA]
            sides.append(
                {
                    "label": label,
                    "release": release,
                    "replicas": mine,
                    "ready": sum(one.status == "ready" for one in mine),
                    "serves": found.release_id == release.pk,
                }
            )
    operation = Operation.objects.filter(pk=held.operation).first() if held.operation else None
    context = tab_context(
        request,
        found,
        "rollouts",
        rollout=held,
        sides=sides,
        operation=operation and selectors.named(operation),
        difference=flat_difference(
            {"image": held.previous.image, **held.previous.config} if held.previous else {},
            {"image": held.release.image, **held.release.config},
        ),
        unfinished=held.status in ("running", "rolling_back"),
    )
    template = "_rollout.html" if request.htmx else "rollout.html"
    return render(request, f"deployments/{template}", context)
