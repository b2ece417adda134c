"""Fleets: the list, a fleet with its targets, the form of its members, and the reports of its rollouts."""

from django.contrib import messages
from django.db.models import Q
from django.http import Http404
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from controlplane.errors import InvalidError, NotFoundError, ProblemError
from controlplane.pages.access import actor, page
from controlplane.pages.forms import field_errors
from controlplane.pages.paging import paginate
from deployments.fleets import selectors as fleet_selectors
from deployments.fleets import services
from deployments.fleets.models import (
    ROLES,
    Fleet,
    FleetMember,
    FleetRollout,
    OnFailure,
    PauseAfter,
)
from deployments.models import Target, TargetStatus
from deployments.pages import selectors
from deployments.pages.actions import dialog_errors, gone_to
from deployments.pages.release_form import FIELDS, release_asked, release_context, whole_number
from deployments.pages.strategy_form import FIELDS as STRATEGY_FIELDS
from deployments.pages.strategy_form import strategy_asked, strategy_context
from worker.models import Operation

WORST = ("unhealthy", "degraded", "unknown", "healthy")


def fleet_or_404(request, name: str) -> Fleet:
    try:
        return fleet_selectors.fleet_find(request.project, name)
    except NotFoundError as error:
        raise Http404 from error


def rollout_or_404(request, rollout_id: str) -> FleetRollout:
    try:
        return fleet_selectors.fleet_rollout_find(request.project, rollout_id)
    except NotFoundError as error:
        raise Http404 from error


def fleet_context(fleet: Fleet, **more) -> dict:
    return {"section": "fleets", "fleet": fleet, "base": f"/fleets/{fleet.name}/"} | more


def health_of(targets) -> str:
    """The worst health of those of a fleet's targets that exist; empty for none."""
    found = {target.health for target in targets if target.status != TargetStatus.PENDING}
    return next((health for health in WORST if health in found), "")


@page("fleet.read")
def index(request):
    """Every fleet with what its targets run and its latest rollout."""
    rows = fleet_selectors.fleets(request.project)
    wanted = request.GET.get("q", "").strip()
    if wanted:
        with_target = FleetMember.objects.filter(target__name__icontains=wanted).values("fleet")
        rows = rows.filter(Q(name__icontains=wanted) | Q(pk__in=with_target))
    found = paginate(rows, request.GET, sorts={"name": "name", "created": "created_at"}, default="name")
    latest = (
        FleetRollout.objects.filter(fleet__in=[fleet.pk for fleet in found.items])
        .order_by("fleet", "-pk")
        .distinct("fleet")
        .select_related("release")
    )
    by_fleet = {rollout.fleet_id: rollout for rollout in latest}
    for fleet in found.items:
        targets = [member.target for member in fleet.members.all()]
        fleet.health = health_of(targets)
        releases = {target.release for target in targets if target.release}
        fleet.releases = sorted(releases, key=lambda release: release.number)
        fleet.latest = by_fleet.get(fleet.pk)
    context = {"section": "fleets", "page": found, "q": wanted}
    return render(request, f"deployments/fleets/{'_fleets' if request.htmx else 'fleets'}.html", context)


@page("fleet.read")
def fleet(request, name):
    """The targets with role, release and health, and the rollouts over them."""
    found = fleet_or_404(request, name)
    members = list(found.members.all())
    rows = selectors.targets_of(request.project).filter(pk__in=[member.target_id for member in members])
    targets = {target.pk: target for target in selectors.decorate(rows)}
    for member in members:
        member.target = targets.get(member.target_id, member.target)
    rollouts = paginate(
        FleetRollout.objects.filter(fleet=found).select_related("release"),
        request.GET,
        sorts={"created": "created_at", "status": "status"},
        default="-created",
        size=20,
    )
    busy = Operation.objects.unfinished().on(found.subject).order_by("pk").first()
    context = fleet_context(
        found,
        members=[member for member in members if member.target_id in targets],
        health=health_of(targets.values()),
        page=rollouts,
        running=busy and FleetRollout.objects.filter(operation=busy.pk).first(),
    )
    return render(request, f"deployments/fleets/{'_fleet' if request.htmx else 'fleet'}.html", context)


def _form(request, found: Fleet | None):
    """The form of a fleet's name and members: new when `found` is None."""
    errors: dict = {}
    rows = [(member.target.name, member.role) for member in found.members.all()] if found else []
    if request.method == "POST":
        names, roles = request.POST.getlist("target"), request.POST.getlist("role")
        rows = [pair for pair in zip(names, roles, strict=False) if pair[0]]
        values = {
            "name": request.POST.get("name", "").strip(),
            "members": [{"target": target, "role": role} for target, role in rows],
        }
        try:
            if found is None:
                made = services.fleet_create(project=request.project, created_by=actor(request), **values)
            else:
                made = services.fleet_update(fleet=found, requested_by=actor(request), **values)
        except ProblemError as error:
            errors = field_errors(error, ("name",))
        else:
            messages.success(request, f"{made.name} is saved.")
            return redirect("fleet", made.name)
    targets = Target.objects.filter(project=request.project).exclude(status=TargetStatus.DESTROYED)
    context = {
        "section": "fleets",
        "fleet": found,
        "rows": rows,
        "targets": list(targets.order_by("name")),
        "roles": ROLES,
        "name": request.POST.get("name", found.name if found else ""),
        "errors": errors,
    }
    return render(request, "deployments/fleets/form.html", context, status=422 if errors else 200)


