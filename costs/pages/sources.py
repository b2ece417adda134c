"""Sources of costs: how each stands, a form for one more, and one with its months and the cloud's totals."""

import json

from django.contrib import messages
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST

from controlplane.errors import InvalidError, ProblemError
from controlplane.pages.access import actor, page
from controlplane.pages.forms import field_errors
from controlplane.pages.lookup import row_or_404
from controlplane.pages.paging import paginate
from costs import imports, syncing
from costs.models import CostSource, SourceKind
from costs.sources.registry import SOURCES
from worker.models import Operation


def _decorated(source: CostSource) -> CostSource:
    source.newest_day = syncing.newest_day_of(source)
    source.lag_days = (timezone.now().date() - source.newest_day).days if source.newest_day else None
    source.busy = Operation.objects.unfinished().on(source.subject).order_by("pk").first()
    source.is_upload = source.kind == SourceKind.UPLOAD
    if source.busy:
        source.state, source.word = "running", "Being read"
    elif source.last_error:
        source.state, source.word = "failed", "Failing"
    elif not source.enabled:
        source.state, source.word = "stopped", "Switched off"
    elif source.newest_day:
        source.state, source.word = "ready", "Read"
    else:
        source.state, source.word = "pending", "Not read yet"
    return source


@page("cost.read")
def index(request):
    """By name, with last success, lag and state."""
    found = paginate(
        imports.cost_sources(request.project),
        request.GET,
        sorts={"name": "name", "kind": "kind", "created": "created_at"},
        default="name",
        size=20,
    )
    for one in found:
        _decorated(one)
    context = {"section": "costs", "tab": "sources", "page": found}
    template = "_sources.html" if request.htmx else "sources.html"
    return render(request, f"costs/{template}", context)


def _fields(schema: dict, given, prefix: str) -> list[dict]:
    """A schema's properties as the fields of a form."""
    secret = prefix == "credentials"
    return [
        {
            "name": f"{prefix}.{name}",
            "label": property.get("title", name.replace("_", " ").capitalize()),
            "required": name in schema.get("required", ()),
            "value": "" if secret else given.get(f"{prefix}.{name}", property.get("default", "")),
            "is_boolean": property["type"] == "boolean",
            "choices": property.get("items", {}).get("enum", []),
            "secret": secret,
        }
        for name, property in schema["properties"].items()
    ]


def _values(schema: dict, given, prefix: str) -> dict:
    found = {}
    for name, property in schema["properties"].items():
        text = given.get(f"{prefix}.{name}", "").strip()
        if property["type"] == "boolean":
            found[name] = text == "on"
        elif text:
            found[name] = [text] if property["type"] == "array" else text
    return found


@page("cost.source.manage")
def new(request):
    """Choose a kind, then tell where it is."""
    given = request.POST if request.method == "POST" else request.GET
    kind = given.get("kind", "")
    kind = kind if kind in SOURCES else next(iter(SOURCES))
    errors = {}
    if request.method == "POST":
        try:
            hours = given.get("every_hours", "6")
            if not hours.isdigit() or not 1 <= int(hours) <= 168:
                raise InvalidError("Give hours from 1 to 168.", field="every_hours")
            made = syncing.cost_source_create(
                project=request.project,
                name=given.get("name", "").strip(),
                kind=kind,
                config=_values(SOURCES[kind].config_schema, given, "config"),
                credentials=_values(SOURCES[kind].credentials_schema, given, "credentials"),
                every_hours=int(hours),
                created_by=actor(request),
            )
            syncing.cost_source_sync(source=made, requested_by=actor(request))
        except ProblemError as error:
            errors = field_errors(error, ("name", "every_hours"))
        else:
            messages.success(request, f"{made.name} is being read.")
            return redirect("cost-source", made.pk)
    context = {
        "section": "costs",
        "tab": "sources",
        "kind": kind,
        "kinds": [(name, source.label) for name, source in SOURCES.items()],
        "fields": _fields(SOURCES[kind].config_schema, given, "config"),
        "secrets": _fields(SOURCES[kind].credentials_schema, given, "credentials"),
        "given": given,
        "errors": errors,
    }
    return render(request, "costs/source_new.html", context, status=422 if errors else 200)


@page("cost.read")
def source(request, source_id):
    """Its months: rows, sums, the provider's totals and the variance."""
    found = _decorated(row_or_404(CostSource, project=request.project, pk=source_id))
    context = {
        "section": "costs",
        "tab": "sources",
        "one": found,
        "months": syncing.months_of(found),
        "config": json.dumps(found.config, indent=2, sort_keys=True),
        "imports": found.imports.select_related("source").order_by("-pk")[:10],
    }
    template = "_source.html" if request.htmx else "source.html"
    return render(request, f"costs/{template}", context)


@page("cost.source.sync")
@require_POST
def sync(request, source_id):
    found = row_or_404(CostSource, project=request.project, pk=source_id)
    try:
        syncing.cost_source_sync(source=found, requested_by=actor(request))
        messages.success(request, f"{found.name} is being read.")
    except ProblemError as error:
        messages.error(request, error.detail)
    return redirect("cost-source", found.pk)


@page("cost.source.manage")
def delete(request, source_id):
    """What goes with it is told before."""
    found = row_or_404(CostSource, project=request.project, pk=source_id)
    months = syncing.months_of(found)
    errors = {}
    if request.method == "POST":
        try:
            if request.POST.get("confirm", "") != found.name:
                raise InvalidError(f"Type {found.name} to delete it.", field="confirm")
            syncing.cost_source_delete(source=found, requested_by=actor(request))
        except ProblemError as error:
            errors = field_errors(error, ("confirm",))
        else:
            messages.success(request, f"{found.name} and its records are deleted.")
            return redirect("cost-sources")
    context = {
        "section": "costs",
        "tab": "sources",
        "one": found,
        "months": len({one["month"] for one in months}),
        "rows": sum(one["rows"] for one in months),
        "errors": errors,
    }
    return render(request, "costs/source_delete.html", context, status=422 if errors else 200)
