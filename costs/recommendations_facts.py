"""What recommendations follow from: each billed resource over the last days, and what its target did
meanwhile.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from django.db import connection
from django.db.models import Max, Min, Sum

from costs.attribution import expressions
from costs.estimates_math import HOURS_A_MONTH
from costs.prices import PriceBook
from costs.prices_list import Size, size_of
from costs.records import live_loads
from deployments.models import CollectionSize, MetricPoint, Replica, Target

WINDOW_DAYS = 30
METRIC_DAYS = 14
HOUR_SECONDS = 3600
DAYS_A_MONTH = HOURS_A_MONTH / 24
# ProviderName of a bill to the cloud that prices are known by.
CLOUD_OF = {
    "AWS": "aws",
    "Amazon Web Services": "aws",
    "Microsoft": "azure",
    "Microsoft Azure": "azure",
    "Azure": "azure",
    "Google Cloud": "gcp",
    "Google": "gcp",
    "GCP": "gcp",
}
AWS_SIZE = (
    r"(?:db\.|cache\.)?[a-z]{1,3}\d{1,2}[a-z-]{0,6}\.(?:nano|micro|small|medium|large|\d{0,2}xlarge|metal)"
)
AZURE_SIZE = r"Standard_[A-Z]+\d+[a-z]*(?:_v\d)?"
GCP_SIZE = r"[a-z]\d[a-z]?-(?:standard|highmem|highcpu)-\d+|db-custom-\d+-\d+"
SIZE = re.compile(rf"\b(?:{AWS_SIZE}|{AZURE_SIZE}|{GCP_SIZE})\b")
# What the text of a charge says its resource is; the first that fits.
KINDS = tuple(
    (kind, re.compile("|".join(patterns), re.I))
    for kind, patterns in (
        ("snapshot", (r"snapshot",)),
        (
            "address_idle",
            (
                r"(idle|unused|unattached).{0,40}(ipv4|ip address|static ip|elastic ?ip|address)",
                r"(ipv4|elasticip|static ip)\S*:?.{0,20}(idle|unused)",
            ),
        ),
        (
            "nat_traffic",
            (
                r"natgateway-bytes",
                r"nat gateway.{0,40}(data processed|bytes|gb)",
                r"cloud nat.{0,20}data",
            ),
        ),
        ("nat_gateway", (r"natgateway", r"nat gateway", r"cloud nat")),
        (
            "disk",
            (
                r"volumeusage",
                r"ebs:.*volume",
                r"managed disk",
                r"pd capacity",
                r"gp2",
                r"gp3",
                r"premium ssd",
            ),
        ),
        ("load_balancer", (r"loadbalancer", r"load balancer", r"forwarding rule")),
    )
)


@dataclass(frozen=True)
class Use:
    """One billed resource and how it was paid, over the window; money is of a month at its daily mean."""

    cloud: str
    region: str
    service: str
    category: str
    resource: str
    name: str
    currency: str
    pricing: str
    kind: str
    sku: str
    monthly: Decimal
    list_monthly: Decimal
    least_day: Decimal
    days: int
    first: date
    last: date
    quantity: Decimal
    target: str
    cluster: str
    tags: dict
    text: str

    @property
    def provider(self) -> str:
        """aws, azure, gcp, or an empty text for others."""
        return CLOUD_OF.get(self.cloud, "")

    @property
    def size(self) -> Size | None:
        """What its size of machine has."""
        return size_of(self.provider, self.sku) if self.sku else None


@dataclass(frozen=True)
class Measured:
    """What a target did over METRIC_DAYS, as its own metrics tell; None where nothing was measured."""

    target: Target
    days: float
    requests: int
    peak_per_second: float
    memory_bytes: int | None
    index_bytes: int | None
    replicas: int


@dataclass
class Facts:
    """Everything that detectors read."""

    project: object
    today: date
    uses: list[Use]
    measured: dict[str, Measured]
    targets: dict[str, Target]
    prices: PriceBook
    snapshots: dict[str, date] = field(default_factory=dict)

    def of_kind(self, *kinds: str) -> Iterable[Use]:
        """Uses of these kinds whose resource is still billed."""
        newest = max((one.last for one in self.uses), default=self.today)
        return (one for one in self.uses if one.kind in kinds and (newest - one.last).days <= 3)


def gather(project, today: date) -> Facts:
    """The facts of a project as of a day."""
    targets = {target.pk: target for target in Target.objects.filter(project=project)}
    uses = _uses(project, today)
    facts = Facts(project, today, uses, _measured(targets, today), targets, PriceBook(today))
    facts.snapshots = _first_seen(project, [one.resource for one in uses if one.kind == "snapshot"])
    return facts


# A resource may have several meters (a NAT gateway's hours and bytes): each SKU of it is a use of its own.
USES_SQL = """
WITH used AS (
  SELECT r."ProviderName" AS cloud, r."ResourceId" AS resource, r."BillingCurrency" AS currency,
    coalesce(r."PricingCategory", '') AS pricing,
    coalesce(r."CommitmentDiscountId", '') <> '' AS committed,
    coalesce(r."RegionId", '') AS region, r."ServiceName" AS service, r."ServiceCategory" AS category,
    coalesce(r."SkuId", r."SkuMeter", r.x_columns ->> 'x_UsageType', r."ChargeDescription", '') AS meter,
    concat_ws(' ', r."SkuPriceDetails" ->> 'InstanceType', r.x_columns ->> 'x_UsageType',
      r.x_columns ->> 'x_SkuMeterName', r."SkuMeter", r."ChargeDescription", r."ResourceType") AS text,
    coalesce(r."ResourceName", '') AS name, r."Tags" AS tags, {target} AS target,
    (r."ChargePeriodStart" AT TIME ZONE 'UTC')::date AS day,
    r."EffectiveCost" AS cost, r."ListCost" AS list, coalesce(r."ConsumedQuantity", 0) AS quantity
  FROM costs_record r
  WHERE r.load_id = ANY(%(loads)s) AND r."ChargeCategory" = 'Usage' AND r."ResourceId" <> ''
    AND r."ChargePeriodStart" >= %(since)s AND r."ChargePeriodStart" < %(until)s
), by_day AS (
  SELECT cloud, resource, currency, pricing, committed, region, service, category, meter, day,
    max(text) AS text, max(name) AS name, max(tags::text) AS tags, max(target) AS target,
    sum(cost) AS cost, sum(list) AS list, sum(quantity) AS quantity
  FROM used GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
)
SELECT cloud, resource, currency, pricing, committed, region, service, category, max(text), max(name),
  max(tags), max(target), sum(cost), sum(list), sum(quantity), min(cost), count(*), min(day), max(day)
