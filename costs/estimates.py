"""Use cases of estimates: what resources, or a plan, would cost a month; and an estimate held against the
bill.
"""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal

from django.db import transaction
from django.utils import timezone

from controlplane import audit
from controlplane.errors import InvalidError
from costs.estimates_math import HOURS_A_MONTH, Line, money, price_lines, totals
from costs.models_planning import Estimate, NodePrice
from deployments.models import Target
from deployments.providers.base import Provider, TargetSpec

# What a replica asks for where its spec does not say.
REPLICA_CPUS, REPLICA_MEMORY_GIB = Decimal("0.5"), Decimal(1)
MOST_RESOURCES = 200


def estimate_make(*, project, resources: list[Mapping], on: date | None = None) -> tuple[list[Line], dict]:
    """(lines, {currency: amount a month}) of resources; requests get the project's node price where they
    lack one.
    """
    if len(resources) > MOST_RESOURCES:
        raise InvalidError(f"Up to {MOST_RESOURCES} resources can be estimated at once.", field="resources")
    filled = [_with_node(project, resource) for resource in resources]
    lines = price_lines(filled, on or timezone.now().date())
    return lines, totals(lines)


def _with_node(project, resource: Mapping) -> Mapping:
    if resource["kind"] != "requests" or resource.get("node"):
        return resource
    found = node_price(project, resource["cloud"])
    return {**resource, "node": _node(found)} if found else resource


def _node(price: NodePrice) -> dict:
    return {
        "cpus": f"{price.cpus.normalize():f}",
        "memory_gib": f"{price.memory_gib.normalize():f}",
        "amount": f"{price.amount.normalize():f}",
        "currency": price.currency,
    }


def node_price(project, provider: str, target_id: str | None = None) -> NodePrice | None:
    """What a node costs there: the target's own price, else the provider's."""
    rows = NodePrice.objects.filter(project=project, provider=provider)
    own = rows.filter(target=target_id).first() if target_id else None
    return own or rows.filter(target=None).first()


def node_price_set(
    *, project, provider: str, target: Target | None, cpus, memory_gib, amount, currency: str, set_by: str
) -> NodePrice:
    """Keep what a node costs an hour, instead of what was kept before."""
    if not (cpus > 0 and memory_gib > 0):
        raise InvalidError(
            "A node has more than no CPU and memory.", field="cpus" if cpus <= 0 else "memory_gib"
        )
    if amount < 0:
        raise InvalidError("A price is not negative.", field="price.amount")
    with transaction.atomic():
        price, _ = NodePrice.objects.update_or_create(
            project=project,
            provider=provider,
            target=target,
            defaults={
                "cpus": cpus,
                "memory_gib": memory_gib,
                "amount": amount,
                "currency": currency,
                "created_by": set_by,
            },
        )
        audit.record(
            project=project,
            actor=set_by,
            action="node_price.set",
            subject=price.pk,
            detail={
                "provider": provider,
                "target": target and target.pk,
                "amount": str(amount),
                "currency": currency,
            },
        )
    return price


def node_price_delete(*, price: NodePrice, deleted_by: str) -> None:
    """Forget what a node costs; estimates made with it stay as they are."""
    with transaction.atomic():
        audit.record(project=price.project, actor=deleted_by, action="node_price.delete", subject=price.pk)
        price.delete()


def estimate_keep(
    *,
    project,
    name: str,
    resources: list[Mapping],
    target: Target | None = None,
    plan: str = "",
    created_by: str,
) -> Estimate:
    """Price resources and keep the result, so that it can be held against the bill of its target."""
    lines, sums = estimate_make(project=project, resources=resources)
    with transaction.atomic():
        kept = Estimate.objects.create(
            project=project,
            name=name.strip()[:100],
            target=target,
            plan=plan,
            resources=[dict(line.resource) for line in lines],
            lines=[line.as_json() for line in lines],
            totals=as_money(sums),
            created_by=created_by,
        )
        audit.record(
            project=project,
            actor=created_by,
            action="estimate.create",
            subject=kept.pk,
            detail={"name": kept.name, "target": target and target.pk, "totals": kept.totals},
        )
    return kept


def estimate_delete(*, estimate: Estimate, deleted_by: str) -> None:
    """Forget an estimate."""
    with transaction.atomic():
        audit.record(
            project=estimate.project,
            actor=deleted_by,
            action="estimate.delete",
            subject=estimate.pk,
            detail={"name": estimate.name},
        )
        estimate.delete()


def as_money(sums: Mapping[str, Decimal]) -> list[dict]:
    """{currency: amount} as [{amount, currency}], by currency."""
    return [money(amount, currency) for currency, amount in sorted(sums.items())]


