"""Targets as their providers are told of them."""

from deployments.models import Plan, Target
from deployments.providers.base import Secret, TargetSpec


def target_spec(target: Target, spec: dict | None = None, secrets: dict | None = None) -> TargetSpec:
    """What the provider is told of a target; `secrets` are added to those it has."""
    return TargetSpec(
        target_id=target.pk,
        name=target.name,
        region=target.region,
        spec=target.spec if spec is None else spec,
        secrets=Secret(dict(target.secrets) | (secrets or {})),
        credentials=Secret(dict(target.account.credentials) if target.account else {}),
        capabilities=target.outputs.get("capabilities", {}),
    )


def given_secrets(target: Target) -> dict[str, str]:
    """The write-only parts of its spec that people gave with plans that were applied, the last of each."""
    given: dict[str, str] = {}
    for plan in Plan.objects.filter(target=target).exclude(operation="").order_by("pk"):
        given |= dict(plan.secrets)
    return given