FROM by_day GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, meter HAVING sum(cost) > 0
"""


def _uses(project, today: date) -> list[Use]:
    since = today - timedelta(days=WINDOW_DAYS)
    loads = live_loads(project, since=since - timedelta(days=31))
    attributed, parameters = expressions(project)
    bounds = {"loads": loads, "since": _midnight(since), "until": _midnight(today)}
    found = []
    with connection.cursor() as cursor:
        cursor.execute(USES_SQL.format(target=attributed["target"]), parameters | bounds)
        for row in cursor.fetchall():
            found.append(_use(row))
    return found


def _use(row) -> Use:
    cloud, resource, currency, pricing, committed, region, service, category, text, name, tags = row[:11]
    target, cost, listed, quantity, least, days, first, last = row[11:]
    sized = SIZE.search(text)
    sku = sized[0] if sized else ""
    kind = next((kind for kind, pattern in KINDS if pattern.search(text)), "")
    if not kind and sku:
        kind = (
            "database"
            if sku.startswith("db") or category == "Databases"
            else "cache"
            if sku.startswith("cache")
            else "node"
        )
    if kind == "database" and sku.startswith("Standard_"):
        sku = f"GP_{sku}"
    if not kind and category == "Storage":
        kind = "object_storage"
    elif not kind and category == "Databases":
        kind = "database"
    span = (last - first).days + 1
    tags = json.loads(tags) if tags else {}
    cluster = next((f"{key}={value}" for key, value in sorted(tags.items()) if _is_cluster(key)), "")
    return Use(
        cloud=cloud,
        region=region,
        service=service,
        category=category,
        resource=resource,
        name=name,
        currency=currency,
        pricing="Committed" if committed else pricing,
        kind=kind,
        sku=sku,
        monthly=cost / span * DAYS_A_MONTH,
        list_monthly=listed / span * DAYS_A_MONTH,
        least_day=least if days == span else Decimal(0),
        days=span,
        first=first,
        last=last,
        quantity=quantity,
        target=target,
        cluster=cluster,
        tags=tags,
        text=text[:300],
    )


def _is_cluster(key: str) -> bool:
    low = key.lower()
    return any(
        word in low
        for word in ("eks:cluster", "eks-cluster", "aks-managed", "goog-k8s-cluster", "kubernetes.io/cluster")
    )


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _first_seen(project, resources: list[str]) -> dict[str, date]:
    """{ResourceId: the first day any record tells of}."""
    if not resources:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            'SELECT "ResourceId", min("ChargePeriodStart") FROM costs_record WHERE load_id = ANY(%s)'
            ' AND "ResourceId" = ANY(%s) GROUP BY 1',
            [live_loads(project), resources],
        )
        return {resource: at.astimezone(UTC).date() for resource, at in cursor.fetchall()}


def _measured(targets: dict[str, Target], today: date) -> dict[str, Measured]:
    since = _midnight(today - timedelta(days=METRIC_DAYS))
    until = _midnight(today)
    found = {}
    for key, target in targets.items():
        points = MetricPoint.objects.filter(
            target=target, resolution_seconds=HOUR_SECONDS, at__gte=since, at__lt=until
        )
        hours = list(points.values("at").annotate(n=Sum("requests"), most=Max("memory_bytes")).order_by("at"))
        replicas = Replica.objects.filter(target=target, status="ready").count() or target.desired_replicas
        sizes = CollectionSize.objects.filter(target=target, resolution_seconds=HOUR_SECONDS, at__gte=since)
        newest = sizes.aggregate(at=Max("at"))["at"]
        bytes_now = sizes.filter(at=newest).aggregate(sum=Sum("bytes"))["sum"] if newest else None
        measured_since = points.aggregate(at=Min("at"))["at"]
        memory = [one["most"] for one in hours if one["most"] is not None]
        found[key] = Measured(
            target=target,
            days=len(hours) / 24 if measured_since else 0.0,
            requests=sum(one["n"] or 0 for one in hours),
            peak_per_second=max(((one["n"] or 0) / HOUR_SECONDS for one in hours), default=0.0),
            memory_bytes=max(memory, default=None),
            index_bytes=bytes_now,
            replicas=replicas,
        )
    return found
