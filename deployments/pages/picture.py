"""A collection in two dimensions. The browser asks the target, through the gateway, and draws."""

from django.shortcuts import render

from controlplane.errors import ProblemError
from controlplane.pages.access import page
from deployments.pages.collection import collection_context, namespaces_of
from deployments.pages.filters import suggestions

SAMPLES = (500, 1000, 2000, 5000)
DEFAULT_SAMPLE = 1000


@page()
def picture(request, name, collection):
    """The choices of field, sample and namespace; the first field that groups points is chosen by itself."""
    context = collection_context(request, name, collection, "picture")
    given = request.GET
    if not context["problem"]:
        try:
            context["fields"] = suggestions(context["api"], context["collection"])
            context["namespaces"] = namespaces_of(context)
        except ProblemError as error:
            context["problem"] = error
    if not context["problem"]:
        several = [one for one in context["fields"] if 1 < len(one["values"]) < 8]
        # Words group points more often than numbers do.
        groups = (one["name"] for one in sorted(several, key=lambda one: one["type"] != "text"))
        text = given.get("sample", "")
        context |= {
            "sample": int(text) if text.isascii() and text.isdigit() else DEFAULT_SAMPLE,
            "samples": SAMPLES,
            "color": given.get("color") if "color" in given else next(groups, ""),
            "namespace": given.get("namespace", ""),
        }
    return render(request, "deployments/data/picture.html", context)
