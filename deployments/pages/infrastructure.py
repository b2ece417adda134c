"""What a target is made of: its spec, what the provider made, plans, drift; and changing the spec."""

from django.http import HttpResponse
from django.shortcuts import redirect, render

from controlplane.errors import ProblemError
from controlplane.pages.access import actor, page
from controlplane.pages.forms import field_errors
from deployments import gitops, services
from deployments.models import Plan
from deployments.pages.plans import flatten
from deployments.pages.schema_form import form_fields, spec_from_form
from deployments.pages.targets import tab_context, target_or_404
from deployments.providers.base import provider_for
from deployments.workloads import is_cluster


@page()
def infrastructure(request, name):
    found = target_or_404(request, name)
    plans = list(Plan.objects.filter(target=found).order_by("-pk")[:10])
    schema = provider_for(found.provider).spec_schema
    context = tab_context(
        request,
        found,
        "infrastructure",
        plans=plans,
        spec=settings_shown(schema, found.spec),
        outputs=outputs_shown(found.outputs, found.engine_ref),
        secret_names=sorted(found.secrets),
        is_cluster=is_cluster(found),
        exports=gitops.FORMATS,
    )
    return render(request, "deployments/infrastructure.html", context)


def settings_shown(schema: dict, spec: dict, above: str = "") -> list[tuple[str, str]]:
    """(title, value) of what a spec sets, in the schema's order; what is empty has no line."""
    found = []
    for key, part in schema.get("properties", {}).items():
        value, title = spec.get(key), part.get("title", key.replace("_", " ").capitalize())
        if above:
            # Abbreviations stay as they are.
            title = f"{above}: {title[:1].lower() if title[1:2].islower() else title[:1]}{title[1:]}"
        if isinstance(value, dict):
            found += settings_shown(part, value, title)
        elif value not in (None, "", []):
            found.append((title, in_words(value)))
    return found


def outputs_shown(outputs: dict, engine_ref: dict) -> list[tuple[str, str]]:
    """(name, value) of what the provider made, without what only operations go by."""
    given = {key: value for key, value in engine_ref.items() if key != "token"}
    given |= {key: value for key, value in outputs.items() if key != "workload"}
    shown = ((key, value) for key, value in flatten(given).items() if value not in ("", None, []))
    return sorted((key, in_words(value)) for key, value in shown)


def in_words(value) -> str:
    """A value of JSON as a person reads it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(
            " ".join(f"{key}={part}" for key, part in one.items()) if isinstance(one, dict) else in_words(one)
            for one in value
        )
    return str(value)


@page()
def manifests(request, name):
    """The objects of a target in a cluster as a ZIP archive, for a Git repository."""
    found = target_or_404(request, name)
    chosen = request.GET.get("format", gitops.KUSTOMIZE)
    archive = gitops.as_zip(gitops.target_export(found, chosen), found.name)
    response = HttpResponse(archive, content_type="application/zip")
    response["Content-Disposition"] = f'attachment; filename="{found.name}-{chosen}.zip"'
    return response


@page("plan.create")
def change(request, name):
    """The spec as a form; POST makes a plan to look at."""
    found = target_or_404(request, name)
    schema = provider_for(found.provider).spec_schema
    spec = spec_from_form(schema, request.POST) if request.method == "POST" else found.spec
    errors = {}
    if request.method == "POST":
        try:
            made = services.target_plan(target=found, spec=spec, created_by=actor(request))
        except ProblemError as error:
            errors = field_errors(error)
        else:
            return redirect("plan", made.pk)
    context = tab_context(
        request, found, "infrastructure", fields=form_fields(schema, spec, errors), errors=errors
    )
    return render(request, "deployments/change.html", context, status=422 if errors else 200)
