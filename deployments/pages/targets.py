"""The list of targets, and a target's tabs that only read."""

from datetime import timedelta

from django.contrib import messages
from django.db.models import Q
from django.http import Http404
from django.shortcuts import redirect, render
from django.utils import timezone

from controlplane.errors import ProblemError
from controlplane.pages.access import actor, page, require
from controlplane.pages.forms import field_errors
from controlplane.pages.paging import paginate
from deployments import pods, services
from deployments.models import LIVE_REPLICA, HealthTransition, Rollout, Target, TargetStatus
from deployments.pages import figures, observed, selectors
from deployments.pages.selectors import shown_event
from deployments.providers.base import provider_for
from deployments.selectors import target_events
from worker.models import Operation

TABS = [
    ("overview", "Overview", ""),
    ("operations", "Operations", "operations/"),
    ("rollouts", "Rollouts", "rollouts/"),
    ("health", "Health", "health/"),
    ("events", "Events", "events/"),
    ("logs", "Logs", "logs/"),
    ("metrics", "Metrics", "metrics/"),
    ("data", "Data", "data/"),
    ("backups", "Backups", "backups/"),
    ("infrastructure", "Infrastructure", "infrastructure/"),
    ("settings", "Settings", "settings/"),
]


def target_or_404(request, name: str) -> Target:
    """The target of an address, with what its header shows."""
    try:
        found = selectors.target_named(request.project, name)
    except Exception as error:
        raise Http404 from error
    if found is None:
        raise Http404
    found.provider_label = provider_label(found.provider)
    busy = Operation.objects.unfinished().on(found.subject).order_by("pk").first()
    found.busy = selectors.named(busy) if busy else None
    found.running = found.status in ("ready", "degraded")
    return found


def provider_label(name: str) -> str:
    try:
        return provider_for(name).label
    except KeyError:
        return name


def tab_context(request, target: Target, tab: str, **more) -> dict:
    base = f"/targets/{target.pk if target.status == TargetStatus.DESTROYED else target.name}/"
    cluster = pods.cluster_of(target)
    shown = [one for one in TABS if one[0] != "events" or cluster or tab == "events"]
    return {
        "section": "targets",
        "target": target,
        "cluster": cluster,
        "base": base,
        "tab": tab,
        "tabs": [(key, label, base + path) for key, label, path in shown],
        "endpoint": request.build_absolute_uri(f"/api/v1/targets/{target.name}/vectors/"),
    } | more


def cluster_warnings(target: Target) -> list[dict]:
    """The newest warnings of a target's cluster, of the last hour; none where it has no cluster."""
    if pods.state_of(target) is None:
        return []
    since = timezone.now() - timedelta(hours=1)
    found = target_events(target, since=since, sources=("cluster",), only_warnings=True, limit=5)
    return [shown_event(event) for event in found]


def live_replicas(target: Target) -> list:
    """The replicas of a target, each with its pod as `shown_pod` where it is one."""
    rows = target.replicas.filter(status__in=LIVE_REPLICA).select_related("release").order_by("pk")
    replicas = list(rows)
    for replica in replicas:
        replica.shown_pod = pods.of(replica)
    return replicas


@page()
def index(request):
    """All targets: filter by text, state, provider; sorted; by pages."""
    rows = selectors.targets_of(request.project)
    wanted = {name: request.GET.get(name, "").strip() for name in ("q", "status", "provider")}
    if wanted["status"] == "destroyed":
        rows = Target.objects.filter(project=request.project, status=TargetStatus.DESTROYED)
        rows = rows.select_related("release")
    elif wanted["status"]:
        rows = rows.filter(Q(status=wanted["status"]) | Q(health=wanted["status"]))
    if wanted["provider"]:
        rows = rows.filter(provider=wanted["provider"])
    if wanted["q"]:
        rows = rows.filter(Q(name__icontains=wanted["q"]) | Q(region__icontains=wanted["q"]))
    found = paginate(
        rows,
        request.GET,
        sorts={
            "name": "name",
            "status": "status",
            "provider": "provider",
            "region": "region",
            "created": "created_at",
            "role": "role",
        },
        default="name",
    )
    found.items = selectors.decorate(found.items)
    known = (
        Target.objects.filter(project=request.project)
        .order_by()
        .values_list("provider", flat=True)
        .distinct()
    )
    context = {
        "section": "targets",
        "page": found,
        "wanted": wanted,
        "filtered": any(wanted.values()),
        "statuses": [*TargetStatus.choices, ("unhealthy", "Unhealthy")],
        "providers": [(name, provider_label(name)) for name in sorted(known)],
    }
    template = "_targets.html" if request.htmx else "targets.html"
    return render(request, f"deployments/{template}", context)


