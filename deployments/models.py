"""Targets and what runs on them: releases, rollouts, replicas, plans, health and metrics."""

import hashlib
import json

from django.contrib.postgres.fields import ArrayField
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q

from controlplane.crypto import SecretsField
from controlplane.ids import IdField

name_validator = RegexValidator(
    r"\A[a-z]([a-z0-9-]{0,48}[a-z0-9])?\Z",
    "Use 1 to 50 lower-case letters, digits and hyphens; start with a letter, do not end with a hyphen.",
)


class TargetStatus(models.TextChoices):
    PENDING = "pending", "Pending"
    PROVISIONING = "provisioning", "Provisioning"
    READY = "ready", "Ready"
    DEGRADED = "degraded", "Degraded"
    FAILED = "failed", "Failed"
    DESTROYING = "destroying", "Destroying"
    DESTROYED = "destroyed", "Destroyed"


RUNNING_TARGET = (TargetStatus.READY, TargetStatus.DEGRADED)


class Health(models.TextChoices):
    UNKNOWN = "unknown", "Unknown"
    HEALTHY = "healthy", "Healthy"
    DEGRADED = "degraded", "Degraded"
    UNHEALTHY = "unhealthy", "Unhealthy"


class Release(models.Model):
    """An image and its configuration; never changes once made."""

    id = IdField("rel")
    project = models.ForeignKey("controlplane.Project", models.PROTECT, related_name="releases")
    number = models.PositiveIntegerField(help_text="Counts up within the project; shown as v1, v2, ...")
    image = models.CharField(max_length=500, help_text="Pinned by tag or digest; `latest` is refused.")
    config = models.JSONField(default=dict, help_text="{env: {NAME: value}, workers, threads, ...}")
    digest = models.CharField(max_length=64, help_text="SHA-256 of image and canonical config.")
    note = models.CharField(max_length=500, blank=True)
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="release_number"),
            models.UniqueConstraint(fields=["project", "digest"], name="release_digest"),
        ]

    def __str__(self):
        return f"v{self.number}"


class AccountStatus(models.TextChoices):
    UNCHECKED = "unchecked", "Not checked"
    WORKING = "working", "Works"
    FAILING = "failing", "Does not work"


class Account(models.Model):
    """Credentials for a cluster or cloud, by which targets are made there."""

    id = IdField("acc")
    project = models.ForeignKey("controlplane.Project", models.PROTECT, related_name="accounts")
    name = models.CharField(max_length=50, validators=[name_validator])
    provider = models.CharField(max_length=32)
    credentials = SecretsField(default=dict, help_text="What the provider keeps of those given.")
    details = models.JSONField(default=dict, help_text="What may be shown of them: server, user, kind.")
    status = models.CharField(max_length=9, choices=AccountStatus, default=AccountStatus.UNCHECKED)
    problems = models.JSONField(default=list, help_text="[{severity, field, code, message, remedy}]")
    checked_at = models.DateTimeField(null=True, blank=True)
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="account_name_once"),
            models.CheckConstraint(condition=Q(status__in=AccountStatus.values), name="account_status"),
        ]

    def __str__(self):
        return self.name


