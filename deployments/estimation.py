"""What a plan would cost, asked of whoever registered to know prices: an app above this one, which knows no
such app.

An estimator takes (project, provider, wanted, current) and gives {monthly: [{amount, currency}], before,
difference, lines: [{name, kind, sku, before, after, difference, unit_price, note}]}, or {} when it can price
nothing. A provider that makes things a cloud bills has `resources(target) -> list of {name, cloud, region,
kind, sku, quantity, hours, gib}`; of others the replicas' requests are priced.
"""

import logging
from collections.abc import Callable

from django.db import transaction

from deployments.providers.base import PlanResult, Provider, TargetSpec

log = logging.getLogger(__name__)

Estimator = Callable[..., dict]
_estimators: list[Estimator] = []


def register(estimator: Estimator) -> None:
    """Ask this function too; registering it again changes nothing."""
    if estimator not in _estimators:
        _estimators.append(estimator)


def plan_estimate(
    *, project, provider: Provider, wanted: TargetSpec, current: TargetSpec | None, result: PlanResult
) -> dict:
    """What a plan stores as its estimate: the estimator's parts, and {amount, currency} when it is one
    currency.

    A plan must not fail because its price is not known, so an estimator's error is logged and leaves it
    unknown.
    """
    estimate: dict = {}
    for estimator in _estimators:
        try:
            with transaction.atomic():
                estimate |= estimator(project=project, provider=provider, wanted=wanted, current=current)
        except Exception:
            log.exception("the estimate of a plan of %s failed", wanted.name)
    if result.monthly_amount is not None:
        estimate |= {"amount": result.monthly_amount, "currency": result.currency}
    elif len(estimate.get("monthly", ())) == 1:
        estimate |= estimate["monthly"][0]
    return estimate
