"""What rules of recommendations share: how a finding is put together, and how prices compare."""

from decimal import Decimal

from costs.recommendations_facts import Facts, Use
from costs.recommendations_sources import Found

LEAST_A_MONTH = Decimal(1)
# How long nothing must have happened, or how long must have been measured, before it means anything.
IDLE_DAYS = 7


def found_of(
    use: Use, kind: str, amount: Decimal, confidence: str, summary: str, steps: tuple, **more
) -> Found:
    """A finding about one billed resource, which excludes others on it; `amount` is saved a month."""
    values = {
        "cloud": use.cloud,
        "type": kind,
        "resource": use.resource,
        "resource_name": use.name,
        "region": use.region,
        "target": use.target,
        "amount": amount,
        "cost": use.monthly,
        "currency": use.currency,
        "confidence": confidence,
        "summary": summary,
        "steps": steps,
        "excludes": f"{use.cloud}/{use.resource}",
    }
    evidence = {"sku": use.sku, "pricing_category": use.pricing, "days": use.days, "from": use.text}
    return Found(**values | more | {"evidence": evidence | more.get("evidence", {})})


def rate_of(use: Use, kind: str, sku: str, facts: Facts, new_kind: str = "") -> tuple[Decimal, dict] | None:
    """How much less another sku costs (0.3: 30 %), and where both prices are from."""
    now = facts.prices.price(use.provider, use.region, kind, use.sku)
    then = facts.prices.price(use.provider, use.region, new_kind or kind, sku)
    if now is None or then is None or not now.amount or now.currency != then.currency:
        return None
    shown = {
        "price_now": f"{now.amount.normalize():f} {now.currency}, {now.source}, {now.as_of}",
        "price_then": f"{then.amount.normalize():f} {then.currency}, {then.source}, {then.as_of}",
        "synced": now.origin == then.origin == "synced",
    }
    return 1 - then.amount / now.amount, shown


def on_demand(use: Use) -> bool:
    """Whether it is paid at the full price: no commitment, no spot."""
    return use.pricing in ("Standard", "On-Demand", "")
