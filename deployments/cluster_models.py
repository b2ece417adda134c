"""What was seen last of the clusters that targets run in: a picture, of which the cluster is the truth."""

from django.db import models

from deployments.models import Target


class ClusterState(models.Model):
    """A target's workload as its cluster told it last, and why it does not tell it now."""

    target = models.OneToOneField(Target, models.CASCADE, primary_key=True, related_name="cluster_state")
    seen_at = models.DateTimeField(null=True, help_text="When the cluster answered last.")
    workload = models.JSONField(
        default=dict, help_text="{routing, weights, desired, ready, revisions: [{role, release, ...}]}"
    )
    error = models.TextField(blank=True, help_text="Why it was not read the last time.")
    remedy = models.TextField(blank=True)
    failing_since = models.DateTimeField(null=True)
    tried_at = models.DateTimeField(null=True)
    usage = models.JSONField(
        default=dict, help_text="{at, problem, pods: {name: {cpu_cores, memory_bytes}}} of the metrics API"
    )
    metrics_source = models.JSONField(
        default=dict, help_text="{source: pods | prometheus, problem} of the last scrape"
    )
    events_at = models.DateTimeField(null=True, help_text="When events were read last.")

    def __str__(self):
        return f"{self.target_id} {self.seen_at}"


class ClusterEvent(models.Model):
    """An event of a target's namespace, kept for longer than the cluster keeps it."""

    target = models.ForeignKey(Target, models.CASCADE, related_name="cluster_events", db_index=False)
    uid = models.CharField(max_length=100)
    kind = models.CharField(max_length=100, help_text="Of the object it is about.")
    name = models.CharField(max_length=300)
    is_warning = models.BooleanField()
    reason = models.CharField(max_length=200)
    message = models.TextField()
    count = models.PositiveIntegerField(default=1)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["target", "uid"], name="cluster_event_once")]
        indexes = [models.Index(fields=["target", "-last_at", "-id"], name="cluster_event_newest")]

    def __str__(self):
        return f"{self.last_at} {self.kind}/{self.name} {self.reason}"
