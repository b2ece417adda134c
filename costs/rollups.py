"""Sums of a load by what its records have in common; see `costs/records.py` for the tables."""

from django.db import connection, transaction

from costs.attribution import expressions
from costs.focus.columns import COSTS
from costs.models import CostLoad
from costs.records import ATTRIBUTION, BRIEF, DIMENSIONS, ROLLUPS, load_name, quoted

# Tags are summed without these, of which their combinations would be too many.
_NOT_BY_TAG = ("RegionId", "SubAccountId", "ServiceCategory")


def roll_up(load: CostLoad) -> None:
    """Make a load's roll-ups anew, from the sums of its import's batches, or of its records without those."""
    attributed, parameters = expressions(load.source.project)
    sums = ", ".join(f'trim_scale(sum("{name}"))' for name in COSTS)
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
        cursor.execute("SELECT 1 FROM costs_partial WHERE load_id = %s LIMIT 1", [load.pk])
        if not cursor.fetchone():
            _sum_records(cursor, load)
        cursor.execute(
            f"CREATE TEMPORARY TABLE costs_grouped AS SELECT load_id, day, {dimensions}, {attribution},"
            f' r."Tags" AS tags, {quoted(COSTS)}, records FROM costs_partial r WHERE load_id = %(load)s',
            parameters | {"load": load.pk},
        )
        cursor.execute(
            f"INSERT INTO costs_daily ({columns}) SELECT {grouped}, {sums}, sum(records)"
            f" FROM costs_grouped GROUP BY {grouped}"
        )
        brief = ["load_id", "day", *(f'"{name}"' for name in BRIEF)]
        for name, source, columns_of, by in (
            ("costs_monthly", "costs_daily", keys, "month"),
            ("costs_brief_daily", "costs_daily", brief, "day"),
            ("costs_brief_monthly", "costs_brief_daily", brief, "month"),
        ):
            selected = ", ".join(columns_of)
            if by == "month":
                selected = selected.replace("day", "date_trunc('month', day)::date", 1)
            cursor.execute(
                f"INSERT INTO {name} ({', '.join(columns_of)}, {quoted(COSTS)}, records)"
                f" SELECT {selected}, {sums}, sum(records) FROM {source} WHERE load_id = %s"
                f" GROUP BY {selected}",
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
        cursor.execute("DELETE FROM costs_partial WHERE load_id = %s", [load.pk])


def _sum_records(cursor, load: CostLoad) -> None:
    """Fill `costs_partial` from a load's own table."""
    summed = ", ".join(f'sum("{name}")' for name in COSTS)
    keys = ", ".join([*(f'"{name}"' for name in DIMENSIONS), '"Tags"'])
    cursor.execute(
        f"INSERT INTO costs_partial (load_id, day, {keys}, {quoted(COSTS)}, records)"
        f" SELECT load_id, (\"ChargePeriodStart\" AT TIME ZONE 'UTC')::date, {keys},"
        f" {summed}, count(*)"
        f" FROM {load_name(load.pk)} GROUP BY 1, 2, {keys}"
    )
