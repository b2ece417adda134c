"""What is administered of costs: sources, imports and their files, loads, exchange rates.

The records themselves lie in `costs_record`, a table that Django does not manage (see `costs/records.py`).
"""

import re

from django.core.validators import RegexValidator
from django.db import models
from django.db.models import F, Q

from controlplane.crypto import SecretsField
from controlplane.ids import IdField

source_name_validator = RegexValidator(
    r"\A[a-z0-9]([a-z0-9._-]{0,78}[a-z0-9])?\Z",
    "Use 1 to 80 lower-case letters, digits, dots, hyphens and underscores.",
)
currency_validator = RegexValidator(r"\A[A-Z]{3}\Z", "Use an ISO 4217 code, such as USD.")


def source_name_of(file_name: str) -> str:
    """What the source of an uploaded file is called when nobody says: the file's name, tamed."""
    stem = re.sub(r"(\.csv|\.gz|\.parquet)+\Z", "", file_name.lower())
    return re.sub(r"[^a-z0-9._-]+", "-", stem).strip("._-")[:80].strip("._-") or "upload"


class SourceKind(models.TextChoices):
    UPLOAD = "upload", "Uploads"
    S3 = "s3", "FOCUS export in Amazon S3"
    BLOB = "blob", "FOCUS export in Azure Blob Storage"
    GCS = "gcs", "FOCUS export in Google Cloud Storage"
    BIGQUERY = "bigquery", "FOCUS export in BigQuery"
    COST_EXPLORER = "aws_cost_explorer", "AWS Cost Explorer"
    COST_MANAGEMENT = "azure_cost_management", "Azure Cost Management query"
    GCP_BILLING = "gcp_billing_export", "Google Cloud billing export in BigQuery"


class CostSource(models.Model):
    """Where records come from. What a source gives of a billing period replaces what it gave before."""

    id = IdField("csr")
    project = models.ForeignKey("controlplane.Project", models.PROTECT, related_name="cost_sources")
    name = models.CharField(max_length=80, validators=[source_name_validator])
    kind = models.CharField(max_length=24, choices=SourceKind)
    config = models.JSONField(default=dict, blank=True, help_text="Where to read: bucket, prefix, table.")
    credentials = SecretsField(blank=True, default=dict)
    enabled = models.BooleanField(default=True)
    every_hours = models.PositiveSmallIntegerField(default=6, help_text="Hours between two reads.")
    fingerprints = models.JSONField(
        default=dict, blank=True, help_text="{billing month: what was read of it last}"
    )
    provider_totals = models.JSONField(
        default=dict, blank=True, help_text="{billing month: {currency: the provider's own total}}"
    )
    last_attempt_at = models.DateTimeField(null=True, blank=True)
    last_success_at = models.DateTimeField(null=True, blank=True)
    last_error = models.TextField(blank=True)
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="cost_source_name_once"),
            models.CheckConstraint(condition=Q(kind__in=SourceKind.values), name="cost_source_kind"),
            models.CheckConstraint(condition=Q(every_hours__gte=1), name="cost_source_every_hours"),
        ]

    def __str__(self):
        return self.name

    @property
    def subject(self) -> str:
        """What this source's operations are serialised on."""
        return f"cost-source:{self.pk}"


class ImportStatus(models.TextChoices):
    RECEIVING = "receiving", "Receiving"
    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


class OnError(models.TextChoices):
    FAIL = "fail", "Import nothing"
    SKIP = "skip", "Leave broken rows out"


class CostImport(models.Model):
    """One reading of files into records: what was read, what was wrong, what it adds up to."""

    id = IdField("imp")
    source = models.ForeignKey(CostSource, models.CASCADE, related_name="imports")
    operation = models.CharField(max_length=30, blank=True)
    status = models.CharField(max_length=10, choices=ImportStatus, default=ImportStatus.RECEIVING)
    on_error = models.CharField(max_length=4, choices=OnError, default=OnError.FAIL)
    bytes = models.BigIntegerField(default=0, help_text="Of all its files.")
    rows = models.BigIntegerField(default=0)
    rejected = models.BigIntegerField(default=0, help_text="Broken rows.")
    problems = models.JSONField(
        default=list, help_text="[{file, line, column, reason, value}], the first ones"
    )
    totals = models.JSONField(
        default=list,
        help_text="[{provider, currency, rows, BilledCost, EffectiveCost, ListCost, ContractedCost}]",
    )
    about = models.JSONField(
        default=dict, help_text="Of one that a source was read for: {month, version, totals}."
    )
    periods = models.JSONField(default=list, help_text="Billing months that it replaced, as 2026-11.")
    error = models.TextField(blank=True)
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(status__in=ImportStatus.values), name="cost_import_status"),
            models.CheckConstraint(condition=Q(on_error__in=OnError.values), name="cost_import_on_error"),
        ]
        indexes = [models.Index(fields=["source", "-id"], name="cost_import_source")]

    def __str__(self):
        return self.pk

    @property
    def project(self):
        return self.source.project


