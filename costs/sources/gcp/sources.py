"""Google Cloud: FOCUS exports in Cloud Storage and BigQuery, and the billing export as the quick way."""

import json
from collections.abc import Callable, Iterator
from datetime import date

from costs.sources.base import Month, SourceError, exported_months, following, rows_file

CREDENTIALS = {
    "type": "object",
    "properties": {"service_account_json": {"type": "string", "title": "Key of a service account"}},
    "additionalProperties": False,
}
TABLE = {
    "type": "object",
    "properties": {
        "project": {"type": "string", "title": "Project that queries are billed to"},
        "table": {
            "type": "string",
            "pattern": r"^[A-Za-z0-9:_.-]+\.[A-Za-z0-9_]+\.[A-Za-z0-9_-]+$",
            "title": "Table, as project.dataset.table",
        },
        "location": {"type": "string", "default": ""},
    },
    "required": ["project", "table"],
    "additionalProperties": False,
}


class GcsExport:
    label = "FOCUS export in Google Cloud Storage"
    config_schema = {
        "type": "object",
        "properties": {
            "project": {"type": "string", "default": ""},
            "bucket": {"type": "string"},
            "prefix": {"type": "string", "default": "", "title": "What names begin with"},
        },
        "required": ["bucket"],
        "additionalProperties": False,
    }
    credentials_schema = CREDENTIALS

    def __init__(self, config: dict, credentials: dict):
        self._config, self._credentials = config, credentials

    def months(self, since: date, wanted: Callable[[date], bool]) -> list[Month]:
        from costs.sources.gcp.client import Bucket

        config = self._config
        bucket = Bucket(
            self._credentials, config.get("project", ""), config["bucket"], config.get("prefix", "")
        )
        return exported_months(bucket.objects(), since, bucket.opened)


class _InBigQuery:
    """A table: one query tells its months, their rows and totals; another gives a month's rows."""

    config_schema = TABLE
    credentials_schema = CREDENTIALS
    summary = ""
    detail = ""

    def __init__(self, config: dict, credentials: dict):
        self._config, self._credentials = config, credentials

    def months(self, since: date, wanted: Callable[[date], bool]) -> list[Month]:
        from costs.sources.gcp.client import Tables

        config = self._config
        tables = Tables(self._credentials, config["project"], config.get("location", ""))
        by_month: dict[date, list[dict]] = {}
        for row in tables.rows(self.summary.format(table=config["table"]), {"since": f"{since:%Y-%m}"}):
            try:
                month = date.fromisoformat(f"{row['month']}-01")
            except ValueError:
                raise SourceError(f"{config['table']} tells of a month {row['month']!r}.") from None
            by_month.setdefault(month, []).append(row)
        found = []
        for month, rows in sorted(by_month.items()):
            rows.sort(key=lambda row: row["currency"])

            def read(month=month) -> Iterator[dict]:
                sql = self.detail.format(table=config["table"])
                return (self._row(row, month) for row in tables.rows(sql, {"month": f"{month:%Y-%m}"}))

            found.append(
                Month(
                    month,
                    (rows_file(f"{config['table']}-{month:%Y-%m}.csv", read),),
                    " ".join(f"{row['currency']} {row['records']} {row['billed']}" for row in rows),
                    {row["currency"]: str(row["billed"]) for row in rows},
                )
            )
        return found

    def _row(self, row: dict, month: date) -> dict:
        raise NotImplementedError


class BigQueryExport(_InBigQuery):
    label = "FOCUS export in BigQuery"
    summary = (
        "SELECT FORMAT_TIMESTAMP('%Y-%m', BillingPeriodStart) AS month, BillingCurrency AS currency,"
        " COUNT(*) AS records, CAST(SUM(CAST(BilledCost AS BIGNUMERIC)) AS STRING) AS billed"
        " FROM `{table}` WHERE FORMAT_TIMESTAMP('%Y-%m', BillingPeriodStart) >= @since GROUP BY 1, 2"
    )
    detail = "SELECT * FROM `{table}` WHERE FORMAT_TIMESTAMP('%Y-%m', BillingPeriodStart) = @month"

    def _row(self, row: dict, month: date) -> dict:
        return {name: _plain(value) for name, value in row.items()}


def _plain(value):
    if isinstance(value, list | dict):
        return json.dumps(value, default=str)
    return value.isoformat() if hasattr(value, "isoformat") else value


