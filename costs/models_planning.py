"""What is administered of prices, estimates, budgets and recommendations."""

from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q

from controlplane.crypto import SecretsField
from controlplane.ids import IdField

CLOUDS = [("aws", "AWS"), ("azure", "Azure"), ("gcp", "Google Cloud")]
currency_code = RegexValidator(r"\A[A-Z]{3}\Z", "Use an ISO 4217 code, such as USD.")
plain_name = RegexValidator(
    r"\A[a-z0-9]([a-z0-9._-]{0,78}[a-z0-9])?\Z",
    "Use 1 to 80 lower-case letters, digits, dots, hyphens and underscores.",
)


class Unit(models.TextChoices):
    """What one price is for; it decides how a resource's quantity, hours and GiB count."""

    HOUR = "hour", "an hour"
    GIB_HOUR = "gib_hour", "a GiB and hour"
    GIB_MONTH = "gib_month", "a GiB and month"
    MONTH = "month", "a month"
    GIB = "gib", "a GiB"
    MILLION = "million", "a million"


class Price(models.Model):
    """A list price of a cloud as its price API told it; older ones stay, so that old estimates can be
    explained.
    """

    cloud = models.CharField(max_length=8, choices=CLOUDS)
    region = models.CharField(max_length=64)
    kind = models.CharField(max_length=40, help_text="node, database, nat_gateway, ...")
    sku = models.CharField(max_length=80, help_text="m6g.xlarge, gp3, ...")
    unit = models.CharField(max_length=9, choices=Unit)
    amount = models.DecimalField(max_digits=24, decimal_places=12)
    currency = models.CharField(max_length=3, validators=[currency_code])
    effective_on = models.DateField(help_text="The day from which the price API says it holds, or was read.")
    vendor_sku = models.CharField(max_length=120, blank=True, help_text="The cloud's own id of it.")
    read_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["cloud", "region", "kind", "sku", "currency", "effective_on"],
                name="cost_price_once_a_day",
            ),
            models.CheckConstraint(condition=Q(unit__in=Unit.values), name="cost_price_unit"),
            models.CheckConstraint(condition=Q(amount__gte=0), name="cost_price_amount"),
        ]

    def __str__(self):
        return (
            f"{self.cloud} {self.region} {self.kind} {self.sku} {self.amount.normalize():f} {self.currency}"
        )


class NodePrice(models.Model):
    """What a node of a cluster or machine that no cloud bills here costs an hour, as the user says."""

    id = IdField("npr")
    project = models.ForeignKey("controlplane.Project", models.CASCADE, related_name="node_prices")
    provider = models.CharField(max_length=32, help_text="kubernetes, local")
    target = models.ForeignKey(
        "deployments.Target",
        models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        help_text="Null: all others.",
    )
    cpus = models.DecimalField(max_digits=8, decimal_places=2, validators=[MinValueValidator(0)])
    memory_gib = models.DecimalField(max_digits=10, decimal_places=2, validators=[MinValueValidator(0)])
    amount = models.DecimalField(max_digits=24, decimal_places=12, help_text="An hour of the whole node.")
    currency = models.CharField(max_length=3, validators=[currency_code])
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "provider", "target"], name="cost_node_price_once", nulls_distinct=False
            ),
            models.CheckConstraint(
                condition=Q(cpus__gt=0, memory_gib__gt=0, amount__gte=0), name="cost_node_price_positive"
            ),
        ]

    def __str__(self):
        return f"{self.provider} {self.amount.normalize():f} {self.currency} an hour"


class Estimate(models.Model):
    """What a list of resources was estimated to cost a month, kept to be held against the bill."""

    id = IdField("est")
    project = models.ForeignKey("controlplane.Project", models.CASCADE, related_name="estimates")
    name = models.CharField(max_length=100, blank=True)
    target = models.ForeignKey("deployments.Target", models.CASCADE, null=True, blank=True, related_name="+")
    plan = models.CharField(max_length=30, blank=True, help_text="The plan it was made for.")
    resources = models.JSONField(default=list)
    lines = models.JSONField(default=list)
    totals = models.JSONField(default=list, help_text="[{amount, currency}] a month, one of each currency")
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [models.Index(fields=["project", "-id"], name="cost_estimate_project")]

    def __str__(self):
        return self.name or self.pk


class ChannelKind(models.TextChoices):
    EMAIL = "email", "E-mail"
    WEBHOOK = "webhook", "Webhook"
    SLACK = "slack", "Slack-compatible webhook"


class AlertChannel(models.Model):
    """Where alerts go. The address of a webhook is a secret, because whoever has it may post there."""

    id = IdField("chn")
    project = models.ForeignKey("controlplane.Project", models.CASCADE, related_name="alert_channels")
    name = models.CharField(max_length=80, validators=[plain_name])
    kind = models.CharField(max_length=8, choices=ChannelKind)
    recipients = models.JSONField(default=list, blank=True, help_text="E-mail addresses.")
    secrets = SecretsField(blank=True, default=dict, help_text="url, signing_key")
    enabled = models.BooleanField(default=True)
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="alert_channel_name_once"),
            models.CheckConstraint(condition=Q(kind__in=ChannelKind.values), name="alert_channel_kind"),
        ]

    def __str__(self):
        return self.name


class BudgetScope(models.TextChoices):
    PROJECT = "project", "The whole project"
    TARGET = "target", "One target"
    CLOUD = "cloud", "One cloud"


class BudgetPeriod(models.TextChoices):
    MONTH = "month", "Month"
    QUARTER = "quarter", "Quarter"
    YEAR = "year", "Year"


class Measure(models.TextChoices):
    """Which of FOCUS's costs counts."""

    EFFECTIVE = "EffectiveCost", "Effective cost"
    BILLED = "BilledCost", "Billed cost"


