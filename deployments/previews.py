"""What a target that is still being described would be, without writing anything."""

from dataclasses import dataclass, field

from controlplane.errors import ProblemError
from deployments import specs
from deployments.accounts import account_for
from deployments.estimation import plan_estimate
from deployments.models import Target
from deployments.providers.base import Secret, TargetSpec, as_json
from deployments.workloads import planned_workload


@dataclass
class Preview:
    """Changes, problems and the estimate as a plan tells them; `errors` when the spec itself is wrong."""

    changes: list[dict] = field(default_factory=list)
    problems: list[dict] = field(default_factory=list)
    estimate: dict = field(default_factory=dict)
    errors: list[dict] = field(default_factory=list)


def target_preview(
    *, project, name: str, provider: str, region: str, spec: dict, account: str = ""
) -> Preview:
    """The plan of a target of this description; what is wrong with it is told, not raised."""
    preview = Preview()
    try:
        engine = specs.provider_named(provider)
        region = specs.validated_region(engine, region)
        spec, secrets = specs.withheld(dict(engine.spec_schema), specs.validated_spec(engine, spec))
        held = account_for(project, engine, account)
    except ProblemError as error:
        preview.errors = error.errors or [{"field": "", "code": error.code, "message": error.detail}]
        return preview
    draft = Target(
        project=project,
        name=name or "unnamed",
        provider=provider,
        account=held,
        region=region,
        spec=spec,
        desired_replicas=spec.get("replicas", 2),
    )
    wanted = TargetSpec(
        target_id=draft.pk,
        name=draft.name,
        region=region,
        spec=spec,
        secrets=Secret(secrets),
        credentials=Secret(dict(held.credentials) if held else {}),
    )
    result, conflicts = planned_workload(draft, engine.plan(wanted, None), spec=spec, secrets=secrets)
    preview.changes = [as_json(change) for change in result.changes]
    preview.problems = [as_json(problem) for problem in (*engine.validate(wanted), *conflicts)]
    preview.estimate = plan_estimate(
        project=project, provider=engine, wanted=wanted, current=None, result=result
    )
    return preview
