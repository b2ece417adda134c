"""The points of a collection: leafing through them, and one of them to look at, change and delete."""

import json
import math

from django.contrib import messages
from django.http import Http404
from django.shortcuts import redirect, render
from django.utils.http import urlencode

from controlplane.errors import InvalidError, ProblemError
from controlplane.pages.access import page
from deployments.pages.actions import dialog, gone_to
from deployments.pages.collection import collection_context, namespaces_of
from deployments.pages.filters import at_fields, filter_of, suggestions

PER_PAGE = 25
NEIGHBOURS = 6
BARS = 96


@page()
def index(request, name, collection):
    """Points by namespace and id, narrowed by a filter, by pages."""
    context = collection_context(request, name, collection, "points")
    parameters = request.GET
    errors: dict = {}
    if not context["problem"]:
        errors = _listed(context, parameters)
    context |= {"errors": errors, "given": parameters, "filtered": any(_narrowed(parameters).values())}
    return render(request, "deployments/data/points.html", context)


def _narrowed(parameters) -> dict:
    return {key: parameters.get(key, "").strip() for key in ("filter", "namespace")}


def _listed(context: dict, parameters) -> dict:
    """Put a page of points into the context; {field: what is wrong with the form}."""
    api, path = context["api"], context["path"]
    body: dict = {"limit": PER_PAGE, "include": ["metadata", "content"]}
    if parameters.get("cursor"):
        body["cursor"] = parameters["cursor"]
    # The unnamed namespace is one of several, so it needs a word in the address.
    wanted = parameters.get("namespace", "")
    if wanted:
        body["namespace"] = "" if wanted == "-" else wanted
    try:
        context["fields"] = suggestions(api, context["collection"])
        context["namespaces"] = namespaces_of(context)
        body |= filter_of(parameters.get("filter", ""))
        context["sample"] = api.call("POST", f"{path}/scroll", body, timeout=15)
        asked = {key: body[key] for key in ("namespace", "filter") if key in body}
        context["count"] = api.call("POST", f"{path}/count", {**asked, "estimated": True})
    except ProblemError as error:
        if error.status < 500:
            return at_fields(error, ("filter",))
        context["problem"] = error
    return {}


def _point(context: dict, parameters) -> dict:
    """The point that an address names, with its vector; Http404."""
    wanted = {"ids": [parameters.get("id", "")], "namespace": parameters.get("namespace", "")}
    try:
        found = context["api"].call(
            "POST", f"{context['path']}/fetch", {**wanted, "include": ["metadata", "content", "vector"]}
        )
    except InvalidError as error:
        raise Http404 from error
    if not found["points"]:
        raise Http404
    point = found["points"][0]
    point["namespace"] = wanted["namespace"]
    point["query"] = urlencode({"id": point["id"], "namespace": point["namespace"]})
    return point


def bars(vector: list, width: float = 480, height: float = 64) -> dict:
    """A vector as bars from a middle line: {bars: [{x, y, width, height, low}], width, height, figures}."""
    shown = vector[:BARS]
    top = max((abs(value) for value in shown), default=0) or 1
    step = width / len(shown) if shown else width
    drawn = [
        {
            "x": round(place * step, 2),
            "y": round(height / 2 - (height / 2 * value / top if value > 0 else 0), 2),
            "width": round(max(step - 1, 0.5), 2),
            "height": round(max(height / 2 * abs(value) / top, 0.5), 2),
            "low": value < 0,
        }
        for place, value in enumerate(shown)
    ]
    return {
        "bars": drawn,
        "width": width,
        "height": height,
        "middle": height / 2,
        "shown": len(shown),
        "norm": math.sqrt(sum(value * value for value in vector)),
        "least": min(vector, default=0),
        "most": max(vector, default=0),
    }


@page(post="target.update")
def point(request, name, collection):
    """One point: metadata and content to read and change, its vector, its nearest neighbours."""
    context = collection_context(request, name, collection, "points")
    if context["problem"]:
        return render(request, "deployments/data/point.html", context)
    given = request.POST if request.method == "POST" else request.GET
    found = _point(context, given)
    errors: dict = {}
    typed = {"metadata": _laid_out(found["metadata"]), "content": found.get("content") or ""}
    if request.method == "POST":
        typed = {key: request.POST.get(key, "").replace("\r\n", "\n") for key in typed}
        errors = _change(context, found, typed)
        if not errors:
            messages.success(request, f"{found['id']} was changed.")
            return redirect(f"{context['here']}point/?{found['query']}")
    try:
        near = context["api"].query(
            context["collection"]["name"],
            {
                "id": found["id"],
                "namespace": found["namespace"],
                "top_k": NEIGHBOURS + 1,
                "include": ["content"],
            },
        )
        context["neighbours"] = [one for one in near["matches"] if one["id"] != found["id"]][:NEIGHBOURS]
    except ProblemError:
        context["neighbours"] = []
    vector = found["vector"] if isinstance(found["vector"], list) else []
    context |= {
        "point": found,
        "typed": typed,
        "errors": errors,
        "vector": bars(vector),
        "vector_text": json.dumps(found["vector"]),
    }
    return render(request, "deployments/data/point.html", context, status=422 if errors else 200)


def _laid_out(metadata) -> str:
    return json.dumps(metadata or {}, indent=2, ensure_ascii=False)


def _change(context: dict, found: dict, typed: dict) -> dict:
    """Send what was changed of a point; {field: what is wrong}."""
    try:
        metadata = json.loads(typed["metadata"] or "{}")
    except ValueError as error:
        return {"metadata": f"This is not JSON: {error}."}
    if not isinstance(metadata, dict):
        return {"metadata": 'Metadata is an object, such as {"section": "net"}.'}
    body: dict = {"ids": [found["id"]], "namespace": found["namespace"]}
    if metadata != (found["metadata"] or {}):
        body |= {"metadata": metadata, "metadata_mode": "replace"}
    if typed["content"] != (found.get("content") or ""):
        body["content"] = typed["content"] or None
    if len(body) == 2:
        return {}
    try:
        answer = context["api"].call("POST", f"{context['path']}/update", body)
    except ProblemError as error:
        return at_fields(error, ("metadata", "content"))
    if answer["missing"]:
        return {"form": "The point was deleted meanwhile; nothing was changed."}
    return {}


@page("target.update")
def delete(request, name, collection):
    """Delete one point; its id has to be typed."""
    context = collection_context(request, name, collection, "points")
    if context["problem"]:
        return dialog(request, "data/_point_delete.html", context)
    found = _point(context, request.POST if request.method == "POST" else request.GET)
    context["point"] = found
    if request.method == "POST":
        if request.POST.get("confirm") != found["id"]:
            context["errors"] = {"confirm": f"Type {found['id']} to delete it."}
            return dialog(request, "data/_point_delete.html", context, status=422)
        body = {"ids": [found["id"]], "namespace": found["namespace"]}
        context["api"].call("POST", f"{context['path']}/delete", body)
        messages.success(request, f"{found['id']} deleted.")
        return gone_to(request, f"{context['here']}points/")
    return dialog(request, "data/_point_delete.html", context)