class Target(models.Model):
    """One place the vector API runs: a cluster in a cloud's region, or this machine."""

    id = IdField("tgt")
    project = models.ForeignKey("controlplane.Project", models.PROTECT, related_name="targets")
    name = models.CharField(max_length=50, validators=[name_validator])
    provider = models.CharField(max_length=32)
    account = models.ForeignKey(
        Account,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="targets",
        help_text="By which it is made; none where the provider needs none.",
    )
    region = models.CharField(max_length=64)
    role = models.CharField(
        max_length=10,
        default="primary",
        choices=[("primary", "Primary"), ("secondary", "Secondary"), ("tertiary", "Tertiary")],
    )
    spec = models.JSONField(default=dict, help_text="Validated by the provider's schema.")
    status = models.CharField(max_length=12, choices=TargetStatus, default=TargetStatus.PENDING)
    status_reason = models.TextField(blank=True)
    deletion_protection = models.BooleanField(default=True)
    desired_replicas = models.PositiveSmallIntegerField(default=2)
    release = models.ForeignKey(
        Release, models.PROTECT, null=True, blank=True, related_name="+", help_text="What serves now."
    )
    engine_ref = models.JSONField(default=dict, help_text="The provider engine's own names and tokens.")
    outputs = models.JSONField(default=dict, help_text="What the provider made, without secrets.")
    secrets = SecretsField(blank=True, default=dict, help_text="database_url, redis_url, jwt_secret")
    health = models.CharField(max_length=9, choices=Health, default=Health.UNKNOWN)
    health_reason = models.TextField(blank=True)
    health_since = models.DateTimeField(null=True, blank=True)
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    ready_at = models.DateTimeField(null=True, blank=True)
    destroyed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "name"], condition=~Q(status="destroyed"), name="target_name_once"
            ),
            models.CheckConstraint(condition=Q(status__in=TargetStatus.values), name="target_status"),
            models.CheckConstraint(condition=Q(health__in=Health.values), name="target_health"),
            models.CheckConstraint(
                condition=Q(status="destroyed", destroyed_at__isnull=False)
                | (~Q(status="destroyed") & Q(destroyed_at=None)),
                name="target_destroyed",
            ),
        ]

    def __str__(self):
        return self.name

    @property
    def subject(self) -> str:
        """What this target's operations are serialised on."""
        return f"target:{self.pk}"

    @property
    def version(self) -> str:
        """Changes with what people decide about a target and with its status, not with its health."""
        decided = [self.name, self.role, self.spec, self.deletion_protection, self.desired_replicas]
        text = json.dumps([self.pk, self.status, self.release_id, *decided], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


class Plan(models.Model):
    """What applying a spec would do; out of date as soon as the target changes."""

    id = IdField("pln")
    target = models.ForeignKey(Target, models.CASCADE, related_name="plans")
    spec = models.JSONField()
    secrets = SecretsField(blank=True, default=dict, help_text="Write-only parts of the spec: URLs.")
    digest = models.CharField(max_length=64, help_text="SHA-256 of what was observed and asked for.")
    changes = models.JSONField(default=list, help_text="[{action, kind, name, fields, replaces_data}]")
    problems = models.JSONField(default=list, help_text="[{severity, field, message, remedy}]")
    estimate = models.JSONField(default=dict, help_text="{amount, currency} a month")
    operation = models.CharField(max_length=30, blank=True, help_text="The operation that applied it.")
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self):
        return self.pk


class RolloutStatus(models.TextChoices):
    RUNNING = "running", "Running"
    SUCCEEDED = "succeeded", "Succeeded"
    ROLLING_BACK = "rolling_back", "Rolling back"
    ROLLED_BACK = "rolled_back", "Rolled back"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"

    @classmethod
    def open(cls) -> tuple:
        """Those of a rollout that has not ended."""
        return cls.RUNNING, cls.ROLLING_BACK


class Rollout(models.Model):
    """One move of a target from a release to another.

    A canary goes through `steps` one by one: at step `step` the new release has `weight` per cent of the
    requests. `command` is what a person asked for and the operation has not taken up yet; `hold` tells why
    it stays at its step, `paused` that a person wants it to.
    """

    id = IdField("rol")
    target = models.ForeignKey(Target, models.CASCADE, related_name="rollouts")
    release = models.ForeignKey(Release, models.PROTECT, related_name="rollouts")
    previous = models.ForeignKey(Release, models.PROTECT, null=True, blank=True, related_name="+")
    strategy = models.CharField(
        max_length=8, default="rolling", choices=[("rolling", "Rolling"), ("canary", "Canary")]
    )
    steps = models.JSONField(default=list, help_text="[{weight, pause_seconds}], null: until promoted")
    gates = models.JSONField(default=dict, help_text="What each step must show; see strategies.py.")
    step = models.PositiveSmallIntegerField(
        default=0, help_text="Counts from 0; past the last one it is promoted."
    )
    step_since = models.DateTimeField(null=True, blank=True, help_text="Since when the weight is set.")
    weight = models.PositiveSmallIntegerField(default=0)
    paused = models.BooleanField(default=False)
    command = models.CharField(
        max_length=7, blank=True, choices=[("promote", "Promote"), ("full", "Promote fully")]
    )
    hold = models.CharField(max_length=500, blank=True)
    status = models.CharField(max_length=12, choices=RolloutStatus, default=RolloutStatus.RUNNING)
    reason = models.TextField(blank=True, help_text="Why it rolled back or failed.")
    operation = models.CharField(max_length=30, blank=True)
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["target"],
                condition=Q(status__in=["running", "rolling_back"]),
                name="rollout_one_at_a_time",
            ),
            models.CheckConstraint(condition=Q(status__in=RolloutStatus.values), name="rollout_status"),
            models.CheckConstraint(condition=Q(weight__lte=100), name="rollout_weight"),
        ]

    def __str__(self):
        return self.pk


