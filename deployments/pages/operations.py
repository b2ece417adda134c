"""Operations: the list, and one operation as a timeline of its steps."""

from dataclasses import dataclass, field
from datetime import datetime

from django.contrib import messages
from django.db.models import Q
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST

from controlplane.errors import ProblemError
from controlplane.pages.access import actor, page
from controlplane.pages.lookup import row_or_404
from controlplane.pages.paging import paginate
from deployments.fleets.models import FleetRollout
from deployments.models import Rollout
from deployments.pages import selectors
from worker.handlers import registered
from worker.models import UNFINISHED, Operation, Status
from worker.services import operation_cancel, operation_retry

EVENTS_SHOWN = 500


@dataclass
class Step:
    """One run of a step: its state, its time, and what happened in it."""

    name: str
    since: datetime
    until: datetime | None = None
    state: str = "running"
    events: list = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return ((self.until or timezone.now()) - self.since).total_seconds()

    @property
    def tries(self) -> int:
        return 1 + sum(event.outcome in ("retry", "lost") for event in self.events)


def steps_of(operation: Operation, events) -> list[Step]:
    """The steps that ran, in order, from the events; the last one is where the operation stands."""
    steps: list[Step] = []
    for event in events:
        if event.outcome in ("created", "started") and not steps:
            steps.append(Step(event.step, event.at))
        if event.outcome == "started":
            steps[-1].since = event.at
        if not steps or (steps[-1].until is not None or steps[-1].name != event.step):
            if steps and steps[-1].until is None:
                steps[-1].until, steps[-1].state = event.at, "succeeded"
            since = steps[-1].until if steps else event.at
            steps.append(Step(event.step, since))
        steps[-1].events.append(event)
        if event.outcome == "next":
            steps[-1].until, steps[-1].state = event.at, "succeeded"
        elif event.outcome in ("succeeded", "failed", "cancelled"):
            steps[-1].until, steps[-1].state = event.at, event.outcome
    if not operation.is_finished and (not steps or steps[-1].until or steps[-1].name != operation.step):
        if steps and steps[-1].until is None:
            steps[-1].until, steps[-1].state = operation.step_started_at, "cancelled"
        steps.append(Step(operation.step, operation.step_started_at or operation.created_at))
    if steps and not operation.is_finished:
        steps[-1].state = operation.status
    return steps


def operation_context(operation: Operation) -> dict:
    """What the page and each of its live updates show."""
    selectors.with_targets([operation])
    total = operation.last_sequence
    events = list(operation.events.filter(sequence__gt=total - EVENTS_SHOWN).order_by("sequence"))
    end = operation.finished_at or timezone.now()
    handler = registered().get(operation.kind)
    rollout = Rollout.objects.filter(operation=operation.pk).select_related("release", "previous").first()
    queued_behind = None
    if operation.status == Status.QUEUED:
        older = Operation.objects.unfinished().on(operation.subject).filter(pk__lt=operation.pk)
        queued_behind = older.order_by("pk").first()
    return {
        "section": "operations",
        "operation": operation,
        "events": events,
        "earlier": max(0, total - EVENTS_SHOWN),
        "steps": steps_of(operation, events),
        "elapsed": (end - (operation.started_at or operation.created_at)).total_seconds(),
        "rollout": rollout,
        "fleet_rollout": FleetRollout.objects.filter(operation=operation.pk).first(),
        "queued_behind": queued_behind and selectors.named(queued_behind),
        "retries": list(operation.retries.order_by("pk")),
        "can_retry": operation.status in (Status.FAILED, Status.CANCELLED) and handler is not None,
    }


@page()
def index(request):
    """Every operation of the project, newest first, by state, kind and target."""
    rows = Operation.objects.filter(project=request.project)
    wanted = {name: request.GET.get(name, "").strip() for name in ("status", "kind", "q")}
    if wanted["status"] == "unfinished":
        rows = rows.filter(status__in=UNFINISHED)
    elif wanted["status"] in Status.values:
        rows = rows.filter(status=wanted["status"])
    if wanted["kind"]:
        rows = rows.filter(kind=wanted["kind"])
    if wanted["q"]:
        target = selectors.target_named(request.project, wanted["q"])
        rows = rows.filter(
            (Q(subject=target.subject) | Q(subject__startswith=f"{target.subject}/"))
            if target
            else Q(kind__icontains=wanted["q"])
            | Q(created_by__icontains=wanted["q"])
            | Q(error__icontains=wanted["q"])
        )
    found = paginate(
        rows,
        request.GET,
        sorts={"created": "created_at", "kind": "kind", "status": "status"},
        default="-created",
    )
    found.items = selectors.with_targets(found.items)
    context = {
        "section": "operations",
        "page": found,
        "wanted": wanted,
        "filtered": any(wanted.values()),
        "statuses": [("unfinished", "Unfinished"), *Status.choices],
        "kinds": [(kind, selectors.operation_label(kind)) for kind in sorted(registered())],
    }
    template = "_operations.html" if request.htmx else "operations.html"
    return render(request, f"deployments/{template}", context)


@page()
def running(request):
    """The indicator in the top bar."""
    rows = Operation.objects.unfinished().filter(project=request.project).order_by("-pk")
    found = selectors.with_targets(rows[:20])
    return render(request, "deployments/_running.html", {"running": found})


def _operation(request, operation_id: str) -> Operation:
    return row_or_404(Operation, project=request.project, pk=operation_id)


@page()
def operation(request, operation_id):
    context = operation_context(_operation(request, operation_id))
    template = "_operation.html" if request.htmx else "operation.html"
    return render(request, f"deployments/{template}", context)


@page("operation.cancel")
@require_POST
def cancel(request, operation_id):
    held = _operation(request, operation_id)
    try:
        operation_cancel(operation=held, requested_by=actor(request))
        messages.success(request, "Cancellation asked for. The running step ends first.")
    except ProblemError as error:
        messages.error(request, error.detail)
    return redirect("operation", held.pk)


@page("operation.retry")
@require_POST
def retry(request, operation_id):
    held = _operation(request, operation_id)
    try:
        made = operation_retry(operation=held, requested_by=actor(request))
    except ProblemError as error:
        messages.error(request, error.detail)
        return redirect("operation", held.pk)
    messages.success(request, "The work was submitted again.")
    return redirect("operation", made.pk)
