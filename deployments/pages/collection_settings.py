"""What may change of a collection: its index, its aliases, its declared fields, whether it indexes itself."""

from django.contrib import messages
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from controlplane.errors import InvalidError, ProblemError
from controlplane.pages.access import actor, page
from controlplane.pages.forms import field_errors
from deployments.collection_jobs import collection_job_start
from deployments.pages import collection_form
from deployments.pages.actions import dialog, gone_to
from deployments.pages.collection import collection_context, served
from deployments.target_api import path_part


@page()
def settings(request, name, collection):
    context = collection_context(request, name, collection, "settings") | collection_form.choices()
    if not context["problem"]:
        try:
            context["index"] = context["api"].index(context["collection"]["name"])
        except ProblemError as error:
            context["problem"] = error
        declared = context["collection"].get("fields") or []
        context["waiting_fields"] = [one["name"] for one in declared if one.get("indexed") is False]
    return render(request, "deployments/data/settings.html", context)


@page("target.update")
def index(request, name, collection):
    """The dialog that builds an index: first the options, then what the build will need, then the build."""
    context = collection_context(request, name, collection, "settings")
    if context["problem"]:
        return dialog(request, "data/_build.html", context)
    api, own = context["api"], context["collection"]["name"]
    options = context["collection"]["index"]["options"]
    value = {key: str(options.get(key, "")) for key in ("m", "ef_construction", "lists", "precision")}
    value["index"] = options["type"] if options["type"] != "flat" else "hnsw"
    if request.method == "POST":
        value |= {key: request.POST[key].strip() for key in value if key in request.POST}
    context |= collection_form.choices() | {"value": value}
    if request.method == "POST":
        try:
            api.call("PATCH", context["path"], {"index": collection_form.index_options(value)})
            context["index"] = api.index(own)
            if request.POST.get("step") == "build":
                operation = collection_job_start(
                    target=context["target"],
                    collection=own,
                    job="index.build",
                    requested_by=actor(request),
                )
                return gone_to(request, f"/operations/{operation.pk}/")
        except ProblemError as error:
            context["errors"] = collection_form.shown(field_errors(error))
            return dialog(request, "data/_build.html", context, status=422)
        return dialog(request, "data/_build.html", context)
    return dialog(request, "data/_build.html", context)


@page("target.update")
def index_drop(request, name, collection):
    """Search exactly from now on."""
    if request.method != "POST":
        context = collection_context(request, name, collection, "settings")
        return dialog(request, "data/_drop_index.html", context)
    words = "The index was dropped. Searches compare every point now."
    return _changed(request, name, collection, words, "DELETE", "/index")


@page("target.update")
@require_POST
def auto_index(request, name, collection):
    on = request.POST.get("auto") == "on"
    words = "The index is kept by itself." if on else "The index is built when you ask for it alone."
    return _changed(request, name, collection, words, "PATCH", "", {"auto_index": on})


@page("target.update")
@require_POST
def fields(request, name, collection):
    """Declare the fields that get an index of their own."""
    body: dict = {"fields": collection_form.fields(request.POST)}
    return _changed(request, name, collection, "The declared fields were changed.", "PATCH", "", body)


@page("target.update")
@require_POST
def text(request, name, collection):
    """Search the content's words in this language, or not at all."""
    language = request.POST.get("language", "")
    body = {"text": {"language": language} if language else None}
    return _changed(request, name, collection, "Full text was changed.", "PATCH", "", body)


def _changed(request, name, collection, words, method, path, body=None):
    """Make a call that changes the collection, say how it went, and go back to the settings."""
    context = collection_context(request, name, collection, "settings")
    try:
        if context["problem"]:
            raise context["problem"]
        context["api"].call(method, context["path"] + path, body, timeout=60)
        messages.success(request, words)
    except ProblemError as error:
        messages.error(request, refused(error))
    return redirect(f"{context['here']}settings/")


def refused(error: ProblemError) -> str:
    """What the target says, with the fields it names; in plain words when its release lacks the call."""
    if error.code in ("unknown_address", "method_not_allowed"):
        return "The release that this target runs does not serve this yet. Roll out a newer one."
    return " ".join(one["message"] for one in error.errors) or error.detail


@page("target.update")
def alias(request, name, collection):
    """Give the collection another name, or make a name that stands for another collection stand for this."""
    context = collection_context(request, name, collection, "settings")
    if context["problem"]:
        return dialog(request, "data/_alias.html", context)
    api, own = context["api"], context["collection"]["name"]
    given = request.POST.get("alias", "").strip()
    context |= {"given": given}
    try:
        listed = served(api.call, "GET", "aliases", limit=200)
        context["served"] = listed is not None
        context["others"] = [one for one in (listed or {"items": []})["items"] if one["collection"] != own]
        if request.method == "POST":
            if not given:
                raise InvalidError("Give a name.", field="alias")
            known = next((one for one in context["others"] if one["alias"] == given), None)
            if known and request.POST.get("switch") != given:
                context["switch_from"] = known["collection"]
                return dialog(request, "data/_alias.html", context, status=422)
            api.call("PUT", f"aliases/{path_part(given)}", {"collection": own})
    except ProblemError as error:
        told = field_errors(error, ("alias",))
        context["errors"] = {"alias": " ".join(told.values())}
        return dialog(request, "data/_alias.html", context, status=422)
    if request.method == "POST":
        messages.success(request, f"{given} stands for {own} now.")
        return gone_to(request, f"{context['here']}settings/")
    return dialog(request, "data/_alias.html", context)


@page("target.update")
@require_POST
def alias_delete(request, name, collection):
    """Take an alias away; the collection stays."""
    context = collection_context(request, name, collection, "settings")
    given = request.POST.get("alias", "")
    try:
        context["api"].call("DELETE", f"aliases/{path_part(given)}")
        messages.success(request, f"The alias {given} is gone; the collection stays.")
    except ProblemError as error:
        messages.error(request, refused(error))
    own = (context["collection"] or {}).get("name", collection)
    return redirect(f"{context['base']}data/{own}/settings/")
