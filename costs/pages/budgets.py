"""Budgets: how each stands, a form, its alerts; and the channels alerts go to."""

from decimal import Decimal, InvalidOperation

from django.contrib import messages
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from controlplane.errors import InvalidError, ProblemError
from controlplane.pages.access import actor, page
from controlplane.pages.forms import field_errors
from controlplane.pages.lookup import row_or_404
from controlplane.pages.paging import paginate
from costs import alert_channels, budgets, spend
from costs.models_planning import AlertChannel, Budget, BudgetPeriod, BudgetScope, ChannelKind, Measure
from deployments.models import Target, TargetStatus

FORM = ("name", "scope", "target", "cloud", "amount", "currency", "period", "measure", "actual", "forecast")
STATES = {
    "ok": ("ok", "check", "Within the budget"),
    "at_risk": ("warning", "warning", "Forecast above it"),
    "exceeded": ("failing", "cross", "Exceeded"),
    "no_data": ("unknown", "question", "No costs yet"),
}


def decorated(budget: Budget) -> Budget:
    """A budget with what its row shows."""
    now = budgets.standing(budget)
    budget.now = now.spend
    budget.percent = now.percent("actual")
    budget.forecast_percent = now.percent("forecast")
    budget.tone, budget.icon, budget.word = STATES[now.state]
    budget.bar = min(100, int(budget.percent))
    budget.of = {"target": budget.target and budget.target.name, "cloud": budget.cloud}.get(
        budget.scope
    ) or "project"
    return budget


@page("cost.read")
def index(request):
    """Every budget with what is spent and forecast of it."""
    found = paginate(
        budgets.budgets(request.project),
        request.GET,
        sorts={"name": "name", "amount": "amount", "made": "created_at"},
        default="name",
        size=20,
    )
    for one in found:
        decorated(one)
    context = {
        "section": "costs",
        "tab": "budgets",
        "page": found,
        "has_costs": spend.has_records(request.project),
        "channel_count": AlertChannel.objects.filter(project=request.project).count(),
    }
    return render(request, "costs/budgets.html", context)


def _form_context(request, given: dict, errors: dict, budget: Budget | None = None) -> dict:
    targets = Target.objects.filter(project=request.project).exclude(status=TargetStatus.DESTROYED)
    return {
        "section": "costs",
        "tab": "budgets",
        "budget": budget,
        "given": given,
        "errors": errors,
        "scopes": BudgetScope.choices,
        "periods": BudgetPeriod.choices,
        "measures": Measure.choices,
        "targets": targets.order_by("name"),
        "clouds": spend.clouds(request.project),
        "channels": alert_channels.alert_channels(request.project).order_by("name"),
    }


def _percents(text: str, on: str) -> list[dict]:
    found = []
    for word in text.replace(",", " ").replace("%", " ").split():
        if not word.isdigit():
            raise InvalidError("Write whole per cent, such as 50, 80, 100.", field=on)
        found.append({"on": on, "percent": int(word)})
    return found


def _values(request) -> dict:
    """The form's fields as the services take them."""
    data = request.POST
    try:
        amount = Decimal(data.get("amount", "").replace(",", "").strip())
        if not amount.is_finite():
            raise InvalidOperation
    except InvalidOperation:
        raise InvalidError("The amount is a number, such as 1200.", field="amount") from None
    scope = data.get("scope", "project")
    values = {
        "name": data.get("name", "").strip(),
        "scope": scope,
        "amount": amount,
        "currency": data.get("currency", "").strip().upper(),
        "period": data.get("period", ""),
        "measure": data.get("measure", ""),
        "thresholds": [
            *_percents(data.get("actual", ""), "actual"),
            *_percents(data.get("forecast", ""), "forecast"),
        ],
        "channels": list(
            AlertChannel.objects.filter(project=request.project, name__in=data.getlist("channels"))
        ),
        "enabled": data.get("enabled", "1") == "1",
    }
    if scope == "target":
        rows = Target.objects.filter(project=request.project).exclude(status=TargetStatus.DESTROYED)
        values["target"] = rows.filter(name=data.get("target", "")).first()
    if scope == "cloud":
        values["cloud"] = data.get("cloud", "").strip()
    return values


@page("cost.budget.manage")
def new(request):
    """A form; the address may carry what it begins with."""
    given = {name: request.GET.get(name, "") for name in FORM}
    given = {
        "scope": "project",
        "period": "month",
        "currency": "USD",
        "actual": "50, 80, 100",
        "forecast": "100",
    } | {key: value for key, value in given.items() if value}
    errors = {}
    if request.method == "POST":
        given = request.POST
        try:
            made = budgets.budget_create(
                project=request.project, created_by=actor(request), **_values(request)
            )
        except ProblemError as error:
            errors = field_errors(error, FORM)
        else:
            messages.success(request, f"Budget {made.name} is kept.")
            return redirect("cost-budget", made.pk)
    return render(
        request,
        "costs/budget_form.html",
        _form_context(request, given, errors),
        status=422 if errors else 200,
    )