class Verdict(models.TextChoices):
    PASSED = "passed", "Passed"
    FAILED = "failed", "Failed"
    INCONCLUSIVE = "inconclusive", "Inconclusive"


class Analysis(models.Model):
    """One look at a canary's gates, as it was; never changes once made."""

    rollout = models.ForeignKey(Rollout, models.CASCADE, related_name="analyses", db_index=False)
    at = models.DateTimeField()
    step = models.PositiveSmallIntegerField()
    weight = models.PositiveSmallIntegerField()
    verdict = models.CharField(max_length=12, choices=Verdict)
    readings = models.JSONField(
        help_text="[{gate, verdict, value, limit, stable, requests, text}], values in the gate's unit"
    )

    class Meta:
        indexes = [models.Index(fields=["rollout", "-id"], name="analysis_newest")]
        constraints = [
            models.CheckConstraint(condition=Q(verdict__in=Verdict.values), name="analysis_verdict")
        ]

    def __str__(self):
        return f"{self.at} {self.verdict}"


class ReplicaStatus(models.TextChoices):
    STARTING = "starting", "Starting"
    READY = "ready", "Ready"
    UNREADY = "unready", "Not ready"
    DRAINING = "draining", "Draining"
    STOPPED = "stopped", "Stopped"
    FAILED = "failed", "Failed"


LIVE_REPLICA = (
    ReplicaStatus.STARTING,
    ReplicaStatus.READY,
    ReplicaStatus.UNREADY,
    ReplicaStatus.DRAINING,
)


class Replica(models.Model):
    """One running instance of a release on a target.

    Of a local process the row is written before it is started. Of a cluster's pod the row is a picture: it
    has the pod's uid, and follows what the cluster tells.
    """

    id = IdField("rep")
    target = models.ForeignKey(Target, models.CASCADE, related_name="replicas")
    release = models.ForeignKey(Release, models.PROTECT, related_name="+")
    status = models.CharField(max_length=8, choices=ReplicaStatus, default=ReplicaStatus.STARTING)
    reason = models.TextField(blank=True)
    host = models.CharField(max_length=255, default="127.0.0.1")
    port = models.PositiveIntegerField(null=True, blank=True)
    pod_uid = models.CharField(max_length=64, blank=True, default="", db_default="")
    handle = models.JSONField(
        default=dict,
        help_text="What the runtime recognises it by: pid, ...; of a pod "
        "{pod, uid, node, role, phase, restarts, started_at, problem}.",
    )
    failed_probes = models.PositiveSmallIntegerField(default=0, help_text="Equal readings in a row.")
    passed_probes = models.PositiveSmallIntegerField(default=0, help_text="Equal readings in a row.")
    health = models.CharField(
        max_length=9, choices=Health, default=Health.UNKNOWN, help_text="As its last transition says."
    )
    last_probe_at = models.DateTimeField(null=True, blank=True)
    last_probe_ms = models.FloatField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    ready_at = models.DateTimeField(null=True, blank=True)
    stopped_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["host", "port"],
                # Pods of two clusters may well have the same address.
                condition=Q(status__in=LIVE_REPLICA, pod_uid=""),
                name="replica_port_once",
            ),
            models.UniqueConstraint(
                fields=["target", "pod_uid"], condition=~Q(pod_uid=""), name="replica_pod_once"
            ),
            models.CheckConstraint(condition=Q(status__in=ReplicaStatus.values), name="replica_status"),
            models.CheckConstraint(condition=Q(health__in=Health.values), name="replica_health"),
        ]
        indexes = [models.Index(fields=["target", "status"])]

    def __str__(self):
        return self.pk

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


