"""The rules: each reads the facts and gives what it found. A rule that is not sure of its figures says low
confidence.

Thresholds are those the product was asked for: spot above 30 % saved, right-sizing above 1,000 a year.
"""

from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal

from costs.prices import price_for
from costs.prices_list import Size, size_of, skus
from costs.recommendations_facts import Facts, Measured, Use
from costs.recommendations_sources import Found

SPOT_LEAST_RATE = Decimal("0.30")
RIGHT_SIZE_LEAST_A_YEAR = Decimal(1000)
LEAST_A_MONTH = Decimal(1)
GIB = 2**30
# An index must lie in memory with room for what is built beside it, and the system needs some too.
INDEX_ROOM, USABLE_MEMORY = Decimal("1.3"), Decimal("0.75")
# Requests a second that one vCPU of a database serves at ease; the bench measures several times that.
CALM_PER_CPU = 20.0
STEADY_DAYS = 28
OLD_SNAPSHOT_DAYS = 90
IDLE_DAYS = 7
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


def _found(
    use: Use, kind: str, amount: Decimal, confidence: str, summary: str, steps: tuple, **more
) -> Found:
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


def _rate(use: Use, kind: str, sku: str, facts: Facts, new_kind: str = "") -> tuple[Decimal, dict] | None:
    """How much less another sku costs (0.3: 30 %), and where both prices are from."""
    now = price_for(use.provider, use.region, kind, use.sku, facts.today)
    then = price_for(use.provider, use.region, new_kind or kind, sku, facts.today)
    if now is None or then is None or not now.amount or now.currency != then.currency:
        return None
    shown = {
        "price_now": f"{now.amount.normalize():f} {now.currency}, {now.source}, {now.as_of}",
        "price_then": f"{then.amount.normalize():f} {then.currency}, {then.source}, {then.as_of}",
        "synced": now.origin == then.origin == "synced",
    }
    return 1 - then.amount / now.amount, shown


def _on_demand(use: Use) -> bool:
    return use.pricing in ("Standard", "On-Demand", "")


