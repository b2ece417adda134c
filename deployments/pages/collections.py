"""A target's data: all its collections, a new one, and the jobs that work on them."""

from django.contrib import messages
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from controlplane.errors import ProblemError
from controlplane.pages.access import page
from controlplane.pages.forms import field_errors
from controlplane.pages.paging import Page
from deployments.pages import collection_form
from deployments.pages.actions import dialog, gone_to
from deployments.pages.collection import JOB_ENDED, api_of, served
from deployments.pages.targets import tab_context, target_or_404
from deployments.target_api import collection_path

PER_PAGE = 25
SORTS = {
    "name": lambda row: row["name"],
    "points": lambda row: row["points"],
    "dimension": lambda row: row["dimension"],
    "size": lambda row: row["table_bytes"] + row["index_bytes"],
    "changed": lambda row: row["updated_at"],
}
BUILDS = ("index.build", "index.merge")


def sorted_page(rows: list[dict], parameters) -> Page:
    """One page of rows that are all at hand; the cursor is the place of its first row."""
    sort = parameters.get("sort", "name")
    if sort.removeprefix("-") not in SORTS:
        sort = "name"
    rows = sorted(rows, key=SORTS[sort.removeprefix("-")], reverse=sort.startswith("-"))
    text = parameters.get("cursor", "")
    start = int(text) if text.isascii() and text.isdigit() and int(text) < len(rows) else 0
    shown = Page(items=rows[start : start + PER_PAGE], sort=sort, total=len(rows))
    if start + PER_PAGE < len(rows):
        shown.next = str(start + PER_PAGE)
    if start:
        shown.previous = str(max(0, start - PER_PAGE))
    return shown


def fits(row: dict, wanted: str) -> bool:
    """Whether the words typed are in a collection's name, metric or aliases."""
    text = " ".join([row["name"], row["metric"], *row.get("aliases", [])]).lower()
    return all(word in text for word in wanted.lower().split())


@page()
def index(request, name):
    """All collections with counts, sizes and index states; an honest word when the target does not answer."""
    found = target_or_404(request, name)
    problem, rows, jobs = None, [], []
    try:
        api = api_of(request, found)
        rows = api.collections()
        jobs = [job for job in api.call("GET", "jobs", limit=50)["items"] if job["state"] not in JOB_ENDED]
    except ProblemError as error:
        problem = error
    total = len(rows)
    wanted = request.GET.get("q", "").strip()
    if wanted:
        rows = [row for row in rows if fits(row, wanted)]
    building = {job["collection"]: job for job in reversed(jobs) if job["kind"] in BUILDS}
    for row in rows:
        row["job"] = building.get(row["name"])
    shown = sorted_page(rows, request.GET)
    context = tab_context(
        request, found, "data", problem=problem, page=shown, q=wanted, running=len(jobs), whole=total
    )
    template = "_collections.html" if request.htmx else "collections.html"
    return render(request, f"deployments/data/{template}", context)


@page()
def latest_recall(request, name, collection):
    """The last measured recall, for a cell of the list, which does not wait for it."""
    found = target_or_404(request, name)
    try:
        answer = served(
            api_of(request, found).call, "GET", f"{collection_path(collection)}/recall", limit=1, timeout=3
        )
    except ProblemError:
        answer = None
    latest = next(iter(answer["items"]), None) if answer else None
    return render(request, "deployments/data/_latest_recall.html", {"recall": latest})


@page("target.update")
def create(request, name):
    """Make a collection; what the target refuses is told at its field."""
    found = target_or_404(request, name)
    value = collection_form.given(request.POST)
    context = tab_context(request, found, "data", **collection_form.choices(), value=value, errors={})
    if request.method == "POST":
        body, errors = collection_form.body(value)
        if not errors:
            try:
                made = api_of(request, found).collection_create(body)
            except ProblemError as error:
                errors = collection_form.shown(field_errors(error))
            else:
                messages.success(request, f"Collection {made['name']} made.")
                return gone_to(request, f"{context['base']}data/{made['name']}/")
        context["errors"] = errors
        return dialog(request, "data/_create.html", context, status=422)
    return dialog(request, "data/_create.html", context)


@page()
def jobs(request, name):
    """What the target's runners do and did, newest first."""
    found = target_or_404(request, name)
    context = tab_context(request, found, "data", problem=None)
    query = {"limit": 50}
    if request.GET.get("cursor"):
        query["cursor"] = request.GET["cursor"]
    try:
        listed = api_of(request, found).call("GET", "jobs", **query)
        context |= {"job_rows": listed["items"], "next_cursor": listed["next_cursor"]}
        context["working"] = any(job["state"] not in JOB_ENDED for job in listed["items"])
    except ProblemError as error:
        context["problem"] = error
    template = "_jobs.html" if request.htmx else "jobs.html"
    return render(request, f"deployments/data/{template}", context)


@page("target.update")
@require_POST
def job_cancel(request, name, job):
    """Stop a job on the target."""
    found = target_or_404(request, name)
    try:
        api_of(request, found).call("POST", f"jobs/{job}/cancel")
        messages.success(request, "The job was stopped.")
    except ProblemError as error:
        messages.error(request, error.detail)
    if request.POST.get("next", "").startswith(f"/targets/{found.name}/"):
        return redirect(request.POST["next"])
    return redirect("target-jobs", found.name)
