"""The tables of records and their roll-ups, which Django does not manage.

`costs_record` has FOCUS 1.2's columns under their own names, `load_id`, `billing_period` (the month's first
day) and `x_columns` (what else a row held, as an object). It is partitioned by month, and each month by load,
so that a load is a table of its own: it is written apart, becomes visible by being attached, and the load it
replaces leaves by being detached, both in one transaction.

Roll-ups are sums per load of what records have in common (DIMENSIONS): `costs_daily` by day of the charge,
`costs_monthly` by month, `costs_tag` by day and tag; the two brief ones by BRIEF alone. Rows of loads that
are not live lie there too: whoever reads gives the ids of live loads (`live_loads`). `costs_partial` has the
sums of an import's batches until its roll-ups are made.
"""

from datetime import date

from django.db import connection, transaction

from costs.models import CostLoad

DIMENSIONS = (
    *("ProviderName", "ServiceCategory", "ServiceName", "RegionId", "SubAccountId"),
    *("ChargeCategory", "ChargeClass", "BillingCurrency"),
)
# What a record's cost was for here; an empty text where that is not known.
ATTRIBUTION = ("target", "collection", "namespace")
BRIEF = (
    *("ProviderName", "ServiceCategory", "ServiceName", "ChargeCategory", "ChargeClass", "BillingCurrency"),
)
ROLLUPS = ("costs_daily", "costs_monthly", "costs_brief_daily", "costs_brief_monthly", "costs_tag")


def quoted(names) -> str:
    """Column names as SQL takes them, separated by commas."""
    return ", ".join(f'"{name}"' for name in names)


def month_name(period: date) -> str:
    """The partition of a billing month."""
    return f"costs_record_{period:%Y_%m}"


def load_name(load_id: int) -> str:
    """The table of a load."""
    return f"costs_record_load_{int(load_id)}"


def load_table_create(load: CostLoad) -> None:
    """An empty table for a load, which no report sees yet; what an earlier try left there is gone."""
    with transaction.atomic(), connection.cursor() as cursor:
        name = load_name(load.pk)
        cursor.execute(f"DROP TABLE IF EXISTS {name}")
        cursor.execute(f"CREATE TABLE {name} (LIKE costs_record INCLUDING DEFAULTS)")
        # With these, attaching the table reads none of its rows.
        cursor.execute(
            f"ALTER TABLE {name} ADD CONSTRAINT of_load CHECK (load_id = {int(load.pk)}"
            f" AND billing_period = DATE '{load.billing_period:%Y-%m-%d}')"
        )


def load_table_attach(load: CostLoad) -> None:
    """Make a load's records visible; in the caller's transaction."""
    month, following = load.billing_period, _following(load.billing_period)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [month_name(month)])
        cursor.execute(
            f"CREATE TABLE IF NOT EXISTS {month_name(month)} PARTITION OF costs_record"
            f" FOR VALUES FROM ('{month:%Y-%m-%d}') TO ('{following:%Y-%m-%d}') PARTITION BY LIST (load_id)"
        )
        cursor.execute(
            f"ALTER TABLE {month_name(month)} ATTACH PARTITION {load_name(load.pk)}"
            f" FOR VALUES IN ({int(load.pk)})"
        )


def load_table_detach(load: CostLoad) -> None:
    """Hide a load's records; in the caller's transaction."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {month_name(load.billing_period)} DETACH PARTITION {load_name(load.pk)}")


def load_drop(load_id: int) -> None:
    """Delete what lies in the tables of a load that is not live."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {load_name(load_id)}")
        for name in (*ROLLUPS, "costs_partial"):
            cursor.execute(f"DELETE FROM {name} WHERE load_id = %s", [load_id])


def live_loads(project, *, since: date | None = None, until: date | None = None, source=None) -> list[int]:
    """Ids of the loads that count in a project, of billing months from `since` to before `until`."""
    rows = CostLoad.objects.filter(source__project=project, live=True)
    if since:
        rows = rows.filter(billing_period__gte=since.replace(day=1))
    if until:
        rows = rows.filter(billing_period__lt=until)
    if source is not None:
        rows = rows.filter(source=source)
    return list(rows.values_list("pk", flat=True))


def _following(month: date) -> date:
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)
