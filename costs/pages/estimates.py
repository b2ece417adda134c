"""What would this cost: resources as lines of a form whose address carries them all, and estimates that
were kept.
"""

from decimal import Decimal, InvalidOperation

from django.contrib import messages
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST

from controlplane.errors import InvalidError, ProblemError
from controlplane.pages.access import actor, page
from controlplane.pages.forms import field_errors
from controlplane.pages.lookup import row_or_404
from controlplane.pages.paging import paginate
from costs import estimates, prices_list, prices_sync
from costs.estimates_presets import PRESETS, preset
from costs.models_planning import CLOUDS, Estimate, NodePrice, Price
from costs.variance import estimate_variance
from deployments.models import Target, TargetStatus

MOST_LINES = 40
NUMBERS = ("quantity", "hours", "gib", "millions")
# GCP makes database sizes of parts, so any could be named; these are offered.
CUSTOM_SIZES = [("database", f"db-custom-{cpus}-{cpus * 4096}") for cpus in (2, 4, 8, 16)]


def _resources(data) -> list[dict]:
    """The lines of a form: `sku.N` is `kind/sku`, and the numbers beside it; empty lines are left out."""
    cloud, region = data.get("cloud", ""), data.get("region", "").strip()
    found = []
    for place in range(MOST_LINES):
        kind, _, sku = data.get(f"sku.{place}", "").partition("/")
        if not kind or not sku:
            continue
        line = {
            "cloud": cloud,
            "region": region,
            "kind": kind,
            "sku": sku,
            "name": data.get(f"name.{place}", ""),
        }
        for name in NUMBERS:
            text = data.get(f"{name}.{place}", "").strip()
            if not text:
                continue
            try:
                number = Decimal(text)
            except InvalidOperation:
                number = Decimal("NaN")
            if not number.is_finite() or number < 0 or number > 10**9:
                raise InvalidError(f"{text[:40]!r} is not a number of 0 or more.", field=f"{name}.{place}")
            line[name] = f"{number.normalize():f}"
        if line.get("quantity") != "0":
            found.append(line)
    return found


def _kinds(cloud: str) -> list[tuple[str, list[str]]]:
    """[(kind, its skus)] that can be priced in a cloud."""
    known = [
        *prices_list.skus(cloud),
        *Price.objects.filter(cloud=cloud).values_list("kind", "sku").distinct(),
    ]
    if cloud == "gcp":
        known += CUSTOM_SIZES
    grouped: dict[str, set] = {}
    for kind, sku in known:
        grouped.setdefault(kind, set()).add(sku)
    return [(kind, sorted(skus)) for kind, skus in sorted(grouped.items())]


@page("cost.read", post="cost.estimate.make")
def calculator(request):
    """GET prices what the address carries; POST keeps it."""
    data = request.POST if request.method == "POST" else request.GET
    cloud = data.get("cloud") if data.get("cloud") in PRESETS else "aws"
    regions = sorted(
        {*prices_list.regions(cloud), *Price.objects.filter(cloud=cloud).values_list("region", flat=True)}
    )
    region = data.get("region") if data.get("region") in regions else prices_list.table().base_regions[cloud]
    chosen = data.get("preset", "")
    errors, lines, totals = {}, [], {}
    try:
        if chosen in PRESETS[cloud]:
            resources = preset(cloud, chosen, region)
        else:
            resources = [{**one, "cloud": cloud, "region": region} for one in _resources(data)]
        lines, totals = estimates.estimate_make(project=request.project, resources=resources)
        if request.method == "POST":
            kept = _keep(request, resources)
            messages.success(request, f"{kept} is kept.")
            return redirect("cost-estimate", kept.pk)
    except ProblemError as error:
        errors = field_errors(error, ("name", "target"))
        errors.setdefault(
            "form", " ".join(text for key, text in errors.items() if "." in key) or errors.get("form", "")
        )
    context = {
        "section": "costs",
        "tab": "estimates",
        "clouds": CLOUDS,
        "cloud": cloud,
        "regions": regions,
        "region": region,
        "presets": list(PRESETS[cloud]),
        "chosen": chosen,
        "lines": [line.as_json() for line in lines],
        "blank": len(lines),
        "totals": estimates.as_money(totals),
        "kinds": _kinds(cloud),
        "errors": {key: text for key, text in errors.items() if text},
        "given": data,
        "unchecked": any("looked up" in line.note for line in lines),
        "unknown": sum(line.amount is None for line in lines),
        "targets": _targets(request.project),
        "kept": Estimate.objects.filter(project=request.project).select_related("target").order_by("-pk")[:5],
    }
    return render(request, "costs/estimates.html", context, status=422 if errors else 200)


