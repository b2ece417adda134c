"""What is not as it was made, and what somebody decided about it."""

from django.db import models
from django.db.models import Q

from controlplane.ids import IdField


class DriftFinding(models.Model):
    """One field of one object that is not as it was made, from when it was seen until it was seen no more."""

    id = IdField("drf")
    target = models.ForeignKey("deployments.Target", models.CASCADE, related_name="drift_findings")
    source = models.CharField(max_length=16, help_text="provider, or workload: who looks after the object.")
    kind = models.CharField(max_length=100)
    name = models.CharField(max_length=253)
    field = models.CharField(max_length=500, blank=True)
    expected = models.JSONField(null=True)
    actual = models.JSONField(null=True)
    by = models.CharField(max_length=200, blank=True, help_text="Who changed it, where that is known.")
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True, help_text="When it was first seen no more.")
    ignored = models.BooleanField(default=False)

    class Meta:
        app_label = "deployments"
        constraints = [
            models.UniqueConstraint(
                fields=["target", "source", "kind", "name", "field"],
                condition=Q(resolved_at=None),
                name="drift_once",
            )
        ]
        indexes = [models.Index(fields=["target", "-id"], name="drift_newest")]

    def __str__(self):
        return self.path

    @property
    def path(self) -> str:
        """`<kind>/<name>#<field>`, by which runtimes are told what to leave alone."""
        return f"{self.kind}/{self.name}#{self.field}"

    @property
    def state(self) -> str:
        if self.resolved_at is not None:
            return "resolved"
        return "ignored" if self.ignored else "open"


class DriftDecision(models.Model):
    """What was decided about a finding, by whom and why; never changed but by being undone."""

    class Action(models.TextChoices):
        REVERT = "revert", "Reverted"
        ADOPT = "adopt", "Adopted"
        IGNORE = "ignore", "Ignored"

    id = IdField("drd")
    finding = models.ForeignKey(DriftFinding, models.CASCADE, related_name="decisions")
    action = models.CharField(max_length=6, choices=Action)
    reason = models.CharField(max_length=500)
    by = models.CharField(max_length=200)
    at = models.DateTimeField(auto_now_add=True)
    operation = models.CharField(max_length=30, blank=True, help_text="That reverted it.")
    spec_before = models.JSONField(default=dict, help_text="Fields of the spec that adopting changed.")
    spec_after = models.JSONField(default=dict)
    undone_by = models.CharField(max_length=200, blank=True)
    undone_at = models.DateTimeField(null=True)

    class Meta:
        app_label = "deployments"
        constraints = [
            models.CheckConstraint(
                condition=Q(action__in=["revert", "adopt", "ignore"]), name="drift_decision_action"
            )
        ]

    def __str__(self):
        return f"{self.action} by {self.by}"

    @property
    def can_be_undone(self) -> bool:
        return self.undone_at is None and self.action != self.Action.REVERT
