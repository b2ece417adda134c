"""Searching: vectors in a collection, and anything by name in the palette."""

import json

from django.shortcuts import render
from django.urls import reverse

from controlplane.errors import NotFoundError, ProblemError
from controlplane.pages.access import allowed, page
from controlplane.pages.forms import field_errors
from deployments.models import Target, TargetStatus
from deployments.pages import selectors
from deployments.pages.collections import api_of, collection_context
from worker.models import Operation

PLANS = {
    "hnsw": "HNSW index",
    "exact": "Exact: every row compared",
    "filtered": "Filter first, then exact over what matched",
    "iterative": "HNSW index, searched on until enough rows matched the filter",
}


def query_body(parameters) -> tuple[dict, dict]:
    """(the body of the call, {field: what is wrong with the text}) of the search form."""
    body: dict = {}
    errors = {}
    if parameters.get("by", "id") == "vector":
        text = parameters.get("vector", "").strip()
        try:
            body["vector"] = json.loads(text if text.startswith("[") else f"[{text}]")
        except ValueError:
            errors["vector"] = "This is no list of numbers, such as [0.1, 0.2, 0.3]."
    else:
        body["id"] = parameters.get("id", "").strip()
        if not body["id"]:
            errors["id"] = "Give the id of a point to search for its neighbours."
    top_k = parameters.get("top_k", "10").strip() or "10"
    if top_k.isdigit():
        body["top_k"] = int(top_k)
    else:
        errors["top_k"] = "Give a whole number."
    if parameters.get("namespace", "").strip():
        body["namespace"] = parameters["namespace"].strip()
    text = parameters.get("filter", "").strip()
    if text:
        try:
            body["filter"] = json.loads(text)
        except ValueError as error:
            errors["filter"] = f"This is not JSON: {error}."
    if parameters.get("exact") == "on":
        body["exact"] = True
    body["include"] = ["metadata", "content"]
    return body, errors


def laid_out(body: dict) -> str:
    """JSON with a line for each field."""
    lines = [f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in body.items()]
    return "{\n" + ",\n".join(lines) + "\n}"


def calls(url: str, body: dict) -> dict[str, str]:
    """The same call as curl and as Python."""
    text = laid_out(body)
    if "vector" in body and len(body["vector"]) > 8:
        # A reader wants the shape of the call; the whole vector would bury it.
        text = laid_out({**body, "vector": "..."}).replace(
            '"..."', json.dumps(body["vector"][:4])[:-1] + ", ...]"
        )
    quoted = text.replace("'", "'\\''")
    curl = (
        f"curl -sS {url} \\\n  -H 'Authorization: Bearer $AINDUS_KEY' \\\n"
        f"  -H 'Content-Type: application/json' \\\n  -d '{quoted}'"
    ).replace("'Authorization: Bearer $AINDUS_KEY'", '"Authorization: Bearer $AINDUS_KEY"')
    shown = text.replace("true", "True").replace("null", "None") if "filter" not in body else text
    python = (
        "import json, os, urllib.request\n\n"
        f"body = {shown}\n"
        "request = urllib.request.Request(\n"
        f'    "{url}",\n'
        "    data=json.dumps(body).encode(),\n"
        "    headers={\n"
        '        "Authorization": f"Bearer {os.environ[\'AINDUS_KEY\']}",\n'
        '        "Content-Type": "application/json",\n'
        "    },\n)\n"
        "print(json.load(urllib.request.urlopen(request)))"
    )
    return {"curl": curl, "python": python}


@page()
def search(request, name, collection):
    """The form, and the results when the address carries a query, so that a search can be shared."""
    context = collection_context(request, name, collection)
    api = api_of(request, context["target"])
    parameters = request.GET
    asked = "id" in parameters or "vector" in parameters
    body, errors = query_body(parameters) if asked else ({}, {})
    try:
        context["collection"] = api.call("GET", f"collections/{collection}/stats")
        if not asked:
            points = api.scroll(collection, limit=3, include=["metadata"]).get("points", [])
            context["suggested"] = [point["id"] for point in points]
            if points and points[0].get("metadata"):
                key, value = next(iter(points[0]["metadata"].items()))
                context["filter_example"] = json.dumps({key: value}, ensure_ascii=False)
        if asked and not errors:
            answer = api.query(collection, body)
            context["answer"] = _shown(answer, context["collection"]["metric"])
    except NotFoundError as error:
        if not context["collection"]:
            raise
        errors["id"] = error.detail
    except ProblemError as error:
        found = field_errors(error, ("vector", "id", "filter", "top_k", "namespace"))
        if error.status >= 500 or not context["collection"]:
            context["problem"] = error
        else:
            errors |= {key if key != "form" else "form": text for key, text in found.items()}
    url = request.build_absolute_uri(
        f"/api/v1/targets/{context['target'].name}/vectors/collections/{collection}/query"
    )
    if asked and not errors:
        context["calls"] = calls(url, body)
    context |= {
        "errors": errors,
        "given": parameters,
        "by": parameters.get("by", "id"),
        "asked": asked,
        "view": "search",
    }
    return render(request, "deployments/search.html", context)


def _shown(answer: dict, metric: str) -> dict:
    """The answer with, for each match, the length of its score's bar and its metadata as pairs."""
    matches = answer.get("matches", [])
    scores = [match["score"] for match in matches]
    low, high = (min(scores), max(scores)) if scores else (0, 1)
    for match in matches:
        score = match["score"]
        if metric == "cosine":
            share = max(0.0, min(1.0, score))
        else:
            share = (score - low) / (high - low) if high > low else 1
            share = 1 - share if metric in ("l2", "l1") else share
        match["bar"] = round(72 * share, 1)
        match["pairs"] = list((match.get("metadata") or {}).items())
    plan = answer.get("plan")
    name = plan.get("type", "") if isinstance(plan, dict) else str(plan or "")
    return {**answer, "plan_words": PLANS.get(name, name), "higher_is_nearer": metric not in ("l2", "l1")}


PAGES = [
    ("Overview", "/", "overview", None),
    ("Targets", "/targets/", "target", None),
    ("Operations", "/operations/", "operation", None),
    ("New target", "/new-target/", "plus", "target.create"),
    ("Members", "/settings/members/", "users", "member.update"),
    ("API keys", "/settings/api-keys/", "key", "api_key.create"),
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
