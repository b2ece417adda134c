"""All rules, and what they find: each reads the facts and gives recommendations.

A rule that is not sure of its figures says low confidence; one whose finding would harm gives it as refused.
"""

from costs import recommendations_machines as machines
from costs import recommendations_waste as waste
from costs.recommendations_facts import Facts
from costs.recommendations_sources import Found

RULES = (
    machines.spot,
    machines.right_size,
    machines.database_size,
    machines.arm64,
    waste.idle,
    waste.orphaned,
    waste.unused,
    waste.old_snapshots,
    waste.storage_class,
    waste.nat_traffic,
    machines.commitments,
    machines.autoscaler_bounds,
)


def find_all(facts: Facts) -> list[Found]:
    """What every rule found."""
    return [found for rule in RULES for found in rule(facts)]