class FileFormat(models.TextChoices):
    CSV = "csv", "CSV"
    GZIP = "csv.gz", "CSV, gzip"
    PARQUET = "parquet", "Parquet"


class CostFile(models.Model):
    """A file of an import, kept in parts until the import has ended, where any worker can read it."""

    cost_import = models.ForeignKey(CostImport, models.CASCADE, related_name="files")
    name = models.CharField(max_length=1000)
    format = models.CharField(max_length=8, choices=FileFormat)
    bytes = models.BigIntegerField(default=0)
    complete = models.BooleanField(default=False, help_text="Whether every part is here.")

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(format__in=FileFormat.values), name="cost_file_format"),
            models.UniqueConstraint(fields=["cost_import", "name"], name="cost_file_name_once"),
        ]

    def __str__(self):
        return self.name


class CostFilePart(models.Model):
    """Up to `costs.files.PART_BYTES` of a file; all parts but the last are of exactly that size."""

    file = models.ForeignKey(CostFile, models.CASCADE, related_name="parts")
    number = models.PositiveIntegerField()
    data = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["file", "number"], name="cost_file_part_once")]

    def __str__(self):
        return f"{self.file_id} part {self.number}"


class CostLoad(models.Model):
    """The records of one source and billing month, from one import; they lie in a table of their own.

    Of a source and month one load at most is live, which is what every report counts.
    """

    source = models.ForeignKey(CostSource, models.CASCADE, related_name="loads")
    cost_import = models.ForeignKey(CostImport, models.CASCADE, related_name="loads")
    billing_period = models.DateField(help_text="The month's first day.")
    live = models.BooleanField(default=False)
    rows = models.BigIntegerField(default=0)
    published_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["source", "billing_period"], condition=Q(live=True), name="cost_load_one_live"
            ),
            models.UniqueConstraint(fields=["cost_import", "billing_period"], name="cost_load_of_an_import"),
        ]
        indexes = [models.Index(fields=["billing_period"], name="cost_load_period")]

    def __str__(self):
        return f"{self.source_id} {self.billing_period:%Y-%m}"


class ExchangeRate(models.Model):
    """What one unit of a currency was worth in another from a day on, as the user says."""

    id = IdField("fxr")
    project = models.ForeignKey("controlplane.Project", models.CASCADE, related_name="exchange_rates")
    date = models.DateField(help_text="From this day on, until the pair's next rate.")
    from_currency = models.CharField(max_length=3, validators=[currency_validator])
    to_currency = models.CharField(max_length=3, validators=[currency_validator])
    rate = models.DecimalField(
        max_digits=24, decimal_places=12, help_text="Of the second for one of the first."
    )
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "from_currency", "to_currency", "date"], name="exchange_rate_once_a_day"
            ),
            models.CheckConstraint(condition=Q(rate__gt=0), name="exchange_rate_positive"),
            models.CheckConstraint(
                condition=~Q(from_currency=F("to_currency")), name="exchange_rate_two_currencies"
            ),
        ]

    def __str__(self):
        return f"1 {self.from_currency} = {self.rate.normalize():f} {self.to_currency} from {self.date}"


# Django looks for an app's models in this module alone.
from costs.models_planning import (  # noqa: E402
    AlertChannel,
    Budget,
    BudgetAlert,
    Estimate,
    NodePrice,
    Price,
    Recommendation,
)

__all__ = [
    "AlertChannel",
    "Budget",
    "BudgetAlert",
    "CostFile",
    "CostFilePart",
    "CostImport",
    "CostLoad",
    "CostSource",
    "Estimate",
    "ExchangeRate",
    "NodePrice",
    "Price",
    "Recommendation",
]
