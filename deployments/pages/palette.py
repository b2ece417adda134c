"""Where one can go: anything by name in the palette."""

from django.shortcuts import render
from django.urls import reverse

from controlplane.pages.access import allowed, page
from deployments.models import Target, TargetStatus
from deployments.pages import selectors
from worker.models import Operation

PAGES = [
    ("Overview", "/", "overview", None),
    ("Targets", "/targets/", "target", None),
    ("Fleets", "/fleets/", "layers", None),
    ("Operations", "/operations/", "operation", None),
    ("New target", "/new-target/", "plus", "target.create"),
    ("Members", "/settings/members/", "users", "member.update"),
    ("API keys", "/settings/api-keys/", "key", "api_key.create"),
    ("Costs", "/costs/", "coins", "cost.read"),
    ("Budgets", "/costs/budgets/", "coins", "cost.read"),
    ("Recommendations to save", "/costs/recommendations/", "coins", "cost.read"),
    ("Unit costs", "/costs/units/", "coins", "cost.read"),
    ("What would this cost?", "/costs/estimates/", "coins", "cost.read"),
    ("Audit log", "/settings/audit/", "audit", "audit.read"),
    ("Account and appearance", "/settings/appearance/", "palette", None),
]
TARGET_PAGES = [
    ("logs", "logs", "logs"),
    ("metrics", "metrics", "chart"),
    ("health", "health", "heart"),
    ("data", "data", "database"),
    ("settings", "settings", "settings"),
]


@page()
def palette(request):
    """Where one can go: pages, targets and their tabs, operations; by a part of the name or an id."""
    wanted = request.GET.get("q", "").strip().lower()
    words = wanted.split()
    found = []
    targets = Target.objects.filter(project=request.project).exclude(status=TargetStatus.DESTROYED)
    if words:
        targets = targets.filter(name__icontains=words[0])
    for target in targets.order_by("name")[:6]:
        base = f"/targets/{target.name}/"
        if len(words) < 2:
            found.append(("Targets", target.name, base, "target", target.status))
        for label, path, icon in TARGET_PAGES:
            if len(words) > 1 and label.startswith(words[1]):
                found.append(("Targets", f"{target.name} {label}", f"{base}{path}/", icon, ""))
    for title, url, icon, action in PAGES:
        if wanted in title.lower() and (action is None or allowed(request, action)):
            found.append(("Pages", title, url, icon, ""))
    if wanted.startswith("op_") and len(wanted) == 29:
        rows = Operation.objects.filter(project=request.project, pk=wanted)
    elif not wanted:
        rows = Operation.objects.filter(project=request.project).order_by("-pk")[:3]
    else:
        rows = Operation.objects.none()
    try:
        for operation in selectors.with_targets(rows):
            title = f"{operation.label} {operation.target or ''}".strip()
            url = reverse("operation", args=[operation.pk])
            found.append(("Operations", title, url, "operation", operation.status))
    except ValueError:
        pass
    return render(request, "deployments/_palette.html", {"found": found, "wanted": wanted})