class HealthTransition(models.Model):
    """A change of health of a target or one of its replicas; nothing is written while nothing changes."""

    target = models.ForeignKey(Target, models.CASCADE, related_name="health_transitions", db_index=False)
    replica = models.ForeignKey(Replica, models.CASCADE, null=True, related_name="health_transitions")
    at = models.DateTimeField()
    previous = models.CharField(max_length=9, choices=Health)
    health = models.CharField(max_length=9, choices=Health)
    reason = models.TextField(blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["target", "replica", "-at"]),
            models.Index(fields=["target", "-at", "-id"], name="health_transition_newest"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(health__in=Health.values) & Q(previous__in=Health.values),
                name="health_transition_health",
            )
        ]

    def __str__(self):
        return f"{self.at} {self.previous} -> {self.health}"


class ProbeHeartbeat(models.Model):
    """When a probe round last ended: one row. Time that no round covers is unknown, not uptime."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    at = models.DateTimeField()

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(id=1), name="probe_heartbeat_once")]

    def __str__(self):
        return f"{self.at}"


class ScrapeState(models.Model):
    """A replica's counters as last scraped, from which the next scrape's deltas are taken."""

    replica = models.OneToOneField(Replica, models.CASCADE, primary_key=True, related_name="scrape_state")
    at = models.DateTimeField()
    counters = models.JSONField(help_text="{requests: {route status: n}, buckets: {bound: n}, seconds}")

    def __str__(self):
        return f"{self.replica_id} {self.at}"


class MetricPoint(models.Model):
    """What one replica did in one interval: deltas of its counters, so that points add up.

    `buckets[i]` counts requests that took at most `metrics.BUCKET_BOUNDS_SECONDS[i]` and more than the
    bound before, the last one those above every bound; percentiles of any span come from the sums.
    """

    target = models.ForeignKey(Target, models.CASCADE, related_name="metric_points", db_index=False)
    replica = models.ForeignKey(Replica, models.CASCADE, related_name="+", db_index=False)
    resolution_seconds = models.PositiveIntegerField(help_text="15 raw, 300 and 3600 rolled up")
    at = models.DateTimeField(help_text="Start of the interval.")
    covered_seconds = models.FloatField(default=0, help_text="How much of the interval was measured.")
    requests = models.BigIntegerField(default=0)
    errors = models.BigIntegerField(default=0, help_text="Answers with status 5xx.")
    refused = models.BigIntegerField(default=0, db_default=0, help_text="For load, or a key's rate.")
    slow = models.BigIntegerField(default=0, db_default=0, help_text="Slow queries.")
    duration_seconds = models.FloatField(default=0, help_text="Sum over the requests.")
    buckets = ArrayField(models.BigIntegerField(), default=list)
    memory_bytes = models.BigIntegerField(null=True, help_text="The most that was seen.")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["target", "resolution_seconds", "at", "replica"], name="metric_point_once"
            )
        ]
        indexes = [models.Index(fields=["resolution_seconds", "at"], name="metric_point_age")]

    def __str__(self):
        return f"{self.at} {self.requests}"


class CollectionSize(models.Model):
    """Points and bytes of a target's collection as scraped last within an interval."""

    target = models.ForeignKey(Target, models.CASCADE, related_name="collection_sizes", db_index=False)
    collection = models.CharField(max_length=200)
    resolution_seconds = models.PositiveIntegerField()
    at = models.DateTimeField(help_text="Start of the interval.")
    points = models.BigIntegerField()
    bytes = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["target", "resolution_seconds", "at", "collection"], name="collection_size_once"
            )
        ]
        indexes = [models.Index(fields=["resolution_seconds", "at"], name="collection_size_age")]

    def __str__(self):
        return f"{self.collection} {self.at}"


# Of files of their own, which Django finds by this one.
from deployments.backups.models import Backup, BackupSchedule, Restore  # noqa: E402, F401
from deployments.cluster_models import ClusterEvent, ClusterState  # noqa: E402, F401
from deployments.drift.models import DriftDecision, DriftFinding  # noqa: E402, F401
from deployments.fleets import models as fleet_models  # noqa: E402, F401
