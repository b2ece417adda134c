"""Rollouts of a target, and one rollout with the two releases side by side."""

from django.contrib import messages
from django.db.models import Q
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from controlplane.errors import ProblemError
from controlplane.pages.access import actor, page
from controlplane.pages.lookup import row_or_404
from controlplane.pages.paging import paginate
from deployments import rollouts
from deployments.fleets.models import FleetRollout
from deployments.models import LIVE_REPLICA, Analysis, Rollout
from deployments.pages import selectors
from deployments.pages.gate_words import reading_shown
from deployments.pages.plans import flat_difference
from deployments.pages.targets import tab_context, target_or_404
from worker.models import Operation

LOOKS_SHOWN = 60
CONTROLS = {
    "abort": (rollouts.rollout_abort, "The abort was asked for. The stable release takes all requests."),
    "promote": (rollouts.rollout_promote, "The next step was asked for."),
    "pause": (rollouts.rollout_pause, "Paused: it stays at this step until it is resumed or promoted."),
    "resume": (rollouts.rollout_resume, "It goes on."),
}


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
    unfinished = held.status in ("running", "rolling_back")
    is_canary = held.strategy == "canary"
    for label, release in (("Stable" if is_canary else "Before", held.previous), ("New", held.release)):
        if release is not None:
            mine = [one for one in replicas if one.release_id == release.pk and one.status in LIVE_REPLICA]
            weight = held.weight if release.pk == held.release_id else 100 - held.weight
            sides.append(
                {
                    "label": label,
                    "release": release,
                    "replicas": mine,
                    "ready": sum(one.status == "ready" for one in mine),
                    "serves": found.release_id == release.pk,
                    "weight": weight if is_canary and unfinished else None,
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
        unfinished=unfinished,
        fleet_rollout=FleetRollout.objects.filter(Q(moves__rollout=held) | Q(moves__rollback=held))
        .select_related("fleet", "release")
        .first(),
        can_abort=unfinished and operation is not None and operation.cancel_requested_at is None,
        **(canary_context(held) if is_canary else {}),
    )
    template = "_rollout.html" if request.htmx else "rollout.html"
    return render(request, f"deployments/{template}", context)


def canary_context(rollout: Rollout) -> dict:
    """The steps with how far they are, the newest readings, and the looks before it."""
    steps = []
    for number, step in enumerate(rollout.steps):
        state = "done" if number < rollout.step else "to come"
        if number == rollout.step:
            state = "here" if rollout.status == "running" else "ended here"
        steps.append({"number": number + 1, "state": state, **step})
    looks = list(Analysis.objects.filter(rollout=rollout).order_by("-pk")[:LOOKS_SHOWN])
    for look in looks:
        look.worst = next(
            (
                reading
                for verdict in ("failed", "inconclusive")
                for reading in look.readings
                if reading["verdict"] == verdict
            ),
            None,
        )
    return {
        "is_canary": True,
        "canary_steps": steps,
        "latest": looks[0] if looks else None,
        "readings": [reading_shown(reading) for reading in looks[0].readings] if looks else [],
        "looks": looks,
        "more_looks": len(looks) == LOOKS_SHOWN,
        "can_move": rollout.status == "running",
    }


@page("rollout.control")
@require_POST
def control(request, rollout_id, verb):
    rows = Rollout.objects.filter(target__project=request.project)
    held = row_or_404(rows.select_related("target"), pk=rollout_id)
    act, said = CONTROLS[verb]
    more = {"full": True} if verb == "promote" and request.POST.get("full") else {}
    try:
        act(rollout=held, requested_by=actor(request), **more)
        messages.success(request, "All steps that are left were skipped." if more else said)
    except ProblemError as error:
        messages.error(request, error.detail)
    return redirect("rollout", held.pk)
