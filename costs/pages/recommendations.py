"""Recommendations: what would save how much, from what it follows, and what people decided; and unit
costs.
"""

from datetime import date, timedelta

from django.contrib import messages
from django.db.models import Count
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST

from controlplane.errors import ProblemError
from controlplane.pages.access import actor, page
from controlplane.pages.lookup import row_or_404
from controlplane.pages.paging import paginate
from controlplane.templatetags.pages import size, words
from costs import recommendations as services
from costs import spend
from costs.estimates import as_money
from costs.models_planning import Recommendation, RecommendationStatus
from costs.units import LEVELS, unit_costs

PERIODS = [("7", "7 days"), ("30", "30 days"), ("90", "90 days"), ("365", "A year")]
TYPE_WORDS = {
    "spot": "Spot or preemptible",
    "right_size": "Right-size nodes",
    "database_size": "Right-size the database",
    "arm64": "Move to arm64",
    "idle": "Idle target",
    "orphaned": "Left behind",
    "unused_disk": "Unused disk",
    "unused_address": "Unused address",
    "old_snapshot": "Old snapshot",
    "storage_class": "Storage class",
    "nat_traffic": "NAT traffic",
    "commitment": "Commitment",
    "autoscaler_bounds": "Fewer replicas",
}


def named(one: Recommendation) -> Recommendation:
    """A recommendation with its type in words."""
    one.title = TYPE_WORDS.get(one.type, one.type.replace("_", " ").capitalize())
    return one


def evidence_shown(evidence: dict) -> list[tuple[str, str]]:
    """[(label, text)] of what a recommendation follows from, units in the labels; yes and no are left to
    the prices.
    """
    shown = []
    for key, value in evidence.items():
        if value in ("", None, [], {}) or isinstance(value, bool):
            continue
        name, _, unit = key.rpartition("_")
        if unit == "bytes":
            label, value = name, size(value)
        elif unit == "gib":
            label, value = name, f"{value} GiB"
        else:
            label = key
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        shown.append((words(label).replace("Sku", "SKU"), text))
    return shown


@page("cost.read", post="cost.recommendation.search")
def index(request):
    """The open ones, the greatest saving first; POST searches now."""
    if request.method == "POST":
        try:
            operation = services.recommendations_search(project=request.project, requested_by=actor(request))
        except ProblemError as error:
            messages.error(request, error.detail)
            return redirect("cost-recommendations")
        return redirect("operation", operation.pk)
    status = request.GET.get("status", "open")
    if status not in RecommendationStatus.values:
        status = "open"
    rows = services.recommendations(request.project).filter(status=status)
    wanted = request.GET.get("type", "")
    if wanted:
        rows = rows.filter(type=wanted)
    found = paginate(
        rows,
        request.GET,
        sorts={"savings": "amount", "type": "type", "cloud": "cloud", "resource": "resource"},
        default="-savings",
        size=25,
    )
    for one in found:
        named(one)
        one.saved = services.realised(one) if status == "accepted" else None
    counts = dict(
        Recommendation.objects.filter(project=request.project).values_list("status").annotate(n=Count("pk"))
    )
    types = Recommendation.objects.filter(project=request.project, status=status).order_by("type")
    context = {
        "section": "costs",
        "tab": "recommendations",
        "page": found,
        "status": status,
        "statuses": [(value, label, counts.get(value, 0)) for value, label in RecommendationStatus.choices],
        "types": [(one, TYPE_WORDS.get(one, one)) for one in types.values_list("type", flat=True).distinct()],
        "wanted": wanted,
        "savings": as_money(services.open_savings(request.project)),
        "counted": Recommendation.objects.filter(
            project=request.project, status="open", superseded_by=""
        ).count(),
        "has_costs": spend.has_records(request.project),
    }
    return render(request, "costs/recommendations.html", context)


@page("cost.read")
def recommendation(request, recommendation_id):
    """One recommendation: how, why, and what to decide."""
    found = named(row_or_404(services.recommendations(request.project), pk=recommendation_id))
    other = None
    if found.superseded_by:
        other = services.recommendations(request.project).filter(pk=found.superseded_by).first()
    context = {
        "section": "costs",
        "tab": "recommendations",
        "one": found,
        "other": named(other) if other else None,
        "evidence": evidence_shown(found.evidence),
        "yearly": found.amount * 12,
        "saved": services.realised(found),
        "decidable": found.status in ("open", "snoozed"),
    }
    return render(request, "costs/recommendation.html", context)


@page("cost.recommendation.decide")
@require_POST
def decide(request, recommendation_id):
    """Accept, dismiss, snooze or reopen, as the button says."""
    found = row_or_404(services.recommendations(request.project), pk=recommendation_id)
    verb, who = request.POST.get("do", ""), actor(request)
    reason, days = request.POST.get("reason", ""), request.POST.get("days", "30")
    try:
        if verb == "accept":
            _, plan = services.recommendation_accept(recommendation=found, accepted_by=who)
            if plan:
                messages.success(request, "Accepted. This plan carries it out: look at it, then apply it.")
                return redirect("plan", plan.pk)
            messages.success(request, "Accepted. What it saves is measured from tomorrow's bill on.")
        elif verb == "dismiss":
            services.recommendation_dismiss(recommendation=found, reason=reason, dismissed_by=who)
            messages.success(request, "Dismissed.")
        elif verb == "snooze":
            services.recommendation_snooze(
                recommendation=found, days=int(days) if days.isdigit() else 0, reason=reason, snoozed_by=who
            )
            messages.success(request, f"Snoozed for {days} days.")
        else:
            services.recommendation_reopen(recommendation=found, reopened_by=who)
            messages.success(request, "It is open again.")
    except ProblemError as error:
        messages.error(request, error.detail)
    return redirect("cost-recommendation", found.pk)


@page("cost.read")
def units(request):
    """What a million requests, a million vectors and a GiB cost."""
    days = request.GET.get("days", "30")
    if days not in dict(PERIODS):
        days = "30"
    by = request.GET.get("by", "target")
    if by not in LEVELS:
        by = "target"
    until: date = timezone.now().date()
    since = until - timedelta(days=int(days))
    context = {
        "section": "costs",
        "tab": "units",
        "lines": unit_costs(request.project, since, until, by=by),
        "by": by,
        "levels": LEVELS,
        "days": days,
        "periods": PERIODS,
        "since": since,
        "until": until,
        "has_costs": spend.has_records(request.project),
    }
    return render(request, "costs/units.html", context)
