"""Targets as their providers are told of them."""

from deployments.models import Target
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