def spot(facts: Facts) -> Iterator[Found]:
    """Nodes of clusters that run more than one: all but one may be spot, where that saves over 30 %."""
    clusters = defaultdict(list)
    for use in facts.of_kind("node"):
        if _on_demand(use) and use.cluster:
            clusters[use.cloud, use.cluster].append(use)
    for nodes in clusters.values():
        for use in sorted(nodes, key=lambda one: one.resource)[1:]:
            compared = _rate(use, "node", use.sku, facts, "node_spot")
            if compared is None or compared[0] <= SPOT_LEAST_RATE:
                continue
            rate, prices = compared
            yield _found(
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
    size = use.size
    if size is None:
        return None
    kind = "database" if use.kind == "database" else "node"
    family = use.sku.rpartition("." if "." in use.sku else "-")[0]
    for _, sku in skus(use.provider, kind):
        other = size_of(use.provider, sku)
        related = (
            sku.startswith(family)
            if use.provider != "azure"
            else _azure_family(sku) == _azure_family(use.sku)
        )
        if other and related and other.cpus * 2 == size.cpus and other.memory_gib * 2 == size.memory_gib:
            return sku, other
    return None


def _azure_family(sku: str) -> str:
    return "".join(character for character in sku.replace("GP_", "") if not character.isdigit())


def right_size(facts: Facts) -> Iterator[Found]:
    """A target's nodes of half the size, where the replicas' peak of memory fits and a year saves over
    1,000.
    """
    by_target = defaultdict(list)
    for use in facts.of_kind("node"):
        if use.target and _on_demand(use):
            by_target[use.target].append(use)
    for key, nodes in by_target.items():
        measured = facts.measured.get(key)
        if measured is None or measured.days < IDLE_DAYS or measured.memory_bytes is None:
            continue
        needed = Decimal(measured.memory_bytes * measured.replicas) / GIB * INDEX_ROOM + len(nodes)
        for use in nodes:
            smaller = _smaller(use)
            compared = smaller and _rate(use, "node", smaller[0], facts)
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
            yield _found(
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
        if not _on_demand(use):
            continue
        measured = facts.measured.get(use.target)
        smaller = _smaller(use)
        compared = smaller and _rate(use, "database", smaller[0], facts)
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
    return _found(
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
        if not _on_demand(use) or size is None or size.architecture != "amd64":
            continue
        family, dot, rest = use.sku.partition(".")
        other = f"{ARM_OF[family]}.{rest}" if dot and family in ARM_OF else ARM_SIZES.get(use.sku)
        compared = other and _rate(use, "node", other, facts)
        if not compared or compared[0] <= 0 or use.monthly * compared[0] < LEAST_A_MONTH:
            continue
        yield _found(
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


def idle(facts: Facts) -> Iterator[Found]:
    """Targets that answered no request for a week, with all that is billed for them."""
    costs: dict[tuple, Decimal] = defaultdict(Decimal)
    for use in facts.uses:
        if use.target:
            costs[use.target, use.cloud, use.currency] += use.monthly
    for (key, cloud, currency), cost in costs.items():
        measured = facts.measured.get(key)
        if measured is None or measured.days < IDLE_DAYS or measured.requests or cost < LEAST_A_MONTH:
            continue
        if measured.target.status not in ("ready", "degraded"):
            continue
        name = measured.target.name
        yield Found(
            cloud=cloud,
            type="idle",
            resource=f"target {name}",
            resource_name=name,
            region=measured.target.region,
            target=key,
            amount=cost,
            cost=cost,
            currency=currency,
            confidence="high" if measured.days >= 13 else "medium",
            summary=f"{name} answered no request for {measured.days:.0f} days.",
            steps=(
                "Ask its owners.",
                "Export its collections, then destroy the target, or scale it to one replica.",
            ),
            reversible=False,
            effort="low",
            evidence={"requests": 0, "measured_days": round(measured.days, 1)},
            source="metrics",
            excludes=f"target/{key}",
        )


def orphaned(facts: Facts) -> Iterator[Found]:
    """What is still billed for targets that were destroyed: disks, addresses, anything."""
    for use in facts.uses:
        target = facts.targets.get(use.target)
        if target is None or target.destroyed_at is None or (use.last - target.destroyed_at.date()).days < 2:
            continue
        if (facts.today - use.last).days <= 5 and use.monthly >= LEAST_A_MONTH / 10:
            yield _found(
                use,
                "unused_disk" if use.kind == "disk" else "orphaned",
                use.monthly,
                "high",
                f"Still billed although target {target.name} was destroyed on "
                f"{target.destroyed_at:%-d %b %Y}.",
                (
                    "Look at it in the cloud's console.",
                    "Keep a snapshot if its data may be needed, then delete it.",
                ),
                reversible=False,
                effort="low",
                evidence={
                    "destroyed_at": target.destroyed_at.isoformat(),
                    "last_billed": use.last.isoformat(),
                },
            )


def unused(facts: Facts) -> Iterator[Found]:
    """Addresses that are attached to nothing, and disks whose charge says so."""
    for use in facts.of_kind("address_idle"):
        yield _found(
            use,
            "unused_address",
            use.monthly,
            "high",
            "A public address that is attached to nothing.",
            ("Check that no DNS record or allow-list names it.", "Release the address."),
            effort="low",
            reversible=False,
        )
    for use in facts.of_kind("disk"):
        if any(word in use.text.lower() for word in ("unattached", "available")):
            yield _found(
                use,
                "unused_disk",
                use.monthly,
                "medium",
                "A disk that is attached to nothing.",
                ("Take a snapshot if its data may be needed.", "Delete the disk."),
                effort="low",
                reversible=False,
            )


def old_snapshots(facts: Facts) -> Iterator[Found]:
    """Snapshots that have been billed for more than 90 days."""
    for use in facts.of_kind("snapshot"):
        first = facts.snapshots.get(use.resource, use.first)
        age = (use.last - first).days
        if age >= OLD_SNAPSHOT_DAYS and use.monthly >= LEAST_A_MONTH / 10:
            yield _found(
                use,
                "old_snapshot",
                use.monthly,
                "medium",
                f"A snapshot that has been billed for {age} days.",
                ("Check that no retention rule or restore plan needs it.", "Delete it, and set a retention."),
                effort="low",
                reversible=False,
                evidence={"first_billed": first.isoformat(), "age_days": age},
            )


def storage_class(facts: Facts) -> Iterator[Found]:
    """gp2 volumes as gp3, and buckets that are written and seldom read in a colder class."""
    for use in facts.of_kind("disk"):
        if "gp2" not in use.text.lower():
            continue
        now = price_for("aws", use.region, "disk", "gp2", facts.today)
        then = price_for("aws", use.region, "disk", "gp3", facts.today)
        if now and then and then.amount < now.amount:
            rate = 1 - then.amount / now.amount
            yield _found(
                use,
                "storage_class",
                use.monthly * rate,
                "high",
                f"gp3 instead of gp2: {rate:.0%} less, with no fewer operations a second up to 1 TiB.",
                (
                    "Modify the volume's type to gp3 in place; it stays attached.",
                    "Make gp3 the storage class's type.",
                ),
                effort="low",
                evidence={"rate": f"{rate:.3f}"},
            )
    requests = defaultdict(Decimal)
    for use in facts.uses:
        if "request" in use.text.lower() or "operations" in use.text.lower():
            requests[use.resource] += use.monthly
    for use in facts.of_kind("object_storage"):
        colder = {
            "aws": ("standard", "infrequent"),
            "azure": ("hot", "cool"),
            "gcp": ("standard", "nearline"),
        }
        if use.provider not in colder or "request" in use.text.lower() or use.monthly < 20 * LEAST_A_MONTH:
            continue
        if requests[use.resource] * 50 > use.monthly or not _is_standard(use):
            continue
        warm, cold = colder[use.provider]
        now = price_for(use.provider, use.region, "object_storage", warm, facts.today)
        then = price_for(use.provider, use.region, "object_storage", cold, facts.today)
        if now and then and then.amount < now.amount:
            rate = 1 - then.amount / now.amount
            yield _found(
                use,
                "storage_class",
                use.monthly * rate,
                "low",
                f"A bucket that is hardly read: class {cold} is {rate:.0%} less to keep, and "
                f"charges for reading.",
                (
                    "Look at the bucket's access metrics.",
                    f"Add a lifecycle rule that moves what is old to {cold}.",
                ),
                effort="low",
                evidence={"requests_a_month": f"{requests[use.resource]:.2f}", "rate": f"{rate:.3f}"},
            )


def _is_standard(use: Use) -> bool:
    text = use.text.lower()
    return not any(
        word in text
        for word in ("infrequent", "glacier", "archive", "cool", "cold", "nearline", "coldline", "-ia")
    )


def nat_traffic(facts: Facts) -> Iterator[Found]:
    """Traffic through NAT that private endpoints would take; how much of it is not in the bill, so half is
    assumed.
    """
    for use in facts.of_kind("nat_traffic"):
        if use.monthly < 20 * LEAST_A_MONTH:
            continue
        yield _found(
            use,
            "nat_traffic",
            use.monthly / 2,
            "low",
            "Traffic through NAT costs for each GiB; endpoints inside the network take what goes "
            "to the cloud itself.",
            (
                "Read the flow logs: which destinations take the most.",
                "Add gateway or private endpoints for object storage and the image registry.",
                "Keep images in a registry of the same region.",
            ),
            evidence={"gib": f"{use.quantity:.0f}", "assumed_share": "0.5"},
        )


def commitments(facts: Facts) -> Iterator[Found]:
    """What runs on demand every day for four weeks could be committed to for a year."""
    bases = defaultdict(list)
    for use in facts.of_kind("node", "database"):
        if _on_demand(use) and use.days >= STEADY_DAYS and use.least_day > 0:
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


RULES = (
    spot,
    right_size,
    database_size,
    arm64,
    idle,
    orphaned,
    unused,
    old_snapshots,
    storage_class,
    nat_traffic,
    commitments,
    autoscaler_bounds,
)


def find_all(facts: Facts) -> list[Found]:
    """What every rule found."""
    return [found for rule in RULES for found in rule(facts)]