class Budget(models.Model):
    """An amount a period, of one currency, and shares of it that are alerted on when spent or forecast."""

    id = IdField("bud")
    project = models.ForeignKey("controlplane.Project", models.CASCADE, related_name="budgets")
    name = models.CharField(max_length=80, validators=[plain_name])
    scope = models.CharField(max_length=7, choices=BudgetScope, default=BudgetScope.PROJECT)
    target = models.ForeignKey("deployments.Target", models.CASCADE, null=True, blank=True, related_name="+")
    cloud = models.CharField(max_length=200, blank=True, help_text="FOCUS ProviderName, as in the records.")
    amount = models.DecimalField(max_digits=24, decimal_places=6)
    currency = models.CharField(max_length=3, validators=[currency_code])
    period = models.CharField(max_length=7, choices=BudgetPeriod, default=BudgetPeriod.MONTH)
    measure = models.CharField(max_length=13, choices=Measure, default=Measure.EFFECTIVE)
    thresholds = models.JSONField(default=list, help_text="[{on: actual | forecast, percent}]")
    channels = models.ManyToManyField(AlertChannel, blank=True, related_name="budgets")
    enabled = models.BooleanField(default=True)
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="budget_name_once"),
            models.CheckConstraint(condition=Q(amount__gt=0), name="budget_amount"),
            models.CheckConstraint(
                condition=Q(scope="project", target=None, cloud="")
                | Q(scope="target", target__isnull=False, cloud="")
                | (Q(scope="cloud", target=None) & ~Q(cloud="")),
                name="budget_scope",
            ),
            models.CheckConstraint(condition=Q(period__in=BudgetPeriod.values), name="budget_period"),
            models.CheckConstraint(condition=Q(measure__in=Measure.values), name="budget_measure"),
        ]

    def __str__(self):
        return self.name


class BudgetAlert(models.Model):
    """A threshold was reached in a period; there is one row at most for each of both."""

    id = IdField("alr")
    budget = models.ForeignKey(Budget, models.CASCADE, related_name="alerts")
    period_start = models.DateField()
    on = models.CharField(max_length=8, choices=[("actual", "Actual"), ("forecast", "Forecast")])
    percent = models.PositiveIntegerField()
    seen = models.DecimalField(max_digits=28, decimal_places=10, help_text="What was spent or forecast then.")
    amount = models.DecimalField(max_digits=24, decimal_places=6, help_text="The budget's amount then.")
    currency = models.CharField(max_length=3)
    operations = models.JSONField(default=dict, help_text="{channel id: operation id}")
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["budget", "period_start", "on", "percent"], name="budget_alert_once_a_period"
            )
        ]
        indexes = [models.Index(fields=["budget", "-id"], name="budget_alert_newest")]

    def __str__(self):
        return f"{self.budget_id} {self.on} {self.percent} % {self.period_start}"


class RecommendationStatus(models.TextChoices):
    OPEN = "open", "Open"
    ACCEPTED = "accepted", "Accepted"
    DISMISSED = "dismissed", "Dismissed"
    SNOOZED = "snoozed", "Snoozed"
    REFUSED = "refused", "Considered and refused"
    GONE = "gone", "No longer found"


class Recommendation(models.Model):
    """One way to pay less for one resource (or for many together), as found last."""

    id = IdField("rcm")
    project = models.ForeignKey("controlplane.Project", models.CASCADE, related_name="recommendations")
    cloud = models.CharField(max_length=200, help_text="FOCUS ProviderName, or the target's provider.")
    type = models.CharField(max_length=40)
    source = models.CharField(
        max_length=40, default="records", help_text="Who found it: records, metrics, a cloud."
    )
    resource = models.CharField(max_length=1000, help_text="ResourceId, or what it is about in words.")
    resource_name = models.CharField(max_length=1000, blank=True)
    region = models.CharField(max_length=64, blank=True)
    target = models.ForeignKey("deployments.Target", models.SET_NULL, null=True, blank=True, related_name="+")
    amount = models.DecimalField(max_digits=24, decimal_places=6, help_text="Saved a month.")
    cost = models.DecimalField(
        max_digits=24, decimal_places=6, help_text="What the resource costs a month now."
    )
    currency = models.CharField(max_length=3)
    confidence = models.CharField(
        max_length=6, choices=[("high", "High"), ("medium", "Medium"), ("low", "Low")], default="medium"
    )
    summary = models.CharField(max_length=500)
    implementation = models.JSONField(
        default=dict, help_text="{steps: [...], effort, restart, reversible, spec}"
    )
    evidence = models.JSONField(default=dict, help_text="The figures it follows from.")
    status = models.CharField(max_length=9, choices=RecommendationStatus, default=RecommendationStatus.OPEN)
    reason = models.CharField(max_length=500, blank=True, help_text="Why it was dismissed or snoozed.")
    snoozed_until = models.DateTimeField(null=True, blank=True)
    superseded_by = models.CharField(
        max_length=30, blank=True, help_text="The one that counts of those that exclude each other."
    )
    plan = models.CharField(max_length=30, blank=True, help_text="The plan that accepting it opened.")
    decided_by = models.CharField(max_length=200, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    cost_before = models.DecimalField(
        max_digits=24,
        decimal_places=6,
        null=True,
        blank=True,
        help_text="A day, over the 14 before it was accepted.",
    )
    found_at = models.DateTimeField(auto_now_add=True)
    seen_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "type", "resource", "currency"], name="recommendation_once"
            ),
            models.CheckConstraint(
                condition=Q(status__in=RecommendationStatus.values), name="recommendation_status"
            ),
        ]
        indexes = [models.Index(fields=["project", "status", "-amount"], name="recommendation_listed")]

    def __str__(self):
        return f"{self.type} {self.resource}"
