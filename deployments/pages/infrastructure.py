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
    schema = provider_for(found.provider).spec_schema.get("properties", {})
    titles = {key: part.get("title", key.replace("_", " ").capitalize()) for key, part in schema.items()}
    context = tab_context(
        request,
        found,
        "infrastructure",
        plans=plans,
        spec=[
            (titles.get(key, key), ", ".join(map(str, value)) if isinstance(value, list) else value)
            for key, value in flatten(found.spec).items()
            if value not in ("", None, [])
        ],
        outputs=sorted(flatten(found.outputs).items()) if found.outputs else [],
        engine=sorted(
            (key, value) for key, value in flatten(found.engine_ref).items() if key not in found.outputs
        ),
        secret_names=sorted(found.secrets),
        is_cluster=is_cluster(found),
        exports=gitops.FORMATS,
    )
    return render(request, "deployments/infrastructure.html", context)


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
