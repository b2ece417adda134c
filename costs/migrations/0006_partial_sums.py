"""Sums of a batch of an import, which its roll-ups are made from; parts of files are not compressed again."""

from django.db import migrations

FORWARD = """
CREATE TABLE costs_partial (load_id bigint NOT NULL, day date NOT NULL, "ProviderName" text, "ServiceCategory" text, "ServiceName" text, "RegionId" text, "SubAccountId" text, "ChargeCategory" text, "ChargeClass" text, "BillingCurrency" text, "Tags" jsonb, "BilledCost" numeric NOT NULL, "EffectiveCost" numeric NOT NULL, "ListCost" numeric NOT NULL, "ContractedCost" numeric NOT NULL, records bigint NOT NULL);
CREATE INDEX costs_partial_load ON costs_partial (load_id);
ALTER TABLE costs_costfilepart ALTER COLUMN data SET STORAGE EXTERNAL;
"""
BACKWARD = "DROP TABLE costs_partial;"


class Migration(migrations.Migration):
    dependencies = [("costs", "0005_brief_rollups")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
