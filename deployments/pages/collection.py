"""One collection: its frame, its overview, its namespaces, and deleting it."""

import time

from django.contrib import messages
from django.shortcuts import render

from controlplane.errors import NotFoundError, ProblemError
from controlplane.pages.access import actor, membership, page
from deployments.models import Target
from deployments.pages import selectors
from deployments.pages.actions import dialog, gone_to
from deployments.pages.targets import tab_context, target_or_404
from deployments.target_api import TargetApi, collection_path
from worker.models import Operation

TABS = [
    ("overview", "Overview", ""),
    ("search", "Search", "search/"),
    ("points", "Points", "points/"),
    ("namespaces", "Namespaces", "namespaces/"),
    ("picture", "Picture", "picture/"),
    ("recall", "Recall", "recall/"),
    ("transfer", "Import and export", "transfer/"),
    ("settings", "Settings", "settings/"),
]
NAMESPACES_PER_PAGE = 50
# Counting namespaces reads the whole primary key: beyond so many points only their own page does it.
COUNTED_POINTS_MOST = 2_000_000
JOB_ENDED = ("succeeded", "failed", "cancelled")


def api_of(request, target: Target) -> TargetApi:
    """The target's API as the signed-in user: the target checks the role as well."""
    return TargetApi(target, subject=actor(request), role=membership(request).role)


def served(call, *arguments, **more):
    """What a call of the target gives; None when the release it runs does not serve this call yet."""
    try:
        return call(*arguments, **more)
    except NotFoundError as error:
        if error.code == "unknown_address":
            return None
        raise


def timed(call, *arguments, **more) -> tuple:
    """(answer, milliseconds from here to the target and back)."""
    started = time.perf_counter()
    answer = call(*arguments, **more)
    return answer, (time.perf_counter() - started) * 1000


def collection_context(request, name: str, collection: str, tab: str, *, stats: bool = False) -> dict:
    """What every page of a collection shows; `problem` when the target does not answer.

    NotFoundError when the target knows no such collection. With `stats` points are counted exactly, by
    namespace, unless there are very many.
    """
    found = target_or_404(request, name)
    context = tab_context(request, found, "data", name=collection, collection=None, problem=None, errors={})
    here = f"{context['base']}data/{collection}/"
    api = api_of(request, found)
    context |= {
        "here": here,
        "api": api,
        "path": collection_path(collection),
        "collection_tab": tab,
        "collection_tabs": [(key, label, here + path) for key, label, path in TABS],
        "gateway": f"/api/v1/targets/{found.name}/vectors/{collection_path(collection)}",
    }
    try:
        described = api.call("GET", context["path"])
        if stats and described["points"] <= COUNTED_POINTS_MOST:
            described = api.call("GET", f"{context['path']}/stats")
    except NotFoundError:
        raise
    except ProblemError as error:
        context["problem"] = error
    else:
        context["collection"] = described
        # An alias stands wherever a name does; what is typed to confirm is the collection's own.
        context["alias_of"] = described["name"] if described["name"] != collection else ""
    return context


def namespaces_of(context: dict) -> list[dict]:
    """The first namespaces with their counts, for a form to suggest; none where counting takes long."""
    if context["collection"]["points"] > COUNTED_POINTS_MOST:
        return []
    return context["api"].call("GET", f"{context['path']}/namespaces", limit=NAMESPACES_PER_PAGE)["items"]


def jobs_of(api: TargetApi, collection: str, limit: int = 200) -> list[dict]:
    """The newest jobs of a collection, of the target's newest `limit`."""
    return [job for job in api.call("GET", "jobs", limit=limit)["items"] if job["collection"] == collection]


def operations_of(target: Target, collection: str):
    """Operations of the control plane on a collection, newest first, each with its label."""
    rows = Operation.objects.filter(subject__startswith=f"{target.subject}/{collection}/").order_by("-pk")
    return [selectors.named(one) for one in rows[:6]]


@page()
def overview(request, name, collection):
    """Counts, size, index with its progress, latest recall, aliases, and what was done to it."""
    # Polls leave the namespaces as they are.
    context = collection_context(request, name, collection, "overview", stats=not request.htmx)
    if context["problem"]:
        return render(request, "deployments/data/overview.html", context)
    api, own = context["api"], context["collection"]["name"]
    try:
        context["index"] = index = api.index(own)
        context["jobs"] = jobs_of(api, own)[:6]
        recall = served(api.call, "GET", f"{context['path']}/recall", limit=1)
        context["recall"] = recall and next(iter(recall["items"]), None)
        context["recall_served"] = recall is not None
    except ProblemError as error:
        context["problem"] = error
        return render(request, "deployments/data/overview.html", context)
    context["working"] = index["state"] in ("queued", "building") or any(
        job["state"] not in JOB_ENDED for job in context["jobs"]
    )
    context["operations"] = operations_of(context["target"], own)
    template = "_overview.html" if request.htmx else "overview.html"
    return render(request, f"deployments/data/{template}", context)


@page()
def namespaces(request, name, collection):
    """Namespaces with their counts, filtered by how they begin, by pages."""
    context = collection_context(request, name, collection, "namespaces")
    wanted = request.GET.get("q", "").strip()
    query = {"limit": NAMESPACES_PER_PAGE}
    if wanted:
        query["prefix"] = wanted
    if request.GET.get("cursor"):
        query["cursor"] = request.GET["cursor"]
    context["q"] = wanted
    if not context["problem"]:
        try:
            listed = context["api"].call("GET", f"{context['path']}/namespaces", timeout=30, **query)
            context |= {"rows": listed["items"], "next_cursor": listed["next_cursor"]}
        except ProblemError as error:
            context["problem"] = error
    return render(request, "deployments/data/namespaces.html", context)


@page("target.update")
def namespace_delete(request, name, collection):
    """Delete a namespace with its points; its name has to be typed."""
    context = collection_context(request, name, collection, "namespaces")
    given = request.POST.get("namespace", request.GET.get("namespace", ""))
    shown = given or "default"
    context |= {"namespace": given, "shown": shown}
    if context["problem"]:
        return dialog(request, "data/_namespace_delete.html", context)
    if request.method == "POST":
        if request.POST.get("confirm") != shown:
            context["errors"] = {"confirm": f"Type {shown} to delete it."}
            return dialog(request, "data/_namespace_delete.html", context, status=422)
        gone = context["api"].call("DELETE", f"{context['path']}/namespaces", timeout=120, name=given)
        messages.success(request, f"Namespace {shown} deleted, {gone['deleted']:,} points.")
        return gone_to(request, f"{context['here']}namespaces/")
    context["count"] = context["api"].call("POST", f"{context['path']}/count", {"namespace": given})["count"]
    return dialog(request, "data/_namespace_delete.html", context)


@page("target.update")
def drop(request, name, collection):
    """Delete a collection with its points; its name has to be typed."""
    context = collection_context(request, name, collection, "settings")
    if context["problem"]:
        return dialog(request, "data/_drop.html", context)
    own = context["collection"]["name"]
    context["name"] = own
    if request.method == "POST":
        if request.POST.get("confirm") != own:
            context["errors"] = {"confirm": f"Type {own} to delete it."}
            return dialog(request, "data/_drop.html", context, status=422)
        context["api"].collection_delete(own)
        messages.success(request, f"Collection {own} deleted.")
        return gone_to(request, f"{context['base']}data/")
    return dialog(request, "data/_drop.html", context)
