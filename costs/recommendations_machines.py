"""Rules on machines and databases: another way to pay, another size, fewer of them.

Thresholds are those the product was asked for: spot above 30 % saved, right-sizing above 1,000 a year.
"""

from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from functools import cache

from costs.prices_list import Size, size_of, skus
from costs.recommendations_facts import Facts, Measured, Use
from costs.recommendations_parts import IDLE_DAYS, LEAST_A_MONTH, found_of, on_demand, rate_of
from costs.recommendations_sources import Found

SPOT_LEAST_RATE = Decimal("0.30")
RIGHT_SIZE_LEAST_A_YEAR = Decimal(1000)
GIB = 2**30
# An index must lie in memory with room for what is built beside it, and the system needs some too.
INDEX_ROOM, USABLE_MEMORY = Decimal("1.3"), Decimal("0.75")
# Requests a second that one vCPU of a database serves at ease; the bench measures several times that.
CALM_PER_CPU = 20.0
STEADY_DAYS = 28
# What a year's commitment takes off on-demand prices when nothing is paid ahead; list figures, for a first
# idea.
COMMITMENT_RATES = {
    ("aws", "Compute"): Decimal("0.27"),
    ("aws", "Databases"): Decimal("0.31"),
    ("azure", "Compute"): Decimal("0.38"),
    ("azure", "Databases"): Decimal("0.40"),
    ("gcp", "Compute"): Decimal("0.37"),
    ("gcp", "Databases"): Decimal("0.25"),
}
ARM_OF = {
    "m5": "m6g",
    "m6i": "m6g",
    "m6a": "m6g",
    "c5": "c6g",
    "c6i": "c6g",
    "c6a": "c6g",
    "r5": "r6g",
    "r6i": "r6g",
    "t3": "t4g",
}
ARM_SIZES = {
    "Standard_D4s_v5": "Standard_D4ps_v5",
    "Standard_D8s_v5": "Standard_D8ps_v5",
    "Standard_D4s_v3": "Standard_D4ps_v5",
    "Standard_D8s_v3": "Standard_D8ps_v5",
    "n2-standard-4": "t2a-standard-4",
}


def spot(facts: Facts) -> Iterator[Found]:
    """Nodes of clusters that run more than one: all but one may be spot, where that saves over 30 %."""
    clusters = defaultdict(list)
    for use in facts.of_kind("node"):
        if on_demand(use) and use.cluster:
            clusters[use.cloud, use.cluster].append(use)
    for nodes in clusters.values():
        for use in sorted(nodes, key=lambda one: one.resource)[1:]:
            compared = rate_of(use, "node", use.sku, facts, "node_spot")
            if compared is None or compared[0] <= SPOT_LEAST_RATE:
                continue
            rate, prices = compared
            yield found_of(
                use,
                "spot",
                use.monthly * rate,
                "medium" if prices["synced"] else "low",
                f"Run {use.sku} as spot: {rate:.0%} less for a node that may be taken away at two "
                f"minutes' notice.",
                (
                    "Add a spot node pool of several sizes beside the on-demand one, with a taint "
                    "of its own.",
                    "Let stateless replicas tolerate it; keep one node on demand, and the "
                    "disruption budget as it is.",
                    "Watch the rollout's health for a week, then shrink the on-demand pool.",
                ),
                restart=True,
                evidence={"rate": f"{rate:.3f}", **prices},
            )


def _smaller(use: Use) -> tuple[str, Size] | None:
    """The size of the same family with half the CPUs and memory."""
    return _half_of(use.provider, "database" if use.kind == "database" else "node", use.sku)


@cache
def _half_of(provider: str, kind: str, sku: str) -> tuple[str, Size] | None:
    size = size_of(provider, sku)
    if size is None:
        return None
    family = sku.rpartition("." if "." in sku else "-")[0]
    for _, name in skus(provider, kind):
        other = size_of(provider, name)
        related = (
            _azure_family(name) == _azure_family(sku) if provider == "azure" else name.startswith(family)
        )
        if other and related and other.cpus * 2 == size.cpus and other.memory_gib * 2 == size.memory_gib:
            return name, other
    return None


def _azure_family(sku: str) -> str:
    return "".join(character for character in sku.replace("GP_", "") if not character.isdigit())