def resources_of(project, provider: Provider, target: TargetSpec) -> list[dict]:
    """What a target would consist of: the provider's own list, else its replicas' requests."""
    listed = getattr(provider, "resources", None)
    if listed is not None:
        return [dict(resource) for resource in listed(target)]
    price = node_price(project, provider.name, target.target_id)
    if price is None:
        return []
    shared = {"cloud": provider.name, "region": target.region, "kind": "requests", "node": _node(price)}
    return [
        shared
        | {
            "name": name,
            "sku": name.lower(),
            "quantity": quantity,
            "hours": int(HOURS_A_MONTH),
            "cpus": f"{cpus.normalize():f}",
            "memory_gib": f"{memory_gib.normalize():f}",
        }
        for name, quantity, cpus, memory_gib in _requested(target.spec)
    ]


def _requested(spec: Mapping) -> list[tuple[str, int, Decimal, Decimal]]:
    """[(what, how many, CPUs, GiB each)] of what asks for a share of nodes: replicas, and servers beside
    them.
    """
    asked = spec.get("resources") or {}
    found = [
        (
            "Replicas",
            int(spec.get("replicas", 2)),
            _quantity(asked.get("cpu_request")) or REPLICA_CPUS,
            _gib(asked.get("memory_request")) or REPLICA_MEMORY_GIB,
        )
    ]
    database, redis = spec.get("database") or {}, spec.get("redis") or {}
    if database.get("mode", "in_cluster") == "in_cluster" and database.get("memory"):
        cpus = _quantity(database.get("cpu")) or REPLICA_CPUS
        found.append(
            ("Database", int(database.get("instances", 1)), cpus, _gib(database["memory"]) or Decimal(0))
        )
    if redis.get("mode", "in_cluster") == "in_cluster" and redis.get("memory_mib"):
        found.append(("Redis", 1, Decimal(0), Decimal(redis["memory_mib"]) / 1024))
    return found


SUFFIXES = {"m": Decimal("0.001"), "k": 1000, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def _quantity(text) -> Decimal | None:
    """A quantity as Kubernetes writes it (500m, 1Gi); None when it is none."""
    number = str(text or "").rstrip("mkMGKi")
    try:
        return Decimal(number) * SUFFIXES.get(str(text)[len(number) :], 1)
    except ArithmeticError:
        return None


def _gib(text) -> Decimal | None:
    found = _quantity(text)
    return None if found is None else found / 2**30


def plan_estimated(*, project, provider: Provider, wanted: TargetSpec, current: TargetSpec | None) -> dict:
    """What `deployments.estimation` asks: the estimate of a plan and its difference, resource by resource."""
    today = timezone.now().date()
    after = price_lines(resources_of(project, provider, wanted), today)
    before = price_lines(resources_of(project, provider, current), today) if current else []
    if not after and not before:
        return {}
    return compared(before, after)


def compared(before: list[Line], after: list[Line]) -> dict:
    """{monthly, before, difference, lines} of two lists of priced resources, matched by name."""
    old = {_key(line): line for line in before}
    new = {_key(line): line for line in after}
    lines = []
    for key in dict.fromkeys([*new, *old]):
        was, will = old.get(key), new.get(key)
        shown = (will or was).as_json()
        lines.append(
            {
                "name": key[0],
                "kind": key[1],
                "sku": (will or was).resource.get("sku", ""),
                "before": _amount(was),
                "after": _amount(will),
                "difference": _difference(was, will),
                "unit_price": shown["unit_price"],
                "note": shown["note"],
            }
        )
    sums_before, sums_after = totals(before), totals(after)
    change = {
        currency: sums_after.get(currency, Decimal(0)) - sums_before.get(currency, Decimal(0))
        for currency in sums_before.keys() | sums_after.keys()
    }
    return {
        "monthly": as_money(sums_after),
        "before": as_money(sums_before),
        "difference": as_money(change),
        "lines": lines,
    }


def _key(line: Line) -> tuple[str, str]:
    resource = line.resource
    return str(resource.get("name") or resource.get("sku") or resource["kind"]), resource["kind"]


def _amount(line: Line | None) -> dict | None:
    return None if line is None or line.amount is None else money(line.amount, line.currency)


def _difference(was: Line | None, will: Line | None) -> dict | None:
    priced = [line for line in (was, will) if line is not None]
    if any(line.amount is None for line in priced) or len({line.currency for line in priced}) != 1:
        return None
    zero = Decimal(0)
    return money((will.amount if will else zero) - (was.amount if was else zero), priced[0].currency)
