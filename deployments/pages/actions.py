"""What is done to a target: each a dialog that says what will happen, then an operation."""

from django.http import HttpResponse
from django.shortcuts import redirect, render

from controlplane.errors import ProblemError
from controlplane.pages.access import actor, page
from controlplane.pages.forms import field_errors
from deployments import services
from deployments.models import LIVE_REPLICA, CollectionSize, Rollout
from deployments.pages.release_form import FIELDS, release_asked, release_context
from deployments.pages.strategy_form import FIELDS as STRATEGY_FIELDS
from deployments.pages.strategy_form import strategy_asked, strategy_context
from deployments.pages.targets import tab_context, target_or_404
from deployments.providers.base import provider_for
from deployments.rotating import target_rotate


def dialog(request, template: str, context: dict, *, status: int = 200):
    """The dialog alone for htmx, or within a page of its own."""
    context["dialog_template"] = f"deployments/{template}"
    name = context["dialog_template"] if request.htmx else "deployments/dialog_page.html"
    return render(request, name, context, status=status)


def gone_to(request, url: str):
    """Send the browser to another page, from a dialog or from a plain form."""
    if request.htmx:
        response = HttpResponse(status=204)
        response["HX-Redirect"] = url
        return response
    return redirect(url)


def dialog_errors(error: ProblemError, fields=()) -> dict[str, str]:
    """Each field's message by its name, and by its name with underscores, as templates step at dots."""
    errors = field_errors(error, fields)
    return errors | {name.replace(".", "_"): text for name, text in errors.items()}


def _run(request, template: str, context: dict, act, fields=()):
    """GET shows the dialog; POST acts and goes to the operation, or shows the dialog with what is wrong."""
    if request.method != "POST":
        return dialog(request, template, context)
    try:
        operation = act()
    except ProblemError as error:
        context["errors"] = dialog_errors(error, fields)
        context["given"] = request.POST
        return dialog(request, template, context, status=422)
    return gone_to(request, f"/operations/{operation.pk}/")


@page("rollout.create")
def roll_out(request, name):
    """A release that exists, or an image and configuration that become one."""
    found = target_or_404(request, name)
    shown = release_context(request, found.release) | strategy_context(request)
    context = tab_context(request, found, "overview", **shown)

    def act():
        asked = release_asked(request.POST, context) | strategy_asked(request.POST)
        return services.rollout_start(target=found, requested_by=actor(request), **asked)[1]

    return _run(request, "_roll_out.html", context, act, (*FIELDS, *STRATEGY_FIELDS))


@page("target.rollback")
def roll_back(request, name):
    found = target_or_404(request, name)
    served = (
        Rollout.objects.filter(target=found, status="succeeded")
        .exclude(release=found.release)
        .select_related("release")
        .order_by("-pk")
    )
    choices = list({one.release_id: one.release for one in served[:50]}.values())
    context = tab_context(request, found, "overview", choices=choices)

    def act():
        wanted = request.POST.get("release", "")
        release = next((one for one in choices if one.pk == wanted), None)
        return services.rollback_start(target=found, release=release, requested_by=actor(request))[1]

    return _run(request, "_roll_back.html", context, act)


@page("target.scale")
def scale(request, name):
    found = target_or_404(request, name)
    limits = provider_for(found.provider).spec_schema.get("properties", {}).get("replicas", {})
    context = tab_context(
        request,
        found,
        "overview",
        limits=limits,
        live=found.replicas.filter(status__in=LIVE_REPLICA).count(),
        value=request.POST.get("replicas", found.desired_replicas),
    )

    def act():
        text = request.POST.get("replicas", "")
        wanted = int(text) if text.isdigit() else text
        return services.target_scale(target=found, replicas=wanted, requested_by=actor(request))

    return _run(request, "_scale.html", context, act, ("replicas",))


@page("target.restart")
def restart(request, name):
    found = target_or_404(request, name)
    context = tab_context(
        request, found, "overview", live=found.replicas.filter(status__in=LIVE_REPLICA).count()
    )
    return _run(
        request,
        "_restart.html",
        context,
        lambda: services.target_restart(target=found, requested_by=actor(request)),
    )


@page("target.rotate")
def rotate(request, name):
    found = target_or_404(request, name)
    context = tab_context(request, found, "overview")
    return _run(
        request,
        "_rotate.html",
        context,
        lambda: target_rotate(target=found, requested_by=actor(request)),
    )


@page("target.destroy")
def destroy(request, name):
    """Everything that will be lost, by name and size; the name has to be typed."""
    found = target_or_404(request, name)
    sizes = (
        CollectionSize.objects.filter(target=found)
        .order_by("collection", "-at")
        .distinct("collection")
        .values("collection", "points", "bytes", "at")
    )
    sizes = sorted(sizes, key=lambda one: -one["bytes"])
    context = tab_context(
        request,
        found,
        "settings",
        sizes=sizes[:12],
        more=max(0, len(sizes) - 12),
        points=sum(one["points"] for one in sizes),
        bytes=sum(one["bytes"] for one in sizes),
        replicas=found.replicas.filter(status__in=LIVE_REPLICA).count(),
        outputs=found.outputs,
    )
    return _run(
        request,
        "_destroy.html",
        context,
        lambda: services.target_destroy(
            target=found, confirm=request.POST.get("confirm", ""), requested_by=actor(request)
        ),
        ("confirm",),
    )
