"""A new target: described in a form beside a live summary, then planned, then applied."""

from django.contrib import messages
from django.shortcuts import redirect, render

from controlplane.errors import ProblemError
from controlplane.pages.access import actor, page
from controlplane.pages.forms import field_errors
from controlplane.pages.lookup import row_or_404
from deployments import selectors, services
from deployments.models import Plan, Target
from deployments.pages.plans import plan_context, shown_changes
from deployments.pages.schema_form import form_fields, secret_names, spec_from_form
from deployments.pages.targets import provider_label, target_or_404
from deployments.previews import target_preview
from deployments.providers.base import offered_names, provider_for

OWN_FIELDS = ("name", "provider", "account", "region", "role")


def _first(request, names: list[str]) -> str:
    """The provider that is offered first: one that can be used now."""
    held = set(selectors.accounts(request.project).values_list("provider", flat=True))
    usable = [name for name in names if name in held or not provider_for(name).credentials_schema]
    return (usable or names or [""])[0]


def _form(request, data, errors: dict | None = None) -> dict:
    """The form's context for what was given so far; the provider's schema makes the rest of it."""
    names = offered_names()
    chosen = data.get("provider") if data.get("provider") in names else _first(request, names)
    provider = provider_for(chosen) if chosen else None
    schema = provider.spec_schema if provider else {}
    presets = dict(provider.presets) if provider else {}
    preset = data.get("preset", "")
    spec = spec_from_form(schema, data)
    if preset in presets and not spec:
        spec = dict(presets[preset]["spec"])
    return {
        "section": "targets",
        "providers": [(name, provider_label(name)) for name in names],
        "provider": provider,
        "chosen": chosen,
        "needs_account": bool(provider and provider.credentials_schema),
        "accounts": list(selectors.accounts(request.project).filter(provider=chosen).order_by("name")),
        "account": data.get("account", ""),
        "secret_inputs": ",".join(secret_names(schema)),
        "regions": provider.regions if provider else (),
        "region": data.get("region", ""),
        "presets": presets,
        "preset": preset,
        "roles": Target._meta.get_field("role").choices,
        "role": data.get("role", "primary"),
        "name": data.get("name", ""),
        "fields": form_fields(schema, spec, errors),
        "errors": errors or {},
        "spec": spec,
    }


def _summary(request, context: dict) -> dict:
    if not context["chosen"]:
        return {}
    preview = target_preview(
        project=request.project,
        name=context["name"],
        provider=context["chosen"],
        account=context["account"],
        region=context["region"],
        spec=context["spec"],
    )
    return {"preview": preview, "changes": shown_changes(preview.changes)}


@page("target.create")
def new_target(request):
    """GET shows the form (the address may carry provider and preset); POST makes the plan."""
    if request.method != "POST":
        context = _form(request, request.GET)
        return render(request, "deployments/new_target.html", context | _summary(request, context))
    context = _form(request, request.POST)
    try:
        _, plan, _ = services.target_create(
            project=request.project,
            name=context["name"].strip(),
            provider=context["chosen"],
            account=context["account"],
            region=context["region"],
            role=context["role"],
            spec=context["spec"],
            plan_only=True,
            created_by=actor(request),
        )
    except ProblemError as error:
        errors = field_errors(error)
        context = _form(request, request.POST, errors)
        known = {*OWN_FIELDS, "form"} | {one.name for one in context["fields"]}
        strays = [text for name, text in errors.items() if name not in known and "." not in name]
        if strays:
            context["errors"]["form"] = " ".join(strays)
        return render(
            request, "deployments/new_target.html", context | _summary(request, context), status=422
        )
    return redirect("plan", plan.pk)


@page("target.create")
def summary(request):
    """The live part beside the form: what would exist, what is wrong, what it would cost."""
    context = _form(request, request.GET)
    return render(request, "deployments/_new_target_summary.html", context | _summary(request, context))


@page(post="plan.apply")
def plan(request, plan_id):
    """A plan as a difference; POST applies it."""
    rows = Plan.objects.filter(target__project=request.project).select_related("target")
    held = row_or_404(rows, pk=plan_id)
    target = target_or_404(request, held.target_id)
    context = plan_context(held) | {"section": "targets", "target": target}
    context["outdated"] = not held.operation and held.digest != services.plan_digest(target, held.spec)
    if request.method == "POST":
        try:
            operation = services.plan_apply(plan=held, requested_by=actor(request))
        except ProblemError as error:
            context["errors"] = field_errors(error, ("",))
            return render(request, "deployments/plan.html", context, status=422)
        messages.success(request, "The plan is being carried out.")
        return redirect("operation", operation.pk)
    return render(request, "deployments/plan.html", context)