def right_size(facts: Facts) -> Iterator[Found]:
    """A target's nodes of half the size, where the replicas' peak of memory fits and a year saves over
    1,000.
    """
    by_target = defaultdict(list)
    for use in facts.of_kind("node"):
        if use.target and on_demand(use):
            by_target[use.target].append(use)
    for key, nodes in by_target.items():
        measured = facts.measured.get(key)
        if measured is None or measured.days < IDLE_DAYS or measured.memory_bytes is None:
            continue
        needed = Decimal(measured.memory_bytes * measured.replicas) / GIB * INDEX_ROOM + len(nodes)
        for use in nodes:
            smaller = _smaller(use)
            compared = smaller and rate_of(use, "node", smaller[0], facts)
            if not compared:
                continue
            amount = use.monthly * compared[0]
            if amount * 12 <= RIGHT_SIZE_LEAST_A_YEAR:
                continue
            room = smaller[1].memory_gib * len(nodes)
            evidence = {
                "peak_memory_gib": f"{Decimal(measured.memory_bytes) / GIB:.2f} a replica",
                "replicas": measured.replicas,
                "memory_needed_gib": f"{needed:.1f}",
                "memory_then_gib": room,
                "measured_days": round(measured.days, 1),
                **compared[1],
            }
            refused = ""
            if needed > room:
                refused = (
                    f"The replicas' peak needs {needed:.1f} GiB; {len(nodes)} x {smaller[0]} have {room}."
                )
            yield found_of(
                use,
                "right_size",
                amount,
                "medium",
                f"{smaller[0]} instead of {use.sku}: the replicas' peak of memory fits in half.",
                (
                    f"Add a node pool of {smaller[0]}, drain the old nodes one by one, then remove "
                    f"their pool.",
                    "Watch memory and p95 for a week.",
                ),
                restart=True,
                evidence=evidence,
                source="metrics",
                refused=refused,
            )


def database_size(facts: Facts) -> Iterator[Found]:
    """A database of half the size, where the vectors' indexes still lie in memory and the load is calm."""
    for use in facts.of_kind("database"):
        if not on_demand(use):
            continue
        measured = facts.measured.get(use.target)
        smaller = _smaller(use)
        compared = smaller and rate_of(use, "database", smaller[0], facts)
        if not compared or measured is None or measured.index_bytes is None or measured.days < IDLE_DAYS:
            continue
        amount = use.monthly * compared[0]
        if amount * 12 <= RIGHT_SIZE_LEAST_A_YEAR:
            continue
        yield _database(use, measured, smaller, amount, compared[1])


def _database(
    use: Use, measured: Measured, smaller: tuple[str, Size], amount: Decimal, prices: dict
) -> Found:
    sku, size = smaller
    needed = Decimal(measured.index_bytes) / GIB * INDEX_ROOM
    usable = size.memory_gib * USABLE_MEMORY
    calm = measured.peak_per_second <= CALM_PER_CPU * size.cpus
    refused = ""
    if needed > usable:
        refused = (
            f"The vector indexes would no longer fit in memory: {needed:.1f} GiB with room to build, "
            f"{usable:.1f} GiB usable of {sku}'s {size.memory_gib}. Searches would read the disk."
        )
    elif not calm:
        refused = (
            f"The busiest hour had {measured.peak_per_second:.0f} requests/s, too many for {size.cpus} vCPUs."
        )
    return found_of(
        use,
        "database_size",
        amount,
        "medium",
        f"{sku} instead of {use.sku}: the vector indexes fit in its memory and the load is calm.",
        (
            "Take a backup, and prove it by a restore.",
            f"Change a reader to {sku} first; compare p95 and recall for a day.",
            f"Fail over to it, then change the others to {sku}.",
        ),
        restart=True,
        evidence={
            "vectors_bytes": measured.index_bytes,
            "memory_needed_gib": f"{needed:.1f}",
            "memory_usable_then_gib": f"{usable:.1f}",
            "peak_requests_per_second": round(measured.peak_per_second, 1),
            **prices,
        },
        source="metrics",
        refused=refused,
    )


