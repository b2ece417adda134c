"""Operations and their events: the durable record of everything that takes longer than a request."""

from django.db import models
from django.db.models import Q

from controlplane.ids import IdField


class Status(models.TextChoices):
    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    WAITING = "waiting", "Waiting"
    CANCELLING = "cancelling", "Cancelling"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


UNFINISHED = (Status.QUEUED, Status.RUNNING, Status.WAITING, Status.CANCELLING)
FINISHED = (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED)


class OperationQuerySet(models.QuerySet):
    def unfinished(self):
        return self.filter(status__in=UNFINISHED)

    def on(self, subject: str):
        return self.filter(subject=subject)

    def about(self, subject: str):
        """Those on a subject and on its parts, whose subjects begin with it and a slash."""
        return self.filter(Q(subject=subject) | Q(subject__startswith=f"{subject}/"))


class Operation(models.Model):
    """One piece of long work, advanced step by step by `worker.engine`, the only code that changes it."""

    id = IdField("op")
    project = models.ForeignKey("controlplane.Project", models.PROTECT, related_name="+")
    kind = models.CharField(max_length=64, help_text="noun.verb, as target.provision")
    subject = models.CharField(max_length=200, help_text="What operations are serialised on: target:<id>")
    input = models.JSONField(default=dict, help_text="What was asked for; never changes.")
    state = models.JSONField(default=dict, help_text="What the handler remembers between steps.")
    step = models.CharField(max_length=64)
    status = models.CharField(max_length=10, choices=Status, default=Status.QUEUED)
    queue = models.CharField(max_length=64, default="operations")
    attempt = models.PositiveIntegerField(default=0, help_text="Tries of this step since it last progressed.")
    run_after = models.DateTimeField(help_text="When the next try is due.")
    lease_token = models.UUIDField(null=True, blank=True)
    lease_owner = models.CharField(max_length=200, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    cancelled_from_step = models.CharField(max_length=64, blank=True)
    deadline_at = models.DateTimeField(null=True, blank=True)
    deadline_passed = models.BooleanField(default=False)
    waiting_for = models.CharField(max_length=300, blank=True)
    percent = models.PositiveSmallIntegerField(null=True, blank=True)
    result = models.JSONField(default=dict)
    error_code = models.CharField(max_length=64, blank=True)
    error = models.TextField(blank=True)
    remedy = models.TextField(blank=True)
    idempotency_key = models.CharField(max_length=200, null=True, blank=True)
    retry_of = models.ForeignKey("self", models.SET_NULL, null=True, blank=True, related_name="retries")
    created_by = models.CharField(max_length=200, default="system")
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    step_started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    last_sequence = models.PositiveIntegerField(default=0, help_text="The newest event's number.")

    objects = OperationQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["subject"],
                condition=Q(lease_token__isnull=False),
                name="operation_one_lease_a_subject",
            ),
            models.UniqueConstraint(
                fields=["project", "kind", "idempotency_key"],
                condition=Q(idempotency_key__isnull=False),
                name="operation_idempotency_key",
            ),
            models.CheckConstraint(condition=Q(status__in=Status.values), name="operation_status"),
            models.CheckConstraint(
                condition=Q(status__in=UNFINISHED, finished_at=None)
                | Q(status__in=FINISHED, finished_at__isnull=False, lease_token=None),
                name="operation_finished",
            ),
            models.CheckConstraint(
                condition=Q(lease_token=None, lease_expires_at=None)
                | Q(lease_token__isnull=False, lease_expires_at__isnull=False),
                name="operation_lease",
            ),
            models.CheckConstraint(condition=Q(percent=None) | Q(percent__lte=100), name="operation_percent"),
        ]
        indexes = [
            models.Index(fields=["run_after"], condition=Q(status__in=UNFINISHED), name="operation_due"),
            models.Index(fields=["subject", "-id"], name="operation_subject"),
            models.Index(fields=["project", "-id"], name="operation_project"),
        ]

    def __str__(self):
        return f"{self.id} {self.kind} {self.status}"

    @property
    def is_finished(self) -> bool:
        return self.status in FINISHED


class OperationEvent(models.Model):
    """Something that happened in an operation; append-only, numbered from 1 without gaps."""

    operation = models.ForeignKey(Operation, models.CASCADE, related_name="events")
    sequence = models.PositiveIntegerField()
    at = models.DateTimeField()
    step = models.CharField(max_length=64)
    outcome = models.CharField(
        max_length=12,
        choices=[
            (name, name.capitalize())
            for name in (
                "created",
                "started",
                "info",
                "next",
                "wait",
                "retry",
                "lost",
                "cancel",
                "deadline",
                "succeeded",
                "failed",
                "cancelled",
            )
        ],
    )
    message = models.TextField(blank=True)
    detail = models.JSONField(default=dict)

    class Meta:
        ordering = ["operation", "sequence"]
        constraints = [models.UniqueConstraint(fields=["operation", "sequence"], name="event_sequence")]

    def __str__(self):
        return f"{self.operation_id} {self.sequence} {self.step} {self.outcome}"
