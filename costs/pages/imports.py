"""Imports: a form that sends a file, the list, and one import with what was wrong."""

from django.shortcuts import render

from controlplane.pages.access import page
from controlplane.pages.lookup import row_or_404
from controlplane.pages.paging import paginate
from costs import imports
from costs.models import CostImport, CostSource, ImportStatus, OnError, SourceKind
from worker.models import Operation


@page("cost.read")
def index(request):
    """Newest first, by state and source; and the form."""
    wanted = {name: request.GET.get(name, "").strip() for name in ("status", "source")}
    rows = imports.cost_imports(request.project)
    if wanted["status"] in ImportStatus.values:
        rows = rows.filter(status=wanted["status"])
    if wanted["source"]:
        rows = rows.filter(source__name=wanted["source"])
    found = paginate(
        rows,
        request.GET,
        sorts={"created": "created_at", "rows": "rows", "status": "status"},
        default="-created",
    )
    context = {
        "section": "costs",
        "tab": "imports",
        "page": found,
        "wanted": wanted,
        "filtered": any(wanted.values()),
        "statuses": ImportStatus.choices,
        "sources": imports.cost_sources(request.project).order_by("name"),
        "uploads": CostSource.objects.filter(project=request.project, kind=SourceKind.UPLOAD).order_by(
            "name"
        ),
        "on_error": OnError.choices,
    }
    template = "_imports.html" if request.htmx else "imports.html"
    return render(request, f"costs/{template}", context)


@page("cost.read")
def cost_import(request, import_id):
    """What was read, what it adds up to, which months it replaced, and which rows were broken."""
    found = row_or_404(
        CostImport.objects.select_related("source"), source__project=request.project, pk=import_id
    )
    operation = Operation.objects.filter(pk=found.operation).first() if found.operation else None
    context = {"section": "costs", "tab": "imports", "one": found, "operation": operation}
    template = "_import.html" if request.htmx else "import.html"
    return render(request, f"costs/{template}", context)
