"""The search page of a collection: by text, vector or id, with a filter; the address carries it all."""

from django.shortcuts import render

from controlplane.errors import NotFoundError, ProblemError
from controlplane.pages.access import page
from deployments.pages.collection import collection_context, namespaces_of, timed
from deployments.pages.filters import at_fields, suggestions
from deployments.pages.search_form import INCLUDES, RECALLS, calls, defaults, query_body

PLANS = {
    "hnsw": "HNSW index",
    "ivfflat": "IVFFlat index",
    "exact": "Exact: every matching point compared",
    "hnsw+exact": "HNSW index, then exact, because the graph gave too few",
    "ivfflat+exact": "IVFFlat index, then exact, because its lists gave too few",
    "text": "Words alone, by the text index",
    "hybrid": "Vector and words, merged",
}
DISTANCES = ("l2", "l1", "hamming", "jaccard")
FIELDS = (
    "vector",
    "id",
    "text",
    "filter",
    "top_k",
    "namespace",
    "recall",
    "score_threshold",
    "rrf_k",
    "vector_weight",
)
# What the target calls a field and the form calls otherwise.
NAMES = {"vector_b64": "vector", "fusion.k": "rrf_k", "fusion.vector_weight": "vector_weight"}


@page()
def search(request, name, collection):
    """The form, and the results when the address carries a query, so that a search can be shared."""
    context = collection_context(request, name, collection, "search")
    given = defaults(request.GET)
    body, errors = query_body(given) if given["asked"] else ({}, {})
    if not context["problem"]:
        try:
            _fill(context, given)
            if given["asked"] and not errors:
                answer, round_trip = timed(context["api"].query, context["collection"]["name"], body)
                context["answer"] = shown(answer, context["collection"]["metric"])
                context["round_trip_ms"] = round_trip
                context["next"] = _next_page(request.GET, answer)
        except NotFoundError as error:
            errors["id"] = error.detail
        except ProblemError as error:
            if error.status >= 500:
                context["problem"] = error
            else:
                errors |= at_fields(error, FIELDS, NAMES)
    if given["asked"] and not errors and context["collection"]:
        root = request.build_absolute_uri("/").rstrip("/")
        own = context["collection"]["name"]
        context["calls"] = calls(root, context["target"].name, context["path"], own, body)
    context |= {"errors": errors, "given": given, "recalls": RECALLS, "includes": INCLUDES}
    return render(request, "deployments/data/search.html", context)


def _fill(context: dict, given: dict) -> None:
    """What the form suggests: fields to filter on, namespaces, ids to begin with."""
    api, collection = context["api"], context["collection"]
    context["fields"] = suggestions(api, collection)
    context["namespaces"] = namespaces_of(context)
    context["has_text"] = bool(collection.get("text"))
    if not given["asked"]:
        points = api.scroll(collection["name"], limit=3, include=[])["points"]
        context["suggested"] = points


def _next_page(parameters, answer: dict) -> str:
    if not answer.get("next_cursor"):
        return ""
    query = parameters.copy()
    query["cursor"] = answer["next_cursor"]
    return f"?{query.urlencode()}"


def shown(answer: dict, metric: str) -> dict:
    """The answer with, for each match, the length of its score's bar and its metadata as pairs."""
    matches = answer.get("matches", [])
    scores = [match["score"] for match in matches]
    low, high = (min(scores), max(scores)) if scores else (0, 1)
    plan = answer.get("plan") or ""
    merged = plan in ("text", "hybrid")
    nearer_is_less = metric in DISTANCES and not merged
    for match in matches:
        score = match["score"]
        if metric == "cosine" and not merged:
            share = max(0.0, min(1.0, score))
        elif merged:
            share = score / high if high > 0 else 0
        else:
            share = (score - low) / (high - low) if high > low else 1
            share = 1 - share if nearer_is_less else share
        match["bar"] = round(72 * share, 1)
        match["pairs"] = list((match.get("metadata") or {}).items())
        if match.get("vector"):
            match["vector_text"] = ", ".join(f"{value:.4g}" for value in match["vector"][:8])
    return {**answer, "plan_words": PLANS.get(plan, plan), "higher_is_nearer": not nearer_is_less}
