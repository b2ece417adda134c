"""Sums of a load by what its records have in common; see `costs/records.py` for the tables."""

from django.db import connection, transaction

from costs.attribution import expressions
from costs.focus.columns import COSTS
from costs.models import CostLoad
from costs.records import ATTRIBUTION, BRIEF, DIMENSIONS, ROLLUPS, load_name, quoted

# Tags are summed without these, of which their combinations would be too many.
_NOT_BY_TAG = ("RegionId", "SubAccountId", "ServiceCategory")


def roll_up(load: CostLoad) -> None:
    """Make a load's roll-ups anew; see `roll_up_all`."""
    roll_up_all([load])


def roll_up_all(loads: list[CostLoad]) -> None:
    """Make the roll-ups of loads of one project anew.

    From the sums of their imports' batches, or of their records where those sums are gone.
    """
    if not loads:
        return
    numbers = [load.pk for load in loads]
    attributed, parameters = expressions(loads[0].source.project)
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
            cursor.execute(f"DELETE FROM {name} WHERE load_id = ANY(%s)", [numbers])
        cursor.execute("SELECT DISTINCT load_id FROM costs_partial WHERE load_id = ANY(%s)", [numbers])
        summed = {number for (number,) in cursor.fetchall()}
        for load in loads:
            if load.pk not in summed:
                _sum_records(cursor, load)
        cursor.execute(
            f"CREATE TEMPORARY TABLE costs_grouped AS SELECT load_id, day, {dimensions}, {attribution},"
            f' r."Tags" AS tags, {quoted(COSTS)}, records FROM costs_partial r'
            " WHERE load_id = ANY(%(loads)s)",
            parameters | {"loads": numbers},
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
                f" SELECT {selected}, {sums}, sum(records) FROM {source} WHERE load_id = ANY(%s)"
                f" GROUP BY {selected}",
                [numbers],
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
        cursor.execute("DELETE FROM costs_partial WHERE load_id = ANY(%s)", [numbers])


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


def totals_of(load_ids: list[int]) -> list[dict]:
    """What loads add up to: [{provider, currency, rows, each cost as exact text}]."""
    sums = ", ".join(f'sum("{name}")::text' for name in COSTS)
    with connection.cursor() as cursor:
        cursor.execute(
            f'SELECT "ProviderName", "BillingCurrency", sum(records)::bigint, {sums} FROM costs_brief_daily'
            " WHERE load_id = ANY(%s) GROUP BY 1, 2 ORDER BY 1, 2",
            [load_ids],
        )
        return [
            {"provider": provider, "currency": currency, "rows": count} | dict(zip(COSTS, costs, strict=True))
            for provider, currency, count, *costs in cursor.fetchall()
        ]