@page("cost.budget.manage")
def change(request, budget_id):
    """The same form for a budget that exists."""
    held = row_or_404(budgets.budgets(request.project), pk=budget_id)
    errors = {}
    given = {
        "name": held.name,
        "scope": held.scope,
        "target": held.target.name if held.target else "",
        "cloud": held.cloud,
        "amount": f"{held.amount.normalize():f}",
        "currency": held.currency,
        "period": held.period,
        "measure": held.measure,
        "actual": ", ".join(str(one["percent"]) for one in held.thresholds if one["on"] == "actual"),
        "forecast": ", ".join(str(one["percent"]) for one in held.thresholds if one["on"] == "forecast"),
        "chosen": list(held.channels.values_list("name", flat=True)),
    }
    if request.method == "POST":
        given = request.POST
        try:
            budgets.budget_update(budget=held, updated_by=actor(request), **_values(request))
        except ProblemError as error:
            errors = field_errors(error, FORM)
        else:
            messages.success(request, f"Budget {held.name} is changed.")
            return redirect("cost-budget", held.pk)
    context = _form_context(
        request, given, errors, row_or_404(budgets.budgets(request.project), pk=budget_id)
    )
    return render(request, "costs/budget_form.html", context, status=422 if errors else 200)


@page("cost.read")
def budget(request, budget_id):
    """How one budget stands, its thresholds and its alerts with their deliveries."""
    held = decorated(row_or_404(budgets.budgets(request.project), pk=budget_id))
    reached = {(one.on, one.percent): one for one in held.alerts.filter(period_start=held.now.since)}
    context = {
        "section": "costs",
        "tab": "budgets",
        "budget": held,
        "thresholds": [
            one
            | {"at": held.amount * one["percent"] / 100, "alert": reached.get((one["on"], one["percent"]))}
            for one in held.thresholds
        ],
        "channels": held.channels.order_by("name"),
        "page": paginate(held.alerts.all(), request.GET, sorts={"at": "at"}, default="-at", size=20),
    }
    return render(request, "costs/budget.html", context)


@page("cost.budget.manage")
@require_POST
def delete(request, budget_id):
    held = row_or_404(budgets.budgets(request.project), pk=budget_id)
    budgets.budget_delete(budget=held, deleted_by=actor(request))
    messages.success(request, f"Budget {held.name} is deleted.")
    return redirect("cost-budgets")


@page("cost.channel.read", post="cost.channel.manage")
def channels(request):
    """Where alerts go, and a form for one more; a webhook's key is shown this once."""
    errors, made = {}, None
    if request.method == "POST":
        data = request.POST
        kind = data.get("kind", "")
        given = (
            {"url": data.get("url", "")}
            if kind != "email"
            else {"recipients": data.get("recipients", "").split(",")}
        )
        try:
            made = alert_channels.alert_channel_create(
                project=request.project,
                name=data.get("name", ""),
                kind=kind,
                created_by=actor(request),
                **given,
            )
        except ProblemError as error:
            errors = field_errors(error, ("name", "kind", "recipients", "url"))
    found = paginate(
        alert_channels.alert_channels(request.project),
        request.GET,
        sorts={"name": "name", "made": "created_at"},
        default="name",
    )
    for one in found:
        one.address = alert_channels.shown_address(one)
    context = {
        "section": "costs",
        "tab": "budgets",
        "page": found,
        "made": made,
        "errors": errors,
        "kinds": ChannelKind.choices,
        "given": request.POST if errors else {},
    }
    return render(request, "costs/channels.html", context, status=422 if errors else 200)


@page("cost.channel.test")
@require_POST
def channel_test(request, channel_id):
    held = row_or_404(AlertChannel.objects.select_related("project"), project=request.project, pk=channel_id)
    try:
        operation = alert_channels.alert_channel_test(channel=held, requested_by=actor(request))
    except ProblemError as error:
        messages.error(request, error.detail)
        return redirect("cost-channels")
    return redirect("operation", operation.pk)


@page("cost.channel.manage")
@require_POST
def channel_delete(request, channel_id):
    held = row_or_404(AlertChannel.objects.select_related("project"), project=request.project, pk=channel_id)
    alert_channels.alert_channel_delete(channel=held, deleted_by=actor(request))
    messages.success(request, f"Channel {held.name} is deleted.")
    return redirect("cost-channels")
