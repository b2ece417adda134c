"""The clouds' price APIs, each as a feed: what it asks for, and how it names what estimates price.

A feed is split into pages; a page is what one step of the sync reads, so that a killed worker reads one page
again. AWS: the Price List's bulk files as CSV, one a service and region. Azure: Retail Prices, followed by
NextPageLink. Google Cloud: the Billing Catalog, followed by nextPageToken.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from urllib.parse import quote, urlencode, urlsplit

from django.conf import settings

from costs.prices_http import csv_rows, get_json
from deployments.errors import Invalid


@dataclass(frozen=True)
class ReadPrice:
    """One price as an API told it."""

    region: str
    kind: str
    sku: str
    unit: str
    amount: Decimal
    currency: str
    effective_on: date | None
    vendor_sku: str


@dataclass(frozen=True)
class PageRead:
    """Prices of one page, and where the next one is (None: that was the last)."""

    prices: list[ReadPrice]
    next: str | None


def pages_of(cloud: str, region: str) -> list[str]:
    """The first page of every list that has prices of a region."""
    return FEEDS[cloud].first_pages(region)


def read_page(cloud: str, region: str, page: str) -> PageRead:
    """Read one page; the errors of `deployments.errors`."""
    return FEEDS[cloud].read(region, page)


def _decimal(text) -> Decimal:
    try:
        return Decimal(str(text))
    except InvalidOperation:
        raise Invalid(f"A price is {str(text)[:40]!r}, which is no number.") from None


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        return None


class AwsPrices:
    """The bulk files of pricing.us-east-1: no credentials, one CSV a service and region."""

    services = ("AmazonEC2", "AmazonRDS", "AmazonElastiCache", "AmazonEKS", "AWSELB", "AmazonVPC", "AmazonS3")

    def first_pages(self, region: str) -> list[str]:
        base = settings.PRICES_URLS["aws"]
        return [f"{base}/offers/v1.0/aws/{name}/current/{quote(region)}/index.csv" for name in self.services]

    def read(self, region: str, page: str) -> PageRead:
        found: dict[tuple[str, str], ReadPrice] = {}
        for row in csv_rows(page, "SKU"):
            if row["TermType"] != "OnDemand" or row.get("StartingRange") not in ("0", "", None):
                continue
            known = self._named(row)
            if known is None or row["Currency"] not in ("USD", "CNY"):
                continue
            kind, sku, unit = known
            price = ReadPrice(
                region,
                kind,
                sku,
                unit,
                _decimal(row["PricePerUnit"]),
                row["Currency"],
                _day(row["EffectiveDate"]),
                row["SKU"],
            )
            # Some rows are a second meter of the same thing at no price.
            held = found.get((kind, sku))
            if held is None or held.amount == 0:
                found[kind, sku] = price
        return PageRead(list(found.values()), None)

    def _named(self, row: Mapping[str, str]) -> tuple[str, str, str] | None:
        family, usage = row.get("Product Family", ""), row.get("usageType", "")
        if family.startswith("Compute Instance"):
            plain = (
                row.get("Operating System") == "Linux"
                and row.get("Tenancy") == "Shared"
                and row.get("CapacityStatus") == "Used"
                and row.get("Pre Installed S/W") == "NA"
            )
            return ("node", row["Instance Type"], "hour") if plain else None
        if family == "Database Instance":
            plain = row.get("Database Engine") == "Aurora PostgreSQL" and "IOOptimized" not in usage
            return ("database", row["Instance Type"], "hour") if plain else None
        if family == "Cache Instance":
            return ("cache", row["Instance Type"], "hour") if row.get("Cache Engine") == "Redis" else None
        if family == "Storage" and row.get("Volume API Name") in ("gp2", "gp3"):
            return "disk", row["Volume API Name"], "gib_month"
        for ending, known in AWS_USAGE.items():
            if usage.endswith(ending):
                return known
        return None


# The end of a usage type (a region's prefix stands before it) to what it is here.
AWS_USAGE = {
    "NatGateway-Hours": ("nat_gateway", "nat", "hour"),
    "NatGateway-Bytes": ("nat_traffic", "nat", "gib"),
    "Aurora:StorageUsage": ("database_storage", "aurora", "gib_month"),
    "Aurora:StorageIOUsage": ("database_io", "aurora", "million"),
    "Aurora:BackupUsage": ("database_backup", "aurora", "gib_month"),
    "EBS:SnapshotUsage": ("snapshot", "ebs", "gib_month"),
    "AmazonEKS-Hours:perCluster": ("control_plane", "eks", "hour"),
    "PublicIPv4:InUseAddress": ("address", "ipv4", "hour"),
    "PublicIPv4:IdleAddress": ("address_idle", "ipv4", "hour"),
    "LoadBalancerUsage": ("load_balancer", "application", "hour"),
    "TimedStorage-ByteHrs": ("object_storage", "standard", "gib_month"),
}


class AzurePrices:
    """Retail Prices: no credentials, 100 items a page."""

    services = (
        *("Virtual Machines", "Azure Database for PostgreSQL", "Redis Cache", "Azure Kubernetes Service"),
        *("NAT Gateway", "Load Balancer"),
    )

    def first_pages(self, region: str) -> list[str]:
        if "'" in region:
            raise Invalid(f"{region!r} is not a region.")
        base = settings.PRICES_URLS["azure"]
        wanted = "armRegionName eq '{}' and serviceName eq '{}' and priceType eq 'Consumption'"
        return [
            f"{base}/api/retail/prices?" + urlencode({"$filter": wanted.format(region, service)})
            for service in self.services
        ]

    def read(self, region: str, page: str) -> PageRead:
        document = get_json(page)
        prices = [price for item in document.get("Items", ()) if (price := self._priced(region, item))]
        following = document.get("NextPageLink") or None
        if following and urlsplit(following).netloc != urlsplit(settings.PRICES_URLS["azure"]).netloc:
            raise Invalid("The next page of Azure's prices is on another host.")
        return PageRead(prices, following)

    def _priced(self, region: str, item: Mapping) -> ReadPrice | None:
        known = self._named(item)
        if known is None or item.get("tierMinimumUnits"):
            return None
        kind, sku, unit = known
        return ReadPrice(
            region,
            kind,
            sku,
            unit,
            _decimal(item["retailPrice"]),
            item["currencyCode"],
            _day(item.get("effectiveStartDate", "")),
            item.get("meterId", ""),
        )

    def _named(self, item: Mapping) -> tuple[str, str, str] | None:
        service, product, meter = item["serviceName"], item.get("productName", ""), item.get("meterName", "")
        sku, hourly = item.get("armSkuName", ""), item.get("unitOfMeasure") == "1 Hour"
        if (
            service == "Virtual Machines"
            and hourly
            and "Windows" not in product
            and "Low Priority" not in meter
        ):
            return ("node_spot" if "Spot" in meter else "node"), sku, "hour"
        if service == "Azure Database for PostgreSQL" and "Flexible Server" in product:
            if hourly and sku:
                return "database", f"GP_{sku}" if "General Purpose" in product else sku, "hour"
            if item.get("unitOfMeasure") == "1 GB/Month":
                part = "database_backup" if "Backup" in meter else "database_storage"
                return part, "flexible", "gib_month"
        if service == "Redis Cache" and hourly:
            return "cache", f"{product.rsplit(' ', 1)[-1]}_{item.get('skuName', '')}", "hour"
        if service == "Azure Kubernetes Service" and hourly and "Uptime SLA" in meter:
            return "control_plane", "aks-standard", "hour"
        if service == "NAT Gateway":
            return ("nat_gateway", "nat", "hour") if hourly else ("nat_traffic", "nat", "gib")
        if service == "Load Balancer" and hourly and "Included" in meter:
            return "load_balancer", "standard", "hour"
        return None


class GcpPrices:
    """The Billing Catalog: an API key, 5,000 SKUs a page, prices as units and billionths."""

    # Compute Engine, Cloud SQL, Kubernetes Engine, Memorystore for Redis, Cloud Storage.
    services = ("6F81-5844-456A", "9662-B51E-5089", "CCD8-9BF1-090E", "5AF5-2C11-D467", "95FF-2EF5-5EA1")

    def first_pages(self, region: str) -> list[str]:
        base = settings.PRICES_URLS["gcp"]
        return [f"{base}/v1/services/{name}/skus?pageSize=5000" for name in self.services]

    def read(self, region: str, page: str) -> PageRead:
        key = settings.GCP_PRICES_KEY
        document = get_json(f"{page}&{urlencode({'key': key})}" if key else page)
        prices: list[ReadPrice] = []
        parts: dict[tuple[str, str], ReadPrice] = {}
        for item in document.get("skus", ()):
            if region not in item.get("serviceRegions", ()):
                continue
            known = self._named(item)
            if known is None:
                continue
            price = self._priced(region, item, known)
            if price is None:
                continue
            if price.kind.startswith("part:"):
                parts[price.kind, price.sku] = price
            else:
                prices.append(price)
        prices += _machines(region, parts)
        token = document.get("nextPageToken")
        base = page.split("&pageToken=")[0]
        return PageRead(prices, f"{base}&pageToken={quote(token)}" if token else None)

    def _priced(self, region: str, item: Mapping, known: tuple[str, str, str]) -> ReadPrice | None:
        kind, sku, unit = known
        newest = max(item.get("pricingInfo", ()), key=lambda one: one.get("effectiveTime", ""), default=None)
        rates = newest["pricingExpression"]["tieredRates"] if newest else []
        if not rates:
            return None
        # A first tier at no price is the free tier; an estimate is of what is paid beyond it.
        rate = next((one for one in rates if _google_money(one)), rates[-1])
        return ReadPrice(
            region,
            kind,
            sku,
            unit,
            _google_money(rate),
            rate["unitPrice"]["currencyCode"],
            _day(newest.get("effectiveTime", "")),
            item["skuId"],
        )

    def _named(self, item: Mapping) -> tuple[str, str, str] | None:
        text, usage = item.get("description", ""), item.get("category", {}).get("usageType", "")
        spot = usage == "Preemptible"
        if usage not in ("OnDemand", "Preemptible"):
            return None
        for name, family in (("N2 Instance", "n2"), ("E2 Instance", "e2")):
            if text.startswith((f"{name} Core", f"Spot Preemptible {name} Core")):
                return f"part:{'spot' if spot else 'node'}-cpu", family, "hour"
            if text.startswith((f"{name} Ram", f"Spot Preemptible {name} Ram")):
                return f"part:{'spot' if spot else 'node'}-ram", family, "gib_hour"
        if spot:
            return None
        for beginning, known in GCP_TEXTS.items():
            if text.startswith(beginning):
                return known
        return None


GCP_TEXTS = {
    "Cloud SQL for PostgreSQL: Zonal - vCPU": ("database_vcpu", "postgres", "hour"),
    "Cloud SQL for PostgreSQL: Zonal - RAM": ("database_ram", "postgres", "gib_hour"),
    "Cloud SQL for PostgreSQL: Zonal - Standard storage": ("database_storage", "ssd", "gib_month"),
    "SSD backed PD Capacity": ("disk", "pd-ssd", "gib_month"),
    "Balanced PD Capacity": ("disk", "pd-balanced", "gib_month"),
    "Storage PD Capacity": ("disk", "pd-standard", "gib_month"),
    "Storage PD Snapshot": ("snapshot", "standard", "gib_month"),
    "Redis Capacity Basic M1": ("cache", "basic-m1", "gib_hour"),
    "Redis Capacity Standard M1": ("cache", "standard-m1", "gib_hour"),
    "Redis Capacity Standard M2": ("cache", "standard-m2", "gib_hour"),
    "Regional Kubernetes Clusters": ("control_plane", "gke", "hour"),
    "Standard Storage": ("object_storage", "standard", "gib_month"),
    "Nearline Storage": ("object_storage", "nearline", "gib_month"),
}


def _google_money(rate: Mapping) -> Decimal:
    price = rate["unitPrice"]
    return _decimal(price.get("units", 0)) + Decimal(price.get("nanos", 0)) / 10**9


def _machines(region: str, parts: Mapping[tuple[str, str], ReadPrice]) -> Iterator[ReadPrice]:
    """Sizes made of cores and memory: n2-standard-4 is 4 of N2's cores and 16 GiB of its memory."""
    for kind, name in (("node", "node"), ("node_spot", "spot")):
        for family in ("n2", "e2"):
            cpu, ram = parts.get((f"part:{name}-cpu", family)), parts.get((f"part:{name}-ram", family))
            if cpu is None or ram is None or cpu.currency != ram.currency:
                continue
            for cores in (2, 4, 8, 16):
                yield ReadPrice(
                    region,
                    kind,
                    f"{family}-standard-{cores}",
                    "hour",
                    cpu.amount * cores + ram.amount * cores * 4,
                    cpu.currency,
                    cpu.effective_on,
                    f"{cpu.vendor_sku}+{ram.vendor_sku}",
                )


FEEDS = {"aws": AwsPrices(), "azure": AzurePrices(), "gcp": GcpPrices()}
