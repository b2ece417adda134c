"""What is administered of the vector API: collections, the target's own API keys, and jobs.

The points themselves lie in one table per collection, `vectors_data.p_<collection uuid hex>`, which
`vectors/collections.py` makes. Services read and write these rows by SQL on the vector API's own
connections, so that the web role, the runner and role `api` share one code path.
"""

from django.db import models
from django.db.models import Value

from controlplane.ids import IdField


class Collection(models.Model):
    """A named set of points of one dimension and metric."""

    class Metric(models.TextChoices):
        COSINE = "cosine"
        L2 = "l2"
        IP = "ip"
        L1 = "l1"
        HAMMING = "hamming"
        JACCARD = "jaccard"

    id = IdField("col")
    name = models.CharField(max_length=100, unique=True)
    dimension = models.IntegerField()
    metric = models.CharField(max_length=8, choices=Metric)
    # What is wished for: {type, m, ef_construction, precision}; what serves queries: the same and its
    # name, or null.
    index_options = models.JSONField(default=dict)
    index_built = models.JSONField(null=True)
    auto_index = models.BooleanField(default=True)
    # Every write stamps its rows with it; indexes cover ranges of it. See vectors/segments.py.
    epoch = models.IntegerField(default=0, db_default=0)
    # Declared metadata fields [{name, type}], each with an index of its own.
    fields = models.JSONField(default=list, db_default=Value([], models.JSONField()))
    # The text search configuration of content; null: no full-text search.
    text_language = models.CharField(max_length=63, null=True)
    # What a vendor's client said of it and reads again; see vectors/attributes.py.
    attributes = models.JSONField(default=dict, db_default=Value({}, models.JSONField()))
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(dimension__gte=1, dimension__lte=64000), name="collection_dimension"
            ),
            models.CheckConstraint(
                condition=models.Q(metric__in=["cosine", "l2", "ip", "l1", "hamming", "jaccard"]),
                name="collection_metric",
            ),
        ]

    def __str__(self):
        return self.name


class Alias(models.Model):
    """A name that stands for a collection and is switched to another in one step."""

    name = models.CharField(max_length=100, primary_key=True)
    collection = models.ForeignKey(Collection, models.CASCADE, related_name="aliases")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self):
        return self.name


class RecallSample(models.Model):
    """One measurement of what an index finds of what exact search finds, on points of the collection."""

    collection = models.ForeignKey(Collection, models.CASCADE, related_name="recall_samples")
    at = models.DateTimeField(auto_now_add=True)
    k = models.IntegerField()
    queries = models.IntegerField()
    # The recall that was asked for; null: the default.
    asked = models.FloatField(null=True)
    recall = models.FloatField()
    ef = models.IntegerField(null=True)
    plan = models.CharField(max_length=16)
    points = models.BigIntegerField()
    p50_ms = models.FloatField()
    exact_p50_ms = models.FloatField()

    class Meta:
        db_table = "vectors_recall"
        indexes = [models.Index(fields=["collection", "at"], name="vectors_recall_at")]

    def __str__(self):
        return f"{self.recall:.4f} at {self.at}"


class SlowQuery(models.Model):
    """A query that took longer than AINDUS_SLOW_QUERY_MS; outlives its collection."""

    at = models.DateTimeField()
    collection = models.CharField(max_length=100)
    took_ms = models.FloatField()
    # What was asked and how it was answered, see vectors/slow.py.
    detail = models.JSONField()
    # PostgreSQL's plan; null when it was not asked for.
    explain = models.TextField(null=True)

    class Meta:
        db_table = "vectors_slow_query"

    def __str__(self):
        return f"{self.collection} {self.took_ms:.0f} ms"


class ApiKey(models.Model):
    """A key of this vector API; only its SHA-256 digest is kept."""

    class Role(models.TextChoices):
        VIEWER = "viewer"
        OPERATOR = "operator"
        ADMIN = "admin"

    id = IdField("key")
    name = models.CharField(max_length=100)
    role = models.CharField(max_length=8, choices=Role)
    digest = models.CharField(max_length=64, unique=True)
    hint = models.CharField(max_length=12)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True)
    # Null: the settings' limit; a rate of 0: none.
    requests_per_second = models.FloatField(null=True)
    burst = models.IntegerField(null=True)

    class Meta:
        db_table = "vectors_api_key"
        constraints = [
            models.CheckConstraint(
                condition=models.Q(role__in=["viewer", "operator", "admin"]), name="vectors_api_key_role"
            )
        ]

    def __str__(self):
        return f"{self.name} ({self.role})"


class Upload(models.Model):
    """A file on its way into an import, in parts, so that any replica's runner can read it."""

    id = IdField("upl")
    collection = models.ForeignKey(Collection, models.CASCADE, related_name="uploads")
    # What the sender said it will be; null: not known.
    size_bytes = models.BigIntegerField(null=True)
    received_bytes = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    # Of the last part; an upload that is neither written nor used expires.
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        indexes = [models.Index(fields=["updated_at"], name="vectors_upload_updated")]

    def __str__(self):
        return f"{self.id}: {self.received_bytes} bytes"


class UploadPart(models.Model):
    """The bytes of an upload from the byte `at` on."""

    pk = models.CompositePrimaryKey("upload_id", "at")
    upload = models.ForeignKey(Upload, models.CASCADE, related_name="parts", db_index=False)
    at = models.BigIntegerField()
    data = models.BinaryField()

    class Meta:
        db_table = "vectors_upload_part"

    def __str__(self):
        return f"{self.upload_id} from {self.at}"


class Job(models.Model):
    """Long work on a collection, done by a runner; of most kinds at most one unfinished per collection."""

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        CANCELLED = "cancelled"

    UNFINISHED = ("queued", "running")

    id = IdField("job")
    collection = models.ForeignKey(Collection, models.CASCADE, related_name="jobs")
    kind = models.CharField(max_length=32)
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    params = models.JSONField(default=dict)
    # What the handler tells of its work: {rows, rows_total, bytes, bytes_total, ...}.
    progress = models.JSONField(null=True)
    result = models.JSONField(null=True)
    error = models.TextField(default="")
    attempt = models.IntegerField(default=0)
    runner = models.CharField(max_length=200, default="")
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["collection", "kind"],
                condition=models.Q(state__in=["queued", "running"])
                & ~models.Q(kind__in=["points.import", "points.export"]),
                name="vectors_job_one_unfinished",
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=["queued", "running", "succeeded", "failed", "cancelled"]),
                name="vectors_job_state",
            ),
        ]
        indexes = [models.Index(fields=["created_at"], name="vectors_job_created")]

    def __str__(self):
        return f"{self.kind} {self.state}"