def arm64(facts: Facts) -> Iterator[Found]:
    """The same size on arm64, which our image runs on."""
    for use in facts.of_kind("node"):
        size = use.size
        if not on_demand(use) or size is None or size.architecture != "amd64":
            continue
        family, dot, rest = use.sku.partition(".")
        other = f"{ARM_OF[family]}.{rest}" if dot and family in ARM_OF else ARM_SIZES.get(use.sku)
        compared = other and rate_of(use, "node", other, facts)
        if not compared or compared[0] <= 0 or use.monthly * compared[0] < LEAST_A_MONTH:
            continue
        yield found_of(
            use,
            "arm64",
            use.monthly * compared[0],
            "medium",
            f"{other} instead of {use.sku}: the same size on arm64, {compared[0]:.0%} less.",
            (
                "Check that every image on these nodes is built for arm64.",
                f"Add a node pool of {other}, move one replica there and compare p95 and recall.",
                "Move the others, then remove the amd64 pool.",
            ),
            restart=True,
            evidence={"rate": f"{compared[0]:.3f}", **compared[1]},
        )


def commitments(facts: Facts) -> Iterator[Found]:
    """What runs on demand every day for four weeks could be committed to for a year."""
    bases = defaultdict(list)
    for use in facts.of_kind("node", "database"):
        if on_demand(use) and use.days >= STEADY_DAYS and use.least_day > 0:
            bases[use.cloud, use.category, use.currency].append(use)
    for (cloud, category, currency), steady in bases.items():
        rate = COMMITMENT_RATES.get((steady[0].provider, category))
        base = sum((use.least_day for use in steady), Decimal(0)) * Decimal("30.41666667")
        if rate is None or base * rate < 10 * LEAST_A_MONTH:
            continue
        yield Found(
            cloud=cloud,
            type="commitment",
            resource=f"{category} of {cloud}, on demand",
            amount=base * rate,
            cost=base,
            currency=currency,
            confidence="medium",
            summary=f"What runs on demand every day ({len(steady)} of {category}) could be committed to "
            "for a year.",
            steps=(
                "First carry out what makes them smaller: a commitment to what is too large is "
                "paid all the same.",
                "Buy commitments for about 80 % of the steady part, a year, nothing paid ahead.",
                "Look at their use after a month.",
            ),
            effort="low",
            reversible=False,
            evidence={
                "steady_a_month": f"{base:.2f}",
                "rate": f"{rate}",
                "rate_source": "Typical of one year without payment ahead; the cloud's own offer decides",
                "resources": [use.resource for use in steady][:50],
            },
        )


def autoscaler_bounds(facts: Facts) -> Iterator[Found]:
    """Targets whose least number of replicas is above what their busiest hour needed."""
    costs: dict[tuple, Decimal] = defaultdict(Decimal)
    for use in facts.of_kind("node"):
        if use.target:
            costs[use.target, use.cloud, use.currency] += use.monthly
    for (key, cloud, currency), cost in costs.items():
        measured = facts.measured.get(key)
        if measured is None or measured.days < IDLE_DAYS or not measured.requests:
            continue
        replicas = measured.replicas
        # Half of what the bench measures a replica to serve at a p95 below 100 ms.
        needed = max(2, -(-int(measured.peak_per_second) // 50) + 1)
        if needed >= replicas or measured.target.status not in ("ready", "degraded"):
            continue
        amount = cost * (replicas - needed) / replicas
        if amount < 5 * LEAST_A_MONTH:
            continue
        yield Found(
            cloud=cloud,
            type="autoscaler_bounds",
            resource=f"replicas of {measured.target.name}",
            resource_name=measured.target.name,
            region=measured.target.region,
            target=key,
            amount=amount,
            cost=cost,
            currency=currency,
            confidence="medium",
            summary=f"{needed} replicas instead of {replicas}: the busiest hour had "
            f"{measured.peak_per_second:.1f} requests/s.",
            steps=(
                f"Plan {needed} replicas and apply the plan.",
                "Lower the node pool's least number with them.",
            ),
            effort="low",
            spec={"replicas": needed},
            evidence={"peak_requests_per_second": round(measured.peak_per_second, 2), "replicas": replicas},
            source="metrics",
            excludes=f"replicas/{key}",
        )
