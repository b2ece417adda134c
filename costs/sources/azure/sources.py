"""Azure: FOCUS exports in Blob Storage, and the Cost Management query as the quick way."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal

from costs.sources.base import Month, exported_months, following, months_between, rows_file

APPLICATION = {
    "tenant_id": {"type": "string"},
    "client_id": {"type": "string"},
    "client_secret": {"type": "string"},
}
# How Azure's names of services fall into FOCUS's categories.
CATEGORIES = {
    "Compute": ("Virtual Machines", "Kubernetes", "Container", "Functions", "App Service"),
    "Databases": ("SQL", "PostgreSQL", "MySQL", "Cosmos", "Redis"),
    "Storage": ("Storage", "Backup"),
    "Networking": ("Network", "Load Balancer", "Bandwidth", "DNS", "NAT", "VPN", "Front Door"),
    "Security": ("Key Vault", "Defender", "Sentinel"),
    "Management and Governance": ("Monitor", "Log Analytics", "Automation"),
    "AI and Machine Learning": ("Cognitive", "OpenAI", "Machine Learning"),
}


class BlobExport:
    label = "FOCUS export in Azure Blob Storage"
    config_schema = {
        "type": "object",
        "properties": {
            "account": {"type": "string", "pattern": "^[a-z0-9]{3,24}$", "title": "Storage account"},
            "container": {"type": "string"},
            "prefix": {"type": "string", "default": "", "title": "What names begin with"},
            "scope": {
                "type": "string",
                "default": "",
                "title": "Compare with the totals of this scope, as subscriptions/ID",
            },
        },
        "required": ["account", "container"],
        "additionalProperties": False,
    }
    credentials_schema = {
        "type": "object",
        "properties": {"account_key": {"type": "string"}, "sas_token": {"type": "string"}, **APPLICATION},
        "additionalProperties": False,
    }

    def __init__(self, config: dict, credentials: dict):
        self._config, self._credentials = config, credentials

    def months(self, since: date, wanted: Callable[[date], bool]) -> list[Month]:
        from costs.sources.azure.client import Container, CostManagement

        config = self._config
        container = Container(
            self._credentials, config["account"], config["container"], config.get("prefix", "")
        )
        query = CostManagement(self._credentials, config["scope"]) if config.get("scope") else None

        def totals(month: date):
            return _totals(query, month, following(month)) if wanted(month) else None

        return exported_months(container.objects(), since, container.opened, totals if query else None)


class CostManagementSource:
    label = "Azure Cost Management query"
    config_schema = {
        "type": "object",
        "properties": {
            "scope": {"type": "string", "title": "Scope, as subscriptions/ID", "minLength": 3},
            "account_id": {"type": "string", "title": "Billing account"},
        },
        "required": ["scope", "account_id"],
        "additionalProperties": False,
    }
    credentials_schema = {"type": "object", "properties": APPLICATION, "additionalProperties": False}

    def __init__(self, config: dict, credentials: dict):
        self._config, self._credentials = config, credentials

    def months(self, since: date, wanted: Callable[[date], bool]) -> list[Month]:
        from costs.sources.azure.client import CostManagement

        query = CostManagement(self._credentials, self._config["scope"])
        found = []
        for month in months_between(since, datetime.now(UTC).date()):
            if not wanted(month):
                found.append(Month(month, (), None))
                continue

            def rows(month=month) -> Iterator[dict]:
                return self._rows(query, month)

            name = f"cost-management-{month:%Y-%m}.csv"
            totals = _totals(query, month, following(month))
            found.append(Month(month, (rows_file(name, rows),), None, totals))
        return found

    def _rows(self, query, month: date) -> Iterator[dict]:
        """By day, service, region and charge type; amortised costs beside the actual ones."""
        effective: dict[tuple, Decimal] = {}
        groups = ("ServiceName", "ResourceLocation", "ChargeType")
        for row in query.rows(_body("AmortizedCost", month, following(month), groups)):
            effective[_key(row, groups)] = Decimal(str(row["Cost"]))
        seen = set()
        for row in query.rows(_body("ActualCost", month, following(month), groups)):
            key = _key(row, groups)
            seen.add(key)
            yield self._row(key, month, Decimal(str(row["Cost"])), effective.get(key, Decimal(0)))
        # What is amortised on days on which nothing was billed.
        for key, amount in effective.items():
            if key not in seen:
                yield self._row(key, month, Decimal(0), amount)

    def _row(self, key: tuple, month: date, billed: Decimal, effective: Decimal) -> dict:
        day, currency, service, region, charge = key
        service = service or "Other"
        start = datetime.strptime(str(day), "%Y%m%d").date()
        return {
            "BilledCost": f"{billed:f}",
            "EffectiveCost": f"{effective:f}",
            # The query knows neither: what was billed is the nearest.
            "ListCost": f"{billed:f}",
            "ContractedCost": f"{billed:f}",
            "BillingAccountId": self._config["account_id"],
            "BillingAccountName": "",
            "BillingCurrency": currency,
            "BillingPeriodStart": f"{month}T00:00:00Z",
            "BillingPeriodEnd": f"{following(month)}T00:00:00Z",
            "ChargePeriodStart": f"{start}T00:00:00Z",
            "ChargePeriodEnd": f"{date.fromordinal(start.toordinal() + 1)}T00:00:00Z",
            "ChargeCategory": {"Refund": "Credit", "Purchase": "Purchase", "Tax": "Tax"}.get(charge, "Usage"),
            "ChargeClass": "",
            "ChargeDescription": f"{service}, {charge}",
            "ChargeFrequency": "Usage-Based",
            "InvoiceIssuerName": "Microsoft",
            "PricingQuantity": "",
            "PricingUnit": "",
            "ProviderName": "Microsoft",
            "PublisherName": "Microsoft",
            "RegionId": region,
            "ServiceCategory": _category(service),
            "ServiceName": service,
        }


def _key(row: dict, groups: tuple) -> tuple:
    return (row["UsageDate"], row["Currency"], *(row[name] for name in groups))


def _body(kind: str, since: date, until: date, groups: tuple = (), granularity: str = "Daily") -> dict:
    last = date.fromordinal(until.toordinal() - 1)
    return {
        "type": kind,
        "timeframe": "Custom",
        "timePeriod": {"from": f"{since}T00:00:00Z", "to": f"{last}T23:59:59Z"},
        "dataset": {
            "granularity": granularity,
            "aggregation": {"totalCost": {"name": "Cost", "function": "Sum"}},
            "grouping": [{"type": "Dimension", "name": name} for name in groups],
        },
    }


def _totals(query, since: date, until: date) -> dict[str, str]:
    sums: dict[str, Decimal] = {}
    for row in query.rows(_body("ActualCost", since, until, granularity="None")):
        sums[row["Currency"]] = sums.get(row["Currency"], Decimal(0)) + Decimal(str(row["Cost"]))
    return {currency: f"{amount:f}" for currency, amount in sums.items()}


def _category(name: str) -> str:
    for category, parts in CATEGORIES.items():
        if any(part in name for part in parts):
            return category
    return "Other"