def _keep(request, resources) -> Estimate:
    if not resources:
        raise InvalidError("There is nothing to keep yet: add a line first.")
    wanted = request.POST.get("target", "")
    target = _targets(request.project).filter(name=wanted).first() if wanted else None
    return estimates.estimate_keep(
        project=request.project,
        name=request.POST.get("keep_as", ""),
        resources=resources,
        target=target,
        created_by=actor(request),
    )


def _targets(project):
    return Target.objects.filter(project=project).exclude(status=TargetStatus.DESTROYED).order_by("name")


@page("cost.read")
def kept(request):
    """All estimates that were kept."""
    rows = Estimate.objects.filter(project=request.project).select_related("target")
    found = paginate(rows, request.GET, sorts={"made": "created_at", "name": "name"}, default="-made")
    return render(
        request, "costs/estimates_kept.html", {"section": "costs", "tab": "estimates", "page": found}
    )


@page("cost.read")
def estimate(request, estimate_id):
    """One estimate, line by line, and against the bill of its target."""
    rows = Estimate.objects.select_related("target", "project")
    found = row_or_404(rows, project=request.project, pk=estimate_id)
    context = {
        "section": "costs",
        "tab": "estimates",
        "estimate": found,
        "variance": estimate_variance(found, timezone.now().date()),
        "sources": sorted(
            {
                (line["unit_price"]["as_of"], line["unit_price"]["source"])
                for line in found.lines
                if line["unit_price"]
            }
        ),
    }
    return render(request, "costs/estimate.html", context)


@page("cost.estimate.make")
@require_POST
def delete(request, estimate_id):
    found = row_or_404(Estimate.objects.select_related("project"), project=request.project, pk=estimate_id)
    estimates.estimate_delete(estimate=found, deleted_by=actor(request))
    messages.success(request, "The estimate is deleted.")
    return redirect("cost-estimates")


@page("cost.read", post="cost.price.sync")
def prices(request):
    """Where prices are from, what was synced, what nodes cost; POST starts a sync."""
    errors = {}
    if request.method == "POST":
        try:
            operation = prices_sync.prices_sync(
                project=request.project,
                cloud=request.POST.get("cloud", ""),
                region=request.POST.get("region", "").strip(),
                requested_by=actor(request),
            )
        except ProblemError as error:
            errors = field_errors(error, ("cloud", "region"))
        else:
            return redirect("operation", operation.pk)
    rows = Price.objects.all()
    wanted = request.GET.get("q", "").strip()
    if wanted:
        rows = rows.filter(sku__icontains=wanted)
    found = paginate(
        rows,
        request.GET,
        sorts={"sku": "sku", "cloud": "cloud", "region": "region", "day": "effective_on"},
        default="sku",
    )
    sources = {price.source: price for price in prices_list.table().prices.values()}
    context = {
        "section": "costs",
        "tab": "estimates",
        "page": found,
        "q": wanted,
        "clouds": CLOUDS,
        "errors": errors,
        "given": request.POST,
        "sources": sources.values(),
        "nodes": NodePrice.objects.filter(project=request.project).select_related("target").order_by("pk"),
    }
    return render(request, "costs/prices.html", context, status=422 if errors else 200)


@page("cost.price.give")
@require_POST
def node_price(request):
    """Set what a node costs an hour."""
    given = {
        name: request.POST.get(name, "").strip() for name in ("cpus", "memory_gib", "amount", "currency")
    }
    try:
        numbers = {name: Decimal(given[name]) for name in ("cpus", "memory_gib", "amount")}
        if not all(number.is_finite() for number in numbers.values()):
            raise InvalidOperation
    except InvalidOperation:
        messages.error(request, "CPUs, GiB and the price are numbers, such as 4, 16 and 0.15.")
        return redirect("cost-prices")
    if len(given["currency"]) != 3 or not given["currency"].isalpha():
        messages.error(request, "The currency is an ISO 4217 code, such as USD.")
        return redirect("cost-prices")
    try:
        price = estimates.node_price_set(
            project=request.project,
            provider="local" if request.POST.get("provider") == "local" else "kubernetes",
            target=None,
            currency=given["currency"].upper(),
            set_by=actor(request),
            **numbers,
        )
        messages.success(
            request,
            f"A node of {price.provider} costs {price.amount.normalize():f} {price.currency} an hour.",
        )
    except ProblemError as error:
        messages.error(request, error.detail)
    return redirect("cost-prices")
