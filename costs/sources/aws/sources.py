"""AWS: FOCUS exports in S3, and Cost Explorer as the quick way."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime

from costs.sources.base import Month, exported_months, following, months_between, rows_file

CREDENTIALS = {
    "type": "object",
    "properties": {
        "access_key_id": {"type": "string"},
        "secret_access_key": {"type": "string"},
        "role_arn": {"type": "string", "title": "Role to assume"},
        "external_id": {"type": "string"},
    },
    "additionalProperties": False,
}
# How Cost Explorer's names of services fall into FOCUS's categories.
CATEGORIES = {
    "Compute": ("EC2", "Elastic Compute", "Lambda", "Kubernetes", "Container", "Lightsail"),
    "Databases": ("RDS", "Relational Database", "DynamoDB", "ElastiCache", "Redshift"),
    "Storage": ("S3", "Simple Storage", "EBS", "Elastic Block", "EFS", "Elastic File", "Backup", "Glacier"),
    "Networking": ("VPC", "Virtual Private Cloud", "CloudFront", "Route 53", "Load Balanc", "Direct Connect"),
    "Security": ("Key Management", "GuardDuty", "WAF", "Secrets Manager", "Security Hub"),
    "Management and Governance": ("CloudWatch", "Config", "CloudTrail", "Systems Manager", "Cost Explorer"),
    "Integration": ("Simple Queue", "Simple Notification", "EventBridge", "Step Functions"),
    "AI and Machine Learning": ("Bedrock", "SageMaker"),
}


class S3Export:
    label = "FOCUS export in Amazon S3"
    config_schema = {
        "type": "object",
        "properties": {
            "bucket": {"type": "string", "minLength": 3, "maxLength": 63},
            "prefix": {"type": "string", "default": "", "title": "What keys begin with"},
            "region": {"type": "string", "default": "us-east-1"},
            "compare": {
                "type": "boolean",
                "default": False,
                "title": "Compare with Cost Explorer's totals (each request is billed)",
            },
        },
        "required": ["bucket"],
        "additionalProperties": False,
    }
    credentials_schema = CREDENTIALS

    def __init__(self, config: dict, credentials: dict):
        self._config, self._credentials = config, credentials

    def months(self, since: date, wanted: Callable[[date], bool]) -> list[Month]:
        from costs.sources.aws.client import Bucket, CostExplorer

        config = self._config
        bucket = Bucket(
            self._credentials, config.get("region", ""), config["bucket"], config.get("prefix", "")
        )
        explorer = CostExplorer(self._credentials) if config.get("compare") else None

        def totals(month: date):
            return explorer.total(month, following(month)) if wanted(month) else None

        return exported_months(bucket.objects(), since, bucket.opened, totals if explorer else None)


class CostExplorerSource:
    label = "AWS Cost Explorer"
    config_schema = {
        "type": "object",
        "properties": {
            "account_id": {"type": "string", "title": "The paying account"},
            "group_by": {
                "type": "array",
                "title": "Beside the service, one of",
                "items": {"type": "string", "enum": ["REGION", "LINKED_ACCOUNT", "RECORD_TYPE"]},
                "maxItems": 1,
                "default": ["REGION"],
            },
        },
        "required": ["account_id"],
        "additionalProperties": False,
    }
    credentials_schema = CREDENTIALS

    def __init__(self, config: dict, credentials: dict):
        self._config, self._credentials = config, credentials

    def months(self, since: date, wanted: Callable[[date], bool]) -> list[Month]:
        from costs.sources.aws.client import CostExplorer

        explorer = CostExplorer(self._credentials)
        today = datetime.now(UTC).date()
        found = []
        for month in months_between(since, today):
            if not wanted(month):
                found.append(Month(month, (), None))
                continue
            # Cost Explorer refuses a span that ends after tomorrow.
            end = min(following(month), date.fromordinal(today.toordinal() + 1))

            def rows(month=month, end=end) -> Iterator[dict]:
                return self._rows(explorer, month, end)

            name = f"cost-explorer-{month:%Y-%m}.csv"
            found.append(Month(month, (rows_file(name, rows),), None, explorer.total(month, end)))
        return found

    def _rows(self, explorer, month: date, end: date) -> Iterator[dict]:
        beside = self._config.get("group_by", ["REGION"])
        metrics = ["UnblendedCost", "AmortizedCost", "UsageQuantity"]
        for day in explorer.days(month, end, metrics, ["SERVICE", *beside]):
            service, *keys = day["keys"]
            more = dict(zip(beside, keys, strict=True))
            billed = day["metrics"]["UnblendedCost"]
            kind = more.get("RECORD_TYPE", "Usage")
            yield {
                "BilledCost": billed["Amount"],
                "EffectiveCost": day["metrics"].get("AmortizedCost", billed)["Amount"],
                # Cost Explorer knows neither: what was billed is the nearest.
                "ListCost": billed["Amount"],
                "ContractedCost": billed["Amount"],
                "BillingCurrency": billed["Unit"],
                "BillingAccountId": self._config["account_id"],
                "BillingAccountName": "",
                "BillingPeriodStart": f"{month}T00:00:00Z",
                "BillingPeriodEnd": f"{following(month)}T00:00:00Z",
                "ChargePeriodStart": f"{day['start']}T00:00:00Z",
                "ChargePeriodEnd": f"{day['end']}T00:00:00Z",
                "ChargeCategory": _category_of_charge(kind),
                "ChargeClass": "",
                "ChargeDescription": f"{service}, {kind}",
                "ChargeFrequency": "Usage-Based",
                "InvoiceIssuerName": "Amazon Web Services",
                "PricingQuantity": "",
                "PricingUnit": "",
                "ProviderName": "AWS",
                "PublisherName": "AWS",
                "RegionId": _region(more.get("REGION", "")),
                "ServiceCategory": _category_of_service(service),
                "ServiceName": service,
                "SubAccountId": more.get("LINKED_ACCOUNT", ""),
                "x_Estimated": day["estimated"],
            }


def _region(name: str) -> str:
    return "" if name in ("NoRegion", "global") else name


def _category_of_charge(kind: str) -> str:
    if kind in ("Credit", "Refund"):
        return "Credit"
    if kind == "Tax":
        return "Tax"
    return "Purchase" if "Fee" in kind else "Usage"


def _category_of_service(name: str) -> str:
    for category, parts in CATEGORIES.items():
        if any(part in name for part in parts):
            return category
    return "Other"