class BillingExport(_InBigQuery):
    """The standard or detailed usage cost export, by day."""

    label = "Google Cloud billing export in BigQuery"
    summary = (
        "SELECT CONCAT(SUBSTR(invoice.month, 1, 4), '-', SUBSTR(invoice.month, 5, 2)) AS month, currency,"
        " COUNT(*) AS records, CAST(SUM(CAST(cost AS BIGNUMERIC)) + SUM(IFNULL((SELECT"
        " SUM(CAST(c.amount AS BIGNUMERIC)) FROM UNNEST(credits) c), 0)) AS STRING) AS billed"
        " FROM `{table}` WHERE invoice.month >= REPLACE(@since, '-', '') GROUP BY 1, 2"
    )
    detail = (
        "SELECT billing_account_id, project.id AS project_id, project.name AS project_name,"
        " service.description AS service, sku.id AS sku_id, sku.description AS sku,"
        " location.region AS region, DATE(usage_start_time) AS day, currency, cost_type,"
        " usage.pricing_unit AS unit,"
        " TO_JSON_STRING(labels) AS labels, CAST(SUM(CAST(cost AS BIGNUMERIC)) AS STRING) AS cost,"
        " CAST(SUM(IFNULL((SELECT SUM(CAST(c.amount AS BIGNUMERIC)) FROM UNNEST(credits) c), 0)) AS STRING)"
        " AS credits, CAST(SUM(CAST(usage.amount_in_pricing_units AS BIGNUMERIC)) AS STRING) AS quantity"
        " FROM `{table}` WHERE invoice.month = REPLACE(@month, '-', '')"
        " GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12"
    )

    def _row(self, row: dict, month: date) -> dict:
        from decimal import Decimal

        billed = Decimal(row["cost"]) + Decimal(row["credits"] or 0)
        day = row["day"] if isinstance(row["day"], date) else date.fromisoformat(str(row["day"]))
        unit = row["unit"] or ""
        return {
            "BilledCost": f"{billed:f}",
            "EffectiveCost": f"{billed:f}",
            "ListCost": row["cost"],
            "ContractedCost": row["cost"],
            "BillingAccountId": row["billing_account_id"],
            "BillingAccountName": "",
            "BillingCurrency": row["currency"],
            "BillingPeriodStart": f"{month}T00:00:00Z",
            "BillingPeriodEnd": f"{following(month)}T00:00:00Z",
            "ChargePeriodStart": f"{day}T00:00:00Z",
            "ChargePeriodEnd": f"{date.fromordinal(day.toordinal() + 1)}T00:00:00Z",
            "ChargeCategory": {"tax": "Tax", "adjustment": "Adjustment"}.get(row["cost_type"], "Usage"),
            "ChargeClass": "",
            "ChargeDescription": row["sku"],
            "ChargeFrequency": "Usage-Based",
            "InvoiceIssuerName": "Google Cloud",
            "PricingQuantity": row["quantity"] if unit else "",
            "PricingUnit": unit,
            "ProviderName": "Google Cloud",
            "PublisherName": "Google Cloud",
            "RegionId": row["region"],
            "ServiceCategory": _category(row["service"] or ""),
            "ServiceName": row["service"] or "Other",
            "SkuId": row["sku_id"],
            "SubAccountId": row["project_id"],
            "SubAccountName": row["project_name"],
            "Tags": row["labels"] if row["labels"] not in (None, "[]", "{}") else "",
        }


CATEGORIES = {
    "Compute": ("Compute Engine", "Kubernetes Engine", "Cloud Run", "Functions"),
    "Databases": ("SQL", "Spanner", "Firestore", "Memorystore", "AlloyDB", "Bigtable"),
    "Storage": ("Storage", "Filestore", "Backup"),
    "Networking": ("Network", "DNS", "CDN", "Load Balanc"),
    "Analytics": ("BigQuery", "Dataflow", "Dataproc"),
    "AI and Machine Learning": ("Vertex", "AI"),
    "Security": ("Key Management", "Secret", "Security"),
    "Management and Governance": ("Monitoring", "Logging", "Operations"),
}


def _category(name: str) -> str:
    for category, parts in CATEGORIES.items():
        if any(part in name for part in parts):
            return category
    return "Other"
