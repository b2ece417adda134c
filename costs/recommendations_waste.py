"""Rules on what is paid for nothing: idle, left behind, attached to nothing, old, kept or sent the dear
way.
"""

from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal

from costs.recommendations_facts import Facts, Use
from costs.recommendations_parts import IDLE_DAYS, LEAST_A_MONTH, found_of
from costs.recommendations_sources import Found

OLD_SNAPSHOT_DAYS = 90


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
            yield found_of(
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
        yield found_of(
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
            yield found_of(
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
            yield found_of(
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
        now = facts.prices.price("aws", use.region, "disk", "gp2")
        then = facts.prices.price("aws", use.region, "disk", "gp3")
        if now and then and then.amount < now.amount:
            rate = 1 - then.amount / now.amount
            yield found_of(
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
        now = facts.prices.price(use.provider, use.region, "object_storage", warm)
        then = facts.prices.price(use.provider, use.region, "object_storage", cold)
        if now and then and then.amount < now.amount:
            rate = 1 - then.amount / now.amount
            yield found_of(
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
        yield found_of(
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
