"""Fleets of targets, and what one rollout over a fleet did to each of them."""

from django.db import models
from django.db.models import Q

from controlplane.ids import IdField
from deployments.models import Release, Rollout, Target, name_validator

ROLES = Target._meta.get_field("role").choices


class Fleet(models.Model):
    """Targets that serve the same thing in several places, in the order in which a release reaches them."""

    id = IdField("flt")
    project = models.ForeignKey("controlplane.Project", models.PROTECT, related_name="fleets")
    name = models.CharField(max_length=50, validators=[name_validator])
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "name"], name="fleet_name_once")]

    def __str__(self):
        return self.name

    @property
    def subject(self) -> str:
        """What this fleet's operations are serialised on."""
        return f"fleet:{self.pk}"


class FleetMember(models.Model):
    """A target of a fleet, its role there and its place in the order."""

    fleet = models.ForeignKey(Fleet, models.CASCADE, related_name="members")
    target = models.ForeignKey(Target, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, default="primary", choices=ROLES)
    position = models.PositiveSmallIntegerField(help_text="From 0; the first is the canary of a rollout.")

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["fleet", "target"], name="fleet_member_once"),
            models.UniqueConstraint(fields=["fleet", "position"], name="fleet_position_once"),
        ]

    def __str__(self):
        return f"{self.fleet_id} {self.target_id}"


class FleetRolloutStatus(models.TextChoices):
    RUNNING = "running", "Running"
    PAUSED = "paused", "Paused"
    ROLLING_BACK = "rolling_back", "Rolling back"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    ROLLED_BACK = "rolled_back", "Rolled back"
    CANCELLED = "cancelled", "Cancelled"


OPEN = (FleetRolloutStatus.RUNNING, FleetRolloutStatus.PAUSED, FleetRolloutStatus.ROLLING_BACK)


class OnFailure(models.TextChoices):
    STOP = "stop", "Stop, and leave what has moved"
    ROLL_BACK = "roll_back", "Stop, and roll back what has moved"


class PauseAfter(models.TextChoices):
    NEVER = "never", "Never"
    CANARY = "canary", "After the canary"
    WAVE = "wave", "After every wave"


class FleetRollout(models.Model):
    """One move of a fleet's targets to a release, wave after wave."""

    id = IdField("frl")
    fleet = models.ForeignKey(Fleet, models.CASCADE, related_name="rollouts")
    release = models.ForeignKey(Release, models.PROTECT, related_name="fleet_rollouts")
    status = models.CharField(max_length=12, choices=FleetRolloutStatus, default=FleetRolloutStatus.RUNNING)
    reason = models.TextField(blank=True, help_text="Why it stopped, was rolled back or failed.")
    max_parallel = models.PositiveSmallIntegerField(default=1, help_text="Targets of one wave.")
    max_failures = models.PositiveSmallIntegerField(default=0, help_text="Failed targets that are tolerated.")
    on_failure = models.CharField(max_length=9, choices=OnFailure, default=OnFailure.STOP)
    pause_after = models.CharField(max_length=6, choices=PauseAfter, default=PauseAfter.NEVER)
    options = models.JSONField(default=dict, help_text="What each target's rollout is started with.")
    pause_requested = models.BooleanField(default=False, help_text="No further wave is begun.")
    operation = models.CharField(max_length=30, blank=True)
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["fleet"], condition=Q(status__in=OPEN), name="fleet_rollout_one_at_a_time"
            ),
            models.CheckConstraint(
                condition=Q(status__in=FleetRolloutStatus.values), name="fleet_rollout_status"
            ),
            models.CheckConstraint(
                condition=Q(status__in=OPEN, finished_at=None)
                | (~Q(status__in=OPEN) & Q(finished_at__isnull=False)),
                name="fleet_rollout_finished",
            ),
        ]

    def __str__(self):
        return self.pk


class MoveStatus(models.TextChoices):
    PENDING = "pending", "Not begun"
    MOVING = "moving", "Moving"
    MOVED = "moved", "Moved"
    UNCHANGED = "unchanged", "Ran it already"
    FAILED = "failed", "Failed"
    ROLLING_BACK = "rolling_back", "Rolling back"
    ROLLED_BACK = "rolled_back", "Rolled back"
    NOT_RESTORED = "not_restored", "Not rolled back"
    CANCELLED = "cancelled", "Cancelled"
    SKIPPED = "skipped", "Not reached"


MOVE_UNFINISHED = (MoveStatus.PENDING, MoveStatus.MOVING, MoveStatus.ROLLING_BACK)


class FleetMove(models.Model):
    """What a fleet's rollout did to one target: the report's line."""

    fleet_rollout = models.ForeignKey(FleetRollout, models.CASCADE, related_name="moves")
    target = models.ForeignKey(Target, models.CASCADE, related_name="+")
    role = models.CharField(max_length=10, choices=ROLES)
    position = models.PositiveSmallIntegerField()
    wave = models.PositiveSmallIntegerField(help_text="From 0, which is the canary's.")
    status = models.CharField(max_length=12, choices=MoveStatus, default=MoveStatus.PENDING)
    reason = models.TextField(blank=True)
    before = models.ForeignKey(
        Release, models.PROTECT, null=True, related_name="+", help_text="What served before."
    )
    after = models.ForeignKey(
        Release, models.PROTECT, null=True, related_name="+", help_text="What serves since its move ended."
    )
    rollout = models.ForeignKey(Rollout, models.SET_NULL, null=True, related_name="fleet_moves")
    rollback = models.ForeignKey(Rollout, models.SET_NULL, null=True, related_name="fleet_moves_back")
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["fleet_rollout", "target"], name="fleet_move_once"),
            models.CheckConstraint(condition=Q(status__in=MoveStatus.values), name="fleet_move_status"),
        ]

    def __str__(self):
        return f"{self.fleet_rollout_id} {self.target_id} {self.status}"

    @property
    def seconds(self) -> float | None:
        """How long its move, and its way back, took; None before they ended, and for what was not begun."""
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()

    @property
    def is_finished(self) -> bool:
        return self.status not in MOVE_UNFINISHED