@page()
def target(request, name):
    """The first tab: is it well, what runs, what happened last."""
    found = target_or_404(request, name)
    selectors.decorate([found])
    replicas = live_replicas(found)
    operations = Operation.objects.about(found.subject).exclude(kind="target.heal", status="succeeded")
    context = tab_context(
        request,
        found,
        "overview",
        replicas=replicas,
        warnings=cluster_warnings(found),
        ready=sum(replica.status == "ready" for replica in replicas),
        operations=[selectors.named(one) for one in operations.order_by("-pk")[:6]],
        rollout=selectors.rollout_in_progress(found),
        uptimes=observed.uptimes(found),
        plan=found.plans.filter(operation="").order_by("-pk").first() if found.status == "pending" else None,
        sparks=observed.sparks(found),
    )
    template = "_target.html" if request.htmx else "target.html"
    return render(request, f"deployments/{template}", context)


@page()
def status(request, name):
    """The state beside the name, which every tab keeps current."""
    return render(request, "deployments/_target_status.html", {"target": target_or_404(request, name)})


@page()
def operations(request, name):
    found = target_or_404(request, name)
    rows = Operation.objects.about(found.subject)
    shown = paginate(
        rows,
        request.GET,
        sorts={"created": "created_at", "kind": "kind", "status": "status"},
        default="-created",
    )
    shown.items = [selectors.named(one) for one in shown.items]
    context = tab_context(request, found, "operations", page=shown)
    template = "_target_operations.html" if request.htmx else "target_operations.html"
    return render(request, f"deployments/{template}", context)


@page()
def health(request, name):
    """Uptime, the strip, each replica with its last probe, and every change."""
    found = target_or_404(request, name)
    hours = {"24h": 24, "7d": 168, "30d": 720}
    span = request.GET.get("range", "24h")
    span = span if span in hours else "24h"
    rows = HealthTransition.objects.filter(target=found).select_related("replica")
    if request.GET.get("replicas") != "1":
        rows = rows.filter(replica=None)
    transitions = paginate(rows, request.GET, sorts={"at": "at"}, default="-at", size=25)
    replicas = live_replicas(found)
    context = tab_context(
        request,
        found,
        "health",
        range=span,
        ranges=[("24h", "24 h"), ("7d", "7 d"), ("30d", "30 d")],
        strip=selectors.strips([found], hours[span], 96)[found.pk],
        uptimes=observed.uptimes(found),
        page=transitions,
        replicas=replicas,
        gone=found.replicas.exclude(status__in=LIVE_REPLICA).select_related("release").order_by("-pk")[:8],
        with_replicas=request.GET.get("replicas") == "1",
    )
    template = "_health.html" if request.htmx else "health.html"
    return render(request, f"deployments/{template}", context)


@page()
def metrics(request, name):
    found = target_or_404(request, name)
    span = request.GET.get("range", "1h")
    span = span if span in figures.RANGES else "1h"
    context = tab_context(
        request,
        found,
        "metrics",
        range=span,
        ranges=[(one.name, one.label) for one in figures.RANGES.values()],
        drawn=figures.charts(found, span),
        measured=found.metric_points.filter(at__gte=timezone.now() - timedelta(days=30)).exists(),
    )
    template = "_metrics.html" if request.htmx else "metrics.html"
    return render(request, f"deployments/{template}", context)


@page(post="target.update")
def settings(request, name):
    """Name, role and deletion protection; what only an administrator may change is told so."""
    found = target_or_404(request, name)
    errors = {}
    if request.method == "POST":
        changes = {}
        if "protection" in request.POST:
            require(request, "target.protect")
            changes["deletion_protection"] = request.POST["protection"] == "on"
        else:
            changes = {key: request.POST[key].strip() for key in ("name", "role") if key in request.POST}
        try:
            found = services.target_update(target=found, requested_by=actor(request), **changes)
        except ProblemError as error:
            errors = field_errors(error, ("name", "role"))
        else:
            messages.success(request, "Settings saved.")
            return redirect("target-settings", found.name)
    context = tab_context(
        request,
        found,
        "settings",
        errors=errors,
        given=request.POST,
        roles=Target._meta.get_field("role").choices,
        rollouts=Rollout.objects.filter(target=found).count(),
    )
    return render(request, "deployments/target_settings.html", context, status=422 if errors else 200)
