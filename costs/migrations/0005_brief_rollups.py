"""Roll-ups without accounts, regions and attribution: what most reports are by, in far fewer rows."""

from django.db import migrations

FORWARD = """
CREATE TABLE costs_brief_daily (load_id bigint NOT NULL, day date NOT NULL, "ProviderName" text NOT NULL, "ServiceCategory" text NOT NULL, "ServiceName" text NOT NULL, "ChargeCategory" text NOT NULL, "ChargeClass" text NOT NULL, "BillingCurrency" text NOT NULL, "BilledCost" numeric NOT NULL, "EffectiveCost" numeric NOT NULL, "ListCost" numeric NOT NULL, "ContractedCost" numeric NOT NULL, records bigint NOT NULL);
CREATE INDEX costs_brief_daily_load ON costs_brief_daily (load_id, day);
CREATE TABLE costs_brief_monthly (load_id bigint NOT NULL, day date NOT NULL, "ProviderName" text NOT NULL, "ServiceCategory" text NOT NULL, "ServiceName" text NOT NULL, "ChargeCategory" text NOT NULL, "ChargeClass" text NOT NULL, "BillingCurrency" text NOT NULL, "BilledCost" numeric NOT NULL, "EffectiveCost" numeric NOT NULL, "ListCost" numeric NOT NULL, "ContractedCost" numeric NOT NULL, records bigint NOT NULL);
CREATE INDEX costs_brief_monthly_load ON costs_brief_monthly (load_id, day);
"""
BACKWARD = "DROP TABLE costs_brief_monthly; DROP TABLE costs_brief_daily;"


class Migration(migrations.Migration):
    dependencies = [("costs", "0004_recommendation_refused")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
