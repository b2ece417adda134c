"""The tables of records and roll-ups; see costs/records.py."""

from django.db import migrations

FORWARD = """
CREATE TABLE costs_record (load_id bigint NOT NULL,
billing_period date NOT NULL,
"AvailabilityZone" text,
"BilledCost" numeric NOT NULL,
"BillingAccountId" text NOT NULL,
"BillingAccountName" text,
"BillingAccountType" text,
"BillingCurrency" text NOT NULL,
"BillingPeriodEnd" timestamptz NOT NULL,
"BillingPeriodStart" timestamptz NOT NULL,
"CapacityReservationId" text,
"CapacityReservationStatus" text,
"ChargeCategory" text NOT NULL,
"ChargeClass" text,
"ChargeDescription" text,
"ChargeFrequency" text,
"ChargePeriodEnd" timestamptz NOT NULL,
"ChargePeriodStart" timestamptz NOT NULL,
"CommitmentDiscountCategory" text,
"CommitmentDiscountId" text,
"CommitmentDiscountName" text,
"CommitmentDiscountQuantity" numeric,
"CommitmentDiscountStatus" text,
"CommitmentDiscountType" text,
"CommitmentDiscountUnit" text,
"ConsumedQuantity" numeric,
"ConsumedUnit" text,
"ContractedCost" numeric NOT NULL,
"ContractedUnitPrice" numeric,
"EffectiveCost" numeric NOT NULL,
"InvoiceId" text,
"InvoiceIssuerName" text NOT NULL,
"ListCost" numeric NOT NULL,
"ListUnitPrice" numeric,
"PricingCategory" text,
"PricingCurrency" text,
"PricingCurrencyContractedUnitPrice" numeric,
"PricingCurrencyEffectiveCost" numeric,
"PricingCurrencyListUnitPrice" numeric,
"PricingQuantity" numeric,
"PricingUnit" text,
"ProviderName" text NOT NULL,
"PublisherName" text NOT NULL,
"RegionId" text,
"RegionName" text,
"ResourceId" text,
"ResourceName" text,
"ResourceType" text,
"ServiceCategory" text NOT NULL,
"ServiceName" text NOT NULL,
"ServiceSubcategory" text,
"SkuId" text,
"SkuMeter" text,
"SkuPriceDetails" jsonb,
"SkuPriceId" text,
"SubAccountId" text,
"SubAccountName" text,
"SubAccountType" text,
"Tags" jsonb,
"x_columns" jsonb) PARTITION BY RANGE (billing_period);
CREATE TABLE costs_daily (load_id bigint NOT NULL, day date NOT NULL, "ProviderName" text NOT NULL, "ServiceCategory" text NOT NULL, "ServiceName" text NOT NULL, "RegionId" text NOT NULL, "SubAccountId" text NOT NULL, "ChargeCategory" text NOT NULL, "ChargeClass" text NOT NULL, "BillingCurrency" text NOT NULL, target text NOT NULL, collection text NOT NULL, namespace text NOT NULL, "BilledCost" numeric NOT NULL, "EffectiveCost" numeric NOT NULL, "ListCost" numeric NOT NULL, "ContractedCost" numeric NOT NULL, records bigint NOT NULL);
CREATE INDEX costs_daily_load ON costs_daily (load_id, day);
CREATE TABLE costs_monthly (load_id bigint NOT NULL, day date NOT NULL, "ProviderName" text NOT NULL, "ServiceCategory" text NOT NULL, "ServiceName" text NOT NULL, "RegionId" text NOT NULL, "SubAccountId" text NOT NULL, "ChargeCategory" text NOT NULL, "ChargeClass" text NOT NULL, "BillingCurrency" text NOT NULL, target text NOT NULL, collection text NOT NULL, namespace text NOT NULL, "BilledCost" numeric NOT NULL, "EffectiveCost" numeric NOT NULL, "ListCost" numeric NOT NULL, "ContractedCost" numeric NOT NULL, records bigint NOT NULL);
CREATE INDEX costs_monthly_load ON costs_monthly (load_id, day);
CREATE TABLE costs_tag (load_id bigint NOT NULL, day date NOT NULL, key text NOT NULL, value text NOT NULL, "ProviderName" text NOT NULL, "ServiceCategory" text NOT NULL, "ServiceName" text NOT NULL, "RegionId" text NOT NULL, "SubAccountId" text NOT NULL, "ChargeCategory" text NOT NULL, "ChargeClass" text NOT NULL, "BillingCurrency" text NOT NULL, target text NOT NULL, collection text NOT NULL, namespace text NOT NULL, "BilledCost" numeric NOT NULL, "EffectiveCost" numeric NOT NULL, "ListCost" numeric NOT NULL, "ContractedCost" numeric NOT NULL, records bigint NOT NULL);
CREATE INDEX costs_tag_load ON costs_tag (load_id, day);
"""
BACKWARD = "DROP TABLE costs_tag; DROP TABLE costs_monthly; DROP TABLE costs_daily; DROP TABLE costs_record;"


class Migration(migrations.Migration):
    dependencies = [("costs", "0001_initial")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
