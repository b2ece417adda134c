"""Drift of a target: what is not as it was made, what was decided, and deciding it."""

from django.contrib import messages
from django.shortcuts import render

from controlplane.errors import ProblemError
from controlplane.pages.access import actor, page
from controlplane.pages.forms import field_errors
from controlplane.pages.lookup import row_or_404
from controlplane.pages.paging import paginate
from deployments.drift import services
from deployments.drift.models import DriftDecision, DriftFinding
from deployments.drift.selectors import IGNORED, OPEN, RESOLVED, in_states
from deployments.errors import ProviderError
from deployments.pages.actions import dialog, gone_to
from deployments.pages.targets import tab_context, target_or_404

VERBS = {
    "revert": ("Revert", services.drift_revert),
    "adopt": ("Adopt", services.drift_adopt),
    "ignore": ("Ignore", services.drift_ignore),
}
SHOWN = {"now": (OPEN, IGNORED), "resolved": (RESOLVED,)}


@page("drift.read")
def now(request, name):
    """What is not as it was made, asked for now, so it is loaded after the page."""
    found = target_or_404(request, name)
    context = tab_context(request, found, "infrastructure", problem="", remedy="")
    try:
        services.drift_check(target=found)
    except ProviderError as error:
        context |= {"problem": str(error), "remedy": error.remedy}
    rows = DriftFinding.objects.filter(target=found, resolved_at=None).order_by("pk")
    context["drifts"] = list(rows.prefetch_related("decisions"))
    return render(request, "deployments/_drift.html", context)


@page("drift.read")
def index(request, name):
    """All that was found, with every decision."""
    found = target_or_404(request, name)
    which = request.GET.get("show", "now")
    which = which if which in SHOWN else "now"
    rows = in_states(DriftFinding.objects.filter(target=found), SHOWN[which])
    shown = paginate(
        rows.prefetch_related("decisions"),
        request.GET,
        sorts={"first": "first_seen_at", "last": "last_seen_at"},
        default="-first",
        size=25,
    )
    context = tab_context(request, found, "infrastructure", page=shown, which=which)
    return render(request, "deployments/drift.html", context)


@page("drift.decide")
def decide(request, name, finding_id, verb):
    """Revert, adopt or ignore, with the reason."""
    found = target_or_404(request, name)
    held = row_or_404(DriftFinding.objects.filter(target=found), pk=finding_id)
    label, service = VERBS[verb]
    context = tab_context(
        request, found, "infrastructure", finding=held, verb=verb, label=label, given=request.POST
    )
    if request.method != "POST":
        return dialog(request, "_decide_drift.html", context)
    try:
        made = service(
            finding=held, reason=request.POST.get("reason", "").strip(), requested_by=actor(request)
        )
    except ProblemError as error:
        context["errors"] = field_errors(error, ("reason",))
        return dialog(request, "_decide_drift.html", context, status=422)
    if verb == "revert":
        return gone_to(request, f"/operations/{made[1].pk}/")
    messages.success(request, f"{held.path}: {'adopted into the spec' if verb == 'adopt' else 'ignored'}.")
    return gone_to(request, f"/targets/{found.name}/drift/")


@page("drift.decide")
def undo(request, name, decision_id):
    """Take back that something was adopted or ignored."""
    found = target_or_404(request, name)
    rows = DriftDecision.objects.filter(finding__target=found).select_related("finding")
    held = row_or_404(rows, pk=decision_id)
    context = tab_context(request, found, "infrastructure", decision=held, finding=held.finding)
    if request.method == "POST":
        try:
            services.drift_undo(decision=held, requested_by=actor(request))
        except ProblemError as error:
            context["errors"] = field_errors(error)
            return dialog(request, "_undo_drift.html", context, status=422)
        messages.success(request, f"{held.finding.path}: undone.")
        return gone_to(request, f"/targets/{found.name}/drift/")
    return dialog(request, "_undo_drift.html", context)
