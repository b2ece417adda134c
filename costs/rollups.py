"""Sums of a load by what its records have in common; see `costs/records.py` for the tables."""

from django.db import connection, transaction

from costs.attribution import expressions
from costs.focus.columns import COSTS
from costs.models import CostLoad
from costs.records import ATTRIBUTION, DIMENSIONS, ROLLUPS, load_name, quoted

# Tags are summed without these, of which their combinations would be too many.
_NOT_BY_TAG = ("RegionId", "SubAccountId", "ServiceCategory")


def roll_up(load: CostLoad) -> None:
    """Make a load's roll-ups anew from its records."""
    attributed, parameters = expressions(load.source.project)
    sums = ", ".join(f'sum("{name}")' for name in COSTS)
    named_sums = ", ".join(f'sum("{name}") AS "{name}"' for name in COSTS)
    keys = ["load_id", "day", *(f'"{name}"' for name in DIMENSIONS), *ATTRIBUTION]
    columns = ", ".join([*keys, quoted(COSTS), "records"])
    dimensions = ", ".join(f'coalesce(r."{name}", \'\') AS "{name}"' for name in DIMENSIONS)
    attribution = ", ".join(f"{sql} AS {name}" for name, sql in attributed.items())
    by_tag = ", ".join("''" if name in _NOT_BY_TAG else f'"{name}"' for name in DIMENSIONS)
    kept = quoted(name for name in DIMENSIONS if name not in _NOT_BY_TAG)
    grouped = ", ".join(keys)
    with transaction.atomic(), connection.cursor() as cursor:
        for name in ROLLUPS:
            cursor.execute(f"DELETE FROM {name} WHERE load_id = %s", [load.pk])
        cursor.execute("SET LOCAL work_mem = '64MB'")
        # The records are read once; what they have in common is far less than they are.
        cursor.execute(
            "CREATE TEMPORARY TABLE costs_grouped AS"
            f' SELECT {grouped}, "Tags" AS tags, {named_sums}, count(*) AS records FROM (SELECT load_id,'
            f" (r.\"ChargePeriodStart\" AT TIME ZONE 'UTC')::date AS day, {dimensions}, {attribution},"
            f' r."Tags", {quoted(COSTS)} FROM {load_name(load.pk)} r) AS found GROUP BY {grouped}, "Tags"',
            parameters,
        )
        cursor.execute(
            f"INSERT INTO costs_daily ({columns}) SELECT {grouped}, {sums}, sum(records)"
            f" FROM costs_grouped GROUP BY {grouped}"
        )
        months = grouped.replace("day", "date_trunc('month', day)::date", 1)
        cursor.execute(
            f"INSERT INTO costs_monthly ({columns}) SELECT {months}, {sums}, sum(records)"
            f" FROM costs_daily WHERE load_id = %s GROUP BY {months}",
            [load.pk],
        )
        cursor.execute(
            f"INSERT INTO costs_tag (key, value, {columns})"
            f" SELECT tag.key, tag.value, load_id, day, {by_tag}, {', '.join(ATTRIBUTION)},"
            f" {sums}, sum(records)"
            " FROM costs_grouped, jsonb_each_text(tags) AS tag(key, value)"
            f" WHERE jsonb_typeof(tags) = 'object' AND tag.value IS NOT NULL"
            f" GROUP BY tag.key, tag.value, load_id, day, {kept}, {', '.join(ATTRIBUTION)}"
        )
        cursor.execute("DROP TABLE costs_grouped")
