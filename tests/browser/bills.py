"""Bills of two months, budgets on them, and what could be saved, for pictures of the cost pages."""

import random
from datetime import timedelta
from decimal import Decimal

from django.utils import timezone


def write_bills(project, main, second) -> dict:
    """Costs of three clouds for two targets; the facts that `crawl.pages` needs."""
    from costs import alert_channels, budgets, estimates, recommendations
    from costs.estimates_presets import preset
    from costs.models_planning import Recommendation
    from tests.costs.billing import bill

    today = timezone.now().date()
    bill(project, list(_records(today, main, second)), source="focus-exports")
    ops = alert_channels.alert_channel_create(
        project=project,
        name="platform-team",
        kind="email",
        recipients=["ops@example.org"],
        created_by="user:ada",
    )
    made = []
    for name, amount, more in (
        ("everything", "2600", {}),
        ("docs-search", "700", {"scope": "target", "target": main}),
        ("azure", "900", {"scope": "cloud", "cloud": "Microsoft", "currency": "EUR"}),
    ):
        values = {"name": name, "amount": Decimal(amount), "currency": "USD", "channels": [ops]} | more
        thresholds = [{"on": "actual", "percent": 50}, {"on": "actual", "percent": 80}]
        thresholds.append({"on": "forecast", "percent": 100})
        made.append(
            budgets.budget_create(project=project, created_by="user:ada", thresholds=thresholds, **values)
        )
    for one in made:
        budgets.budget_check(budget=one)
    kept = estimates.estimate_keep(
        project=project,
        name="docs-search on AWS",
        resources=preset("aws", "standard", "us-east-1"),
        target=main,
        created_by="user:grace",
    )
    type(kept).objects.filter(pk=kept.pk).update(created_at=timezone.now() - timedelta(days=20))
    recommendations.recommendations_find(project=project)
    best = Recommendation.objects.filter(project=project, status="open").order_by("-amount").first()
    return {"budget": made[0].pk, "estimate": kept.pk, "recommendation": best.pk}


def _records(today, main, second):
    from tests.costs.billing import record

    chance = random.Random("bills")
    tags = {"aindusdb:target": main.name, "aws:eks:cluster-name": "docs"}
    machines = [
        ("i-0a1", "m6g.2xlarge", "7.392", tags),
        ("i-0a2", "m6g.2xlarge", "7.392", tags),
        ("i-0a3", "m6i.xlarge", "4.608", tags),
    ]
    database = {
        "ServiceCategory": "Databases",
        "ServiceName": "Amazon Relational Database Service",
        "ResourceId": "arn:aws:rds:us-east-1:1:db:docs-1",
        "ChargeDescription": "USD 1.038 per db.r6g.2xlarge instance hour",
        "Tags": tags,
    }
    for back in range(1, 66):
        day = today - timedelta(days=back)
        for resource, sku, cost, tagged in machines:
            details = {"InstanceType": sku}
            yield record(day, cost, ResourceId=resource, SkuPriceDetails=details, Tags=tagged)
        yield record(day, "24.912", **database)
        network = {"ServiceCategory": "Networking", "ServiceName": "Amazon Virtual Private Cloud"}
        yield record(day, "1.08", ResourceId="nat-1", ChargeDescription="NatGateway-Hours", **network)
        traffic = round(4 + chance.random() * 3, 4)
        yield record(day, traffic, ResourceId="nat-1", ChargeDescription="NatGateway-Bytes", **network)
        idle = "$0.005 per Idle public IPv4 address per hour"
        yield record(day, "0.12", ResourceId="eipalloc-7", ChargeDescription=idle, **network)
        volume = "$0.10 per GB-month of General Purpose SSD (gp2)"
        yield record(day, "1.6", ResourceId="vol-4", ChargeDescription=volume)
        azure = {"ProviderName": "Microsoft", "RegionId": "westeurope", "BillingCurrency": "EUR"}
        azure |= {"InvoiceIssuerName": "Microsoft", "PublisherName": "Microsoft"}
        wave = round(20 + chance.random() * 6 + (9 if back < 4 else 0), 4)
        vm = {"ServiceName": "Virtual Machines", "ChargeDescription": "Standard_D8s_v3"}
        yield record(day, wave, ResourceId="vm/aks-1", Tags={"aindusdb:target": second.name}, **azure, **vm)
        google = {"ProviderName": "Google Cloud", "RegionId": "europe-west1"}
        google |= {"InvoiceIssuerName": "Google", "PublisherName": "Google", "ServiceName": "Cloud SQL"}
        google |= {"ServiceCategory": "Databases", "ChargeDescription": "db-custom-4-16384"}
        yield record(day, "6.65", ResourceId="sql/catalog", Tags={"aindusdb:target": second.name}, **google)
