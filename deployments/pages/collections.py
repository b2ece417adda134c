"""A target's data: its collections, one collection, and what is done to one."""

from django.contrib import messages
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from controlplane.errors import NotFoundError, ProblemError
from controlplane.pages.access import actor, membership, page
from controlplane.pages.forms import field_errors
from deployments.pages.actions import dialog, gone_to
from deployments.pages.targets import tab_context, target_or_404
from deployments.target_api import TargetApi

METRICS = [
    ("cosine", "Cosine", "Angle between vectors. Right for most text embeddings."),
    ("l2", "Euclidean (L2)", "Distance between points."),
    ("ip", "Inner product", "For vectors of length 1, or where length carries meaning."),
    ("l1", "Manhattan (L1)", "Sum of the differences; outliers weigh less than in L2."),
]
SAMPLE_POINTS = 10


def api_of(request, target) -> TargetApi:
    """The target's API as the signed-in user: the target checks the role as well."""
    return TargetApi(target, subject=actor(request), role=membership(request).role)


@page()
def index(request, name):
    """All collections with counts, sizes and index states; an honest word when the target does not answer."""
    found = target_or_404(request, name)
    problem, rows = None, []
    try:
        rows = api_of(request, found).collections()
    except ProblemError as error:
        problem = error
    wanted = request.GET.get("q", "").strip()
    if wanted:
        rows = [row for row in rows if wanted.lower() in row["name"].lower()]
    sort = request.GET.get("sort", "name")
    keys = {
        "name": lambda row: row["name"],
        "points": lambda row: row["points"],
        "size": lambda row: row["table_bytes"] + row["index_bytes"],
    }
    rows.sort(key=keys.get(sort.removeprefix("-"), keys["name"]), reverse=sort.startswith("-"))
    context = tab_context(
        request, found, "data", problem=problem, collections=rows, q=wanted, page=_Sorted(rows, sort)
    )
    template = "_collections.html" if request.htmx else "collections.html"
    return render(request, f"deployments/{template}", context)


class _Sorted:
    """What the heads of sorted columns ask of a page."""

    def __init__(self, items, sort):
        self.items, self.sort, self.total = items, sort, len(items)
        self.next = self.previous = ""


@page("target.update")
def create(request, name):
    found = target_or_404(request, name)
    given = request.POST
    context = tab_context(
        request,
        found,
        "data",
        metrics=METRICS,
        value={
            "name": given.get("name", ""),
            "dimension": given.get("dimension", "384"),
            "metric": given.get("metric", "cosine"),
            "index": given.get("index", "hnsw"),
            "precision": given.get("precision", ""),
            "m": given.get("m", "16"),
            "ef_construction": given.get("ef_construction", "64"),
        },
    )
    if request.method == "POST":
        try:
            made = api_of(request, found).collection_create(_collection_body(context["value"]))
        except ProblemError as error:
            errors = field_errors(error)
            shown = {key.rpartition(".")[2]: text for key, text in errors.items()}
            known = set(context["value"]) | {"form"}
            context["errors"] = {key if key in known else "form": text for key, text in shown.items()}
            return dialog(request, "_collection_create.html", context, status=422)
        messages.success(request, f"Collection {made['name']} made.")
        return gone_to(request, f"{context['base']}data/{made['name']}/")
    return dialog(request, "_collection_create.html", context)


def _collection_body(value: dict) -> dict:
    def number(text):
        return int(text) if text.strip().isdigit() else text

    options: dict = {"type": value["index"]}
    if value["index"] == "hnsw":
        options |= {"m": number(value["m"]), "ef_construction": number(value["ef_construction"])}
        if value["precision"]:
            options["precision"] = value["precision"]
    return {
        "name": value["name"].strip(),
        "dimension": number(value["dimension"]),
        "metric": value["metric"],
        "index": options,
    }


def collection_context(request, name, collection) -> dict:
    """A collection's figures for its pages; NotFoundError as a page when the target knows none."""
    found = target_or_404(request, name)
    context = tab_context(request, found, "data", name=collection, collection=None, problem=None)
    context["here"] = f"{context['base']}data/{collection}/"
    return context


@page()
def collection(request, name, collection):
    """Counts, size, index with its progress, namespaces, and some points."""
    context = collection_context(request, name, collection)
    api = api_of(request, context["target"])
    try:
        context["collection"] = api.call("GET", f"collections/{collection}/stats")
        context["index"] = api.index(collection)
        context["sample"] = api.scroll(
            collection,
            limit=SAMPLE_POINTS,
            include=["metadata", "content"],
            **({"cursor": request.GET["cursor"]} if request.GET.get("cursor") else {}),
        )
    except NotFoundError:
        raise
    except ProblemError as error:
        context["problem"] = error
    part = request.GET.get("part", "")
    if request.htmx and part == "index":
        done = context.get("index", {}).get("state") not in ("queued", "building")
        # 286 ends htmx's polling: a finished build does not change by itself.
        return render(request, "deployments/_index.html", context, status=286 if done else 200)
    return render(request, "deployments/collection.html", context)


@page("target.update")
@require_POST
def build(request, name, collection):
    """Build the index, again when there is one."""
    context = collection_context(request, name, collection)
    try:
        api_of(request, context["target"]).index_build(collection, {})
        messages.success(request, "The index is being built. Searches go on meanwhile.")
    except ProblemError as error:
        messages.error(request, error.detail)
    return redirect(context["here"])


@page("target.update")
def drop(request, name, collection):
    """Delete a collection with its points; its name has to be typed."""
    context = collection_context(request, name, collection)
    api = api_of(request, context["target"])
    context["collection"] = api.collection(collection)
    if request.method == "POST":
        if request.POST.get("confirm") != collection:
            context["errors"] = {"confirm": f"Type {collection} to delete it."}
            return dialog(request, "_collection_drop.html", context, status=422)
        api.collection_delete(collection)
        messages.success(request, f"Collection {collection} deleted.")
        return gone_to(request, f"{context['base']}data/")
    return dialog(request, "_collection_drop.html", context)
