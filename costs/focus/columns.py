"""The columns of FOCUS 1.2, in the specification's alphabetical order, and what may stand in each.

`level` is the specification's feature level: a mandatory column is in every export, a conditional one where
the provider has what it tells of. `nullable` and `allowed` are the specification's too.
"""

from dataclasses import dataclass

MANDATORY, CONDITIONAL, RECOMMENDED = "mandatory", "conditional", "recommended"
TEXT, DECIMAL, TIME, JSON = "text", "numeric", "timestamptz", "jsonb"

CHARGE_CATEGORIES = ("Usage", "Purchase", "Tax", "Credit", "Adjustment")
CHARGE_CLASSES = ("Correction",)
SERVICE_CATEGORIES = (
    *("AI and Machine Learning", "Analytics", "Business Applications", "Compute", "Databases"),
    *("Developer Tools", "Multicloud", "Identity", "Integration", "Internet of Things"),
    *("Management and Governance", "Media", "Migration", "Mobile", "Networking", "Security", "Storage"),
    *("Web", "Other"),
)


@dataclass(frozen=True)
class Column:
    """One column: its name in FOCUS, its type in PostgreSQL, and the rules of FOCUS 1.2 for it."""

    name: str
    type: str = TEXT
    level: str = CONDITIONAL
    nullable: bool = True
    allowed: tuple[str, ...] = ()

    @property
    def mandatory(self) -> bool:
        return self.level == MANDATORY


def _must(name: str, type: str = TEXT, *, nullable: bool = False, allowed=()) -> Column:
    return Column(name, type, MANDATORY, nullable, tuple(allowed))


COLUMNS = (
    Column("AvailabilityZone", level=RECOMMENDED),
    _must("BilledCost", DECIMAL),
    _must("BillingAccountId"),
    _must("BillingAccountName", nullable=True),
    Column("BillingAccountType"),
    _must("BillingCurrency"),
    _must("BillingPeriodEnd", TIME),
    _must("BillingPeriodStart", TIME),
    Column("CapacityReservationId"),
    Column("CapacityReservationStatus", allowed=("Used", "Unused")),
    _must("ChargeCategory", allowed=CHARGE_CATEGORIES),
    _must("ChargeClass", nullable=True, allowed=CHARGE_CLASSES),
    _must("ChargeDescription", nullable=True),
    Column("ChargeFrequency", level=RECOMMENDED, allowed=("One-Time", "Recurring", "Usage-Based")),
    _must("ChargePeriodEnd", TIME),
    _must("ChargePeriodStart", TIME),
    Column("CommitmentDiscountCategory", allowed=("Spend", "Usage")),
    Column("CommitmentDiscountId"),
    Column("CommitmentDiscountName"),
    Column("CommitmentDiscountQuantity", DECIMAL),
    Column("CommitmentDiscountStatus", allowed=("Used", "Unused")),
    Column("CommitmentDiscountType"),
    Column("CommitmentDiscountUnit"),
    Column("ConsumedQuantity", DECIMAL),
    Column("ConsumedUnit"),
    _must("ContractedCost", DECIMAL),
    Column("ContractedUnitPrice", DECIMAL),
    _must("EffectiveCost", DECIMAL),
    Column("InvoiceId", level=RECOMMENDED),
    _must("InvoiceIssuerName"),
    _must("ListCost", DECIMAL),
    Column("ListUnitPrice", DECIMAL),
    Column("PricingCategory", allowed=("Standard", "Dynamic", "Committed", "Other")),
    Column("PricingCurrency"),
    Column("PricingCurrencyContractedUnitPrice", DECIMAL),
    Column("PricingCurrencyEffectiveCost", DECIMAL),
    Column("PricingCurrencyListUnitPrice", DECIMAL),
    _must("PricingQuantity", DECIMAL, nullable=True),
    _must("PricingUnit", nullable=True),
    _must("ProviderName"),
    _must("PublisherName"),
    Column("RegionId"),
    Column("RegionName"),
    Column("ResourceId"),
    Column("ResourceName"),
    Column("ResourceType"),
    _must("ServiceCategory", allowed=SERVICE_CATEGORIES),
    _must("ServiceName"),
    Column("ServiceSubcategory", level=RECOMMENDED),
    Column("SkuId"),
    Column("SkuMeter"),
    Column("SkuPriceDetails", JSON),
    Column("SkuPriceId"),
    Column("SubAccountId"),
    Column("SubAccountName"),
    Column("SubAccountType"),
    Column("Tags", JSON),
)
BY_NAME = {column.name: column for column in COLUMNS}
COSTS = ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost")

# What other versions call a column of 1.2. The first of an input that is there is taken.
RENAMED = {
    # 1.3: who sells the service, and whose machines it runs on.
    "ServiceProviderName": "ProviderName",
    "HostProviderName": "PublisherName",
    # Before 1.0.
    "Region": "RegionId",
    "Provider": "ProviderName",
    "Publisher": "PublisherName",
    "InvoiceIssuer": "InvoiceIssuerName",
}
# Where a vendor keeps its own columns, and what no version of FOCUS knows.
EXTRA = "x_columns"
