"""REST: providers, targets and plans."""

from rest_framework.response import Response

from controlplane.api.serializers import page_of
from controlplane.api.views import ApiView, Route, list_route
from controlplane.errors import InvalidError, NotFoundError
from controlplane.permissions import require
from deployments import selectors, services
from deployments.api import serializers as shapes
from deployments.models import Target, TargetStatus
from deployments.providers.base import offered_names, provider_for
from deployments.specs import CONFIG_SCHEMA
from deployments.strategies import CANARY, ROLLING
from worker.api.answers import accepted
from worker.api.serializers import OperationOut

OPERATIONS = ("provision", "rollout", "rollback", "scale", "restart", "destroy")
STRATEGIES = (ROLLING, CANARY)
IF_MATCH = {"If-Match": "The ETag that was read; 412 when the target changed since."}


def provider_shown(name: str) -> dict:
    """What callers are told of a provider."""
    provider = provider_for(name)
    return {
        "name": provider.name,
        "label": provider.label,
        "runtime": provider.runtime,
        "regions": list(provider.regions),
        "spec_schema": dict(provider.spec_schema),
        "config_schema": CONFIG_SCHEMA,
        "credentials_schema": dict(provider.credentials_schema),
        "presets": {preset: dict(spec) for preset, spec in provider.presets.items()},
        "capabilities": {"operations": OPERATIONS, "strategies": STRATEGIES},
    }


def versioned(view: ApiView, target: Target) -> Response:
    """A target with its ETag."""
    return view.answer(target, headers={"ETag": f'"{target.version}"'})


def expected_versions(request) -> set[str] | None:
    """The versions that If-Match names; None when it names none or any."""
    text = request.headers.get("If-Match", "").strip()
    if not text or text == "*":
        return None
    tags = {tag.strip() for tag in text.split(",")}
    if not all(len(tag) > 2 and tag[0] == tag[-1] == '"' for tag in tags):
        raise InvalidError('If-Match is the ETag in double quotes, as "0a1b...".', field="If-Match")
    return {tag[1:-1] for tag in tags}


class ProvidersView(ApiView):
    tag = "Providers"
    routes = {"GET": Route("provider.read", "List providers", {200: page_of(shapes.ProviderOut)})}

    def get(self, request):
        """Every provider with the schema of its specs. They are few, so there is one page."""
        return self.answer({"items": [provider_shown(name) for name in offered_names()], "next_cursor": None})


class ProviderView(ApiView):
    tag = "Providers"
    routes = {"GET": Route("provider.read", "Show a provider", {200: shapes.ProviderOut})}

    def get(self, request, provider):
        """A provider by name."""
        if provider not in offered_names():
            raise NotFoundError(
                f"There is no provider {provider[:60]!r}; known: {', '.join(offered_names())}."
            )
        return self.answer(provider_shown(provider))


class TargetsView(ApiView):
    tag = "Targets"
    routes = {
        "GET": list_route("target.read", "List targets", shapes.TargetOut, shapes.TargetQuery),
        "POST": Route(
            "target.create",
            "Create a target",
            {202: OperationOut, 201: shapes.TargetPlanned},
            body=shapes.TargetCreate,
            query=shapes.PlanOnlyQuery,
        ),
    }

    def get(self, request):
        """The project's targets, by name."""
        rows = selectors.targets(self.project)
        if "status" in self.params:
            rows = rows.filter(status__in=self.params["status"])
        else:
            rows = rows.exclude(status=TargetStatus.DESTROYED)
        if "health" in self.params:
            rows = rows.filter(health__in=self.params["health"])
        for name in ("provider", "region", "role"):
            if name in self.params:
                rows = rows.filter(**{name: self.params[name]})
        return self.answer_page(rows)

    def post(self, request):
        """Records the target and starts to provision it; `input.target` of the operation is the target's id.

        With ?plan_only=true nothing is started: the answer is 201 with the target and its plan.
        """
        target, plan, operation = services.target_create(
            project=self.project,
            created_by=self.actor.name,
            plan_only=self.params["plan_only"],
            **self.values,
        )
        if operation is not None:
            return accepted(self, operation)
        target = selectors.target_find(self.project, target.pk)
        headers = {"Location": f"/api/v1/targets/{target.name}"}
        return self.answer({"target": target, "plan": plan}, status=201, headers=headers)


class TargetView(ApiView):
    tag = "Targets"
    routes = {
        "GET": Route("target.read", "Show a target", {200: shapes.TargetOut}),
        "PATCH": Route(
            "target.update",
            "Change a target",
            {200: shapes.TargetOut},
            body=shapes.TargetUpdate,
            headers=IF_MATCH,
        ),
        "DELETE": Route("target.destroy", "Destroy a target", {202: OperationOut}, body=shapes.TargetDestroy),
    }

    def get(self, request, target):
        """A target by name or id. Its ETag is for If-Match."""
        return versioned(self, selectors.target_find(self.project, target))

    def patch(self, request, target):
        """Name, role, and deletion protection, which an admin alone may switch."""
        found = selectors.target_find(self.project, target)
        if self.values.get("deletion_protection", found.deletion_protection) != found.deletion_protection:
            require(self.actor.role, "target.protect")
        services.target_update(
            target=found,
            requested_by=self.actor.name,
            expected_versions=expected_versions(request),
            **self.values,
        )
        return versioned(self, selectors.target_find(self.project, found.pk))

    def delete(self, request, target):
        """Destroys the target with its data. Refused while it is protected against deletion."""
        found = selectors.target_find(self.project, target)
        operation = services.target_destroy(
            target=found, confirm=self.values["confirm"], requested_by=self.actor.name
        )
        return accepted(self, operation)


class PlansView(ApiView):
    tag = "Plans"
    routes = {
        "POST": Route(
            "plan.create", "Plan a change of a target", {201: shapes.PlanOut}, body=shapes.PlanCreate
        )
    }

    def post(self, request, target):
        """What a new spec would create, change and destroy, what is wrong with it, and its estimate."""
        found = selectors.target_find(self.project, target)
        plan = services.target_plan(target=found, spec=self.values.get("spec"), created_by=self.actor.name)
        return self.answer(plan, status=201, headers={"Location": f"/api/v1/plans/{plan.pk}"})


class PlanView(ApiView):
    tag = "Plans"
    routes = {"GET": Route("plan.read", "Show a plan", {200: shapes.PlanOut})}

    def get(self, request, plan):
        """A plan by id."""
        return self.answer(selectors.plan_find(self.project, plan))


class PlanApplyView(ApiView):
    tag = "Plans"
    routes = {"POST": Route("plan.apply", "Apply a plan", {202: OperationOut})}

    def post(self, request, plan):
        """409 when the target changed since the plan was made; 422 when its preflight has errors."""
        found = selectors.plan_find(self.project, plan)
        return accepted(self, services.plan_apply(plan=found, requested_by=self.actor.name))
