"""Which recommendations count: savings on one resource are had once, so of those that exclude each other
the best does.

The idea is that of AWS Cost Optimization Hub's deduplicated savings: all are kept and shown, and the total
is of those alone that can be carried out together.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from costs.recommendations_sources import Found

MACHINES = ("spot", "right_size", "arm64")


def without_overlap(found: Sequence[Found]) -> list[tuple[Found, int | None]]:
    """[(recommendation, place of the one that stands in its way, or None)], in the given order.

    A commitment is for what still runs on demand after the others: its amount is reduced by theirs.
    """
    best: dict[str, int] = {}
    for place, one in enumerate(found):
        group = _group(one, found)
        if group and not one.refused and (group not in best or _better(one, found[best[group]])):
            best[group] = place
    blocked: list[int | None] = []
    for place, one in enumerate(found):
        winner = best.get(_group(one, found))
        blocked.append(None if winner is None or winner == place else winner)
    _bounds_or_machines(found, blocked)
    counted = [one for place, one in enumerate(found) if blocked[place] is None and not one.refused]
    return [
        (_commitment(one, counted) if one.type == "commitment" else one, blocked[place])
        for place, one in enumerate(found)
    ]


def _group(one: Found, found: Sequence[Found]) -> str:
    """What a recommendation shares its savings with; all of an idle target is one."""
    if one.target and any(other.type == "idle" and other.target == one.target for other in found):
        return f"target/{one.target}/{one.currency}"
    return f"{one.excludes}/{one.currency}" if one.excludes else ""


def _better(one: Found, other: Found) -> bool:
    return (one.amount, other.type) > (other.amount, one.type)


def _bounds_or_machines(found: Sequence[Found], blocked: list[int | None]) -> None:
    """Fewer replicas need fewer machines: either that counts, or what makes each machine cheaper."""
    for place, one in enumerate(found):
        if one.type != "autoscaler_bounds" or blocked[place] is not None:
            continue
        machines = [
            at
            for at, other in enumerate(found)
            if other.type in MACHINES
            and other.target == one.target
            and other.currency == one.currency
            and blocked[at] is None
            and not other.refused
        ]
        if not machines:
            continue
        if sum(found[at].amount for at in machines) <= one.amount:
            for at in machines:
                blocked[at] = place
        else:
            blocked[place] = max(machines, key=lambda at: found[at].amount)


def _commitment(one: Found, counted: Sequence[Found]) -> Found:
    covered = set(one.evidence.get("resources", ()))
    by_resource: dict[str, Decimal] = defaultdict(Decimal)
    for other in counted:
        if other.resource in covered and other.currency == one.currency and other.type != "commitment":
            # A spot machine is no longer on demand at all.
            by_resource[other.resource] += other.cost if other.type == "spot" else other.amount
    saved = sum(by_resource.values(), Decimal(0))
    if not saved or not one.cost:
        return one
    left = max(one.cost - saved, Decimal(0))
    evidence = {**one.evidence, "after_other_savings": f"{left:.2f}"}
    return replace(one, amount=one.amount * left / one.cost, cost=left, evidence=evidence)