@page("fleet.create")
def new(request):
    return _form(request, None)


@page("fleet.update")
def edit(request, name):
    return _form(request, fleet_or_404(request, name))


def _dialog(request, template: str, context: dict, *, status: int = 200):
    """The dialog alone for htmx, or within a page of its own."""
    context["dialog_template"] = f"deployments/fleets/{template}"
    whole = "deployments/fleets/dialog_page.html"
    return render(request, context["dialog_template"] if request.htmx else whole, context, status=status)


@page("rollout.create")
def roll_out(request, name):
    """What to roll out, in which waves, and what a failure does."""
    found = fleet_or_404(request, name)
    members = list(found.members.all())
    given = request.POST
    current = next((member.target.release for member in members if member.target.release), None)
    context = fleet_context(
        found,
        members=members,
        canary=given.get("canary", ""),
        max_parallel=given.get("max_parallel", 1),
        max_failures=given.get("max_failures", 0),
        on_failure=given.get("on_failure", OnFailure.STOP),
        pause_after=given.get("pause_after", PauseAfter.NEVER),
        failures=OnFailure.choices,
        pauses=PauseAfter.choices,
        **release_context(request, current),
        **strategy_context(request),
    )
    if request.method != "POST":
        return _dialog(request, "_roll_out.html", context)
    try:
        rollout, _ = services.fleet_rollout_start(
            fleet=found,
            canary=given.get("canary", ""),
            max_parallel=_count(given, "max_parallel", 1),
            max_failures=_count(given, "max_failures", 0),
            on_failure=_choice(given, "on_failure", OnFailure),
            pause_after=_choice(given, "pause_after", PauseAfter),
            options=strategy_asked(given),
            requested_by=actor(request),
            **release_asked(given, context),
        )
    except ProblemError as error:
        fields = (*FIELDS, *STRATEGY_FIELDS, "canary", "max_parallel", "max_failures")
        context["errors"] = dialog_errors(error, fields)
        return _dialog(request, "_roll_out.html", context, status=422)
    return gone_to(request, f"/fleet-rollouts/{rollout.pk}/")


def _count(given, field: str, least: int) -> int:
    number = whole_number(given.get(field, str(least)).strip())
    if not isinstance(number, int) or not least <= number <= services.MOST_MEMBERS:
        raise InvalidError(f"Give a number from {least} to {services.MOST_MEMBERS}.", field=field)
    return number


def _choice(given, field: str, choices) -> str:
    chosen = given.get(field, choices.values[0])
    if chosen not in choices.values:
        raise InvalidError(f"{chosen!r} is not one of {', '.join(choices.values)}.", field=field)
    return chosen


@page("fleet.delete")
def delete(request, name):
    found = fleet_or_404(request, name)
    context = fleet_context(found, reports=FleetRollout.objects.filter(fleet=found).count())
    if request.method != "POST":
        return _dialog(request, "_delete.html", context)
    try:
        services.fleet_delete(fleet=found, requested_by=actor(request))
    except ProblemError as error:
        context["errors"] = field_errors(error)
        return _dialog(request, "_delete.html", context, status=422)
    messages.success(request, f"{found.name} is deleted; its targets stay.")
    return gone_to(request, "/fleets/")


@page()
def rollout(request, rollout_id):
    """The report, kept current: each target's release before and after, status, reason and time."""
    held = rollout_or_404(request, rollout_id)
    moves = list(held.moves.all())
    children = {(move.rollback or move.rollout).operation: move for move in moves if move.rollout}
    for child in Operation.objects.unfinished().filter(pk__in=children):
        children[child.pk].child = child
    operation = Operation.objects.filter(pk=held.operation).first()
    context = fleet_context(
        held.fleet,
        rollout=held,
        moves=moves,
        operation=operation,
        done=sum(move.status in ("moved", "unchanged") for move in moves),
        total=len(moves),
        percent=sum(move.is_finished for move in moves) * 100 // max(1, len(moves)),
        unfinished=held.finished_at is None,
        aborting=operation is not None and operation.cancel_requested_at is not None,
        may_pause=held.status == "running"
        and not held.pause_requested
        and any(move.status == "pending" for move in moves),
    )
    template = "_rollout.html" if request.htmx else "rollout.html"
    return render(request, f"deployments/fleets/{template}", context)


def _control(verb: str, told: str):
    act = {
        "abort": services.fleet_rollout_abort,
        "pause": services.fleet_rollout_pause,
        "resume": services.fleet_rollout_resume,
    }[verb]

    @page("rollout.control")
    @require_POST
    def control(request, rollout_id):
        held = rollout_or_404(request, rollout_id)
        try:
            act(rollout=held, requested_by=actor(request))
            messages.success(request, told)
        except ProblemError as error:
            messages.error(request, error.detail)
        return redirect("fleet-rollout", held.pk)

    return control


abort = _control("abort", "Aborting: every target goes back to what served before.")
pause = _control("pause", "It pauses before the next wave.")
resume = _control("resume", "It goes on.")
