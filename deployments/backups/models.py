"""Backups of targets, what was restored from them, and when they are made by themselves."""

from django.db import models
from django.db.models import Q

from controlplane.ids import IdField


class BackupStatus(models.TextChoices):
    RUNNING = "running", "Running"
    PROVEN = "proven", "Proven"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"
    DELETING = "deleting", "Deleting"
    DELETED = "deleted", "Deleted"


class Backup(models.Model):
    """One backup of a target's database. It is proven only once it was read back and found whole."""

    id = IdField("bak")
    target = models.ForeignKey("deployments.Target", models.CASCADE, related_name="backups")
    status = models.CharField(max_length=9, choices=BackupStatus, default=BackupStatus.RUNNING)
    reason = models.TextField(blank=True, help_text="Why it failed.")
    scheduled = models.BooleanField(
        default=False, help_text="Made by the schedule, and subject to its retention."
    )
    place = models.CharField(max_length=4096, help_text="A path of where the target's tasks run, or a URL.")
    stored = models.BooleanField(default=False, help_text="Whether its bytes lie at its place.")
    release = models.ForeignKey("deployments.Release", models.SET_NULL, null=True, related_name="+")
    schema = models.CharField(max_length=100, blank=True, help_text="The vector schema it was made under.")
    at = models.DateTimeField(null=True, help_text="The moment whose data it holds.")
    size_bytes = models.BigIntegerField(null=True)
    database_bytes = models.BigIntegerField(null=True)
    sha256 = models.CharField(max_length=64, blank=True)
    collections = models.JSONField(default=list, help_text="[{name, points, checksum, recall, ...}]")
    progress = models.JSONField(default=dict, help_text="{phase, done, total}; bytes")
    proof = models.JSONField(default=dict, help_text="{collections, points, queries, recall}")
    proven_at = models.DateTimeField(null=True, help_text="When it was last read back and found whole.")
    operation = models.CharField(max_length=30, blank=True)
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        app_label = "deployments"
        constraints = [
            models.CheckConstraint(condition=Q(status__in=BackupStatus.values), name="backup_status"),
            models.CheckConstraint(
                condition=~Q(status="proven") | Q(proven_at__isnull=False, at__isnull=False, stored=True),
                name="backup_proven",
            ),
        ]
        indexes = [models.Index(fields=["target", "-id"], name="backup_newest")]

    def __str__(self):
        return self.pk

    @property
    def points(self) -> int:
        return sum(one["points"] for one in self.collections)


class RestoreStatus(models.TextChoices):
    RUNNING = "running", "Running"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"
    CONFIRMED = "confirmed", "Confirmed"
    UNDONE = "undone", "Undone"


class RestoreMode(models.TextChoices):
    SCRATCH = "scratch", "Proof only"
    IN_PLACE = "in_place", "Into the target"
    NEW_TARGET = "new_target", "Into a new target"


class Restore(models.Model):
    """One reading back of a backup. In place, the database from before is kept until somebody decides."""

    id = IdField("rst")
    target = models.ForeignKey("deployments.Target", models.CASCADE, related_name="restores")
    backup = models.ForeignKey(Backup, models.CASCADE, related_name="restores")
    mode = models.CharField(max_length=10, choices=RestoreMode)
    status = models.CharField(max_length=9, choices=RestoreStatus, default=RestoreStatus.RUNNING)
    reason = models.TextField(blank=True, help_text="Why it failed.")
    progress = models.JSONField(default=dict, help_text="{phase, done, total}; bytes")
    proof = models.JSONField(default=dict, help_text="{collections, points, queries, recall}")
    kept_database = models.CharField(max_length=63, blank=True, help_text="The database from before.")
    operation = models.CharField(max_length=30, blank=True)
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)
    decided_by = models.CharField(max_length=200, blank=True, help_text="Who confirmed or undid it.")
    decided_at = models.DateTimeField(null=True)

    class Meta:
        app_label = "deployments"
        constraints = [
            models.CheckConstraint(condition=Q(status__in=RestoreStatus.values), name="restore_status"),
            models.CheckConstraint(condition=Q(mode__in=RestoreMode.values), name="restore_mode"),
        ]
        indexes = [models.Index(fields=["target", "-id"], name="restore_newest")]

    def __str__(self):
        return self.pk

    @property
    def can_be_undone(self) -> bool:
        return self.status == RestoreStatus.SUCCEEDED and bool(self.kept_database)


class BackupSchedule(models.Model):
    """When a target is backed up by itself, where to, and how many backups are kept."""

    target = models.OneToOneField(
        "deployments.Target", models.CASCADE, primary_key=True, related_name="backup_schedule"
    )
    enabled = models.BooleanField(default=True)
    cron = models.CharField(max_length=100, blank=True, help_text="Five fields; or an interval instead.")
    interval_minutes = models.PositiveIntegerField(null=True)
    timezone = models.CharField(
        max_length=64, default="UTC", help_text="What the cron expression is read in."
    )
    url = models.CharField(
        max_length=2000, blank=True, help_text="A folder of a store; where tasks run when empty."
    )
    keep_last = models.PositiveIntegerField(default=7)
    keep_daily = models.PositiveIntegerField(default=7)
    keep_weekly = models.PositiveIntegerField(default=4)
    next_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(null=True, help_text="When a backup was due last.")
    missed = models.PositiveIntegerField(default=0, help_text="Runs that were due and not made, all in all.")
    missed_at = models.DateTimeField(null=True, help_text="When a run was last found missed.")
    missed_reason = models.CharField(max_length=300, blank=True)
    updated_by = models.CharField(max_length=200)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        app_label = "deployments"
        constraints = [
            models.CheckConstraint(
                condition=Q(interval_minutes=None) ^ Q(cron=""), name="backup_schedule_one_rhythm"
            )
        ]

    def __str__(self):
        return self.cron or f"every {self.interval_minutes} min"
