"""What is observed of a target as the REST API shows it: replicas, events, health, logs, metrics."""

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from controlplane.api.pagination import ListQuery, Words
from controlplane.api.serializers import StrictSerializer
from deployments import pods
from deployments.api.serializers import ReleaseReference
from deployments.models import Health, ReplicaStatus
from deployments.runtimes.workload import CANARY, STABLE
from deployments.selectors import EVENT_SOURCES

REVISION_ROLES = [STABLE, CANARY]


class PodProblemOut(serializers.Serializer):
    """Why a pod does not serve."""

    code = serializers.CharField(
        help_text="image_pull, crash_loop, unschedulable, quota, admission, config, probe, evicted,"
        " out_of_memory"
    )
    message = serializers.CharField()
    remedy = serializers.CharField()
    event = serializers.CharField(help_text="The cluster's own words.")


class PodOut(serializers.Serializer):
    """The pod that a replica is, as its cluster told it last."""

    name = serializers.CharField()
    node = serializers.CharField()
    role = serializers.ChoiceField(choices=REVISION_ROLES)
    phase = serializers.ChoiceField(choices=["pending", "running", "ready", "terminating", "failed"])
    restarts = serializers.IntegerField()
    started_at = serializers.DateTimeField(allow_null=True)
    problem = PodProblemOut(allow_null=True)
    cpu_cores = serializers.FloatField(
        allow_null=True, help_text="In use, by the metrics API; null where it is not known."
    )
    memory_bytes = serializers.IntegerField(allow_null=True)


class ReplicaOut(serializers.Serializer):
    """One running instance of a release."""

    id = serializers.CharField()
    release = ReleaseReference()
    status = serializers.ChoiceField(choices=ReplicaStatus.choices)
    reason = serializers.CharField()
    host = serializers.CharField()
    port = serializers.IntegerField(allow_null=True)
    last_probe_at = serializers.DateTimeField(allow_null=True)
    last_probe_ms = serializers.FloatField(allow_null=True)
    created_at = serializers.DateTimeField()
    ready_at = serializers.DateTimeField(allow_null=True)
    stopped_at = serializers.DateTimeField(allow_null=True)
    pod = serializers.SerializerMethodField(help_text="Of a local process null.")

    @extend_schema_field(PodOut(allow_null=True))
    def get_pod(self, replica) -> dict | None:
        pod = pods.of(replica)
        return PodOut(pod).data if pod else None


class ReplicaQuery(ListQuery):
    """Query of the list of replicas."""

    status = Words(
        choices=ReplicaStatus.values,
        help_text="Separated by commas. Without it, those that are gone are left out.",
    )


class TargetEventOut(serializers.Serializer):
    """Something that happened to a target."""

    at = serializers.DateTimeField()
    source = serializers.ChoiceField(choices=EVENT_SOURCES)
    operation = serializers.CharField(allow_null=True)
    sequence = serializers.IntegerField(allow_null=True)
    kind = serializers.CharField(help_text="The operation's kind, health, or the kind of a cluster's object.")
    step = serializers.CharField()
    outcome = serializers.CharField(
        help_text="An operation event's outcome, the new health, or the reason of a cluster's event."
    )
    message = serializers.CharField()
    replica = serializers.CharField(allow_null=True)
    object = serializers.CharField(help_text="What a cluster's event is about, as Pod/api-1; else empty.")
    warning = serializers.BooleanField(help_text="Whether it tells of something that is wrong.")
    count = serializers.IntegerField(help_text="How often a cluster's event happened, lastly at this time.")


class TargetEventPage(serializers.Serializer):
    """One page of events, newest first."""

    items = TargetEventOut(many=True)
    next_cursor = serializers.CharField(allow_null=True)


class RangeQuery(StrictSerializer):
    """A range of time."""

    since = serializers.DateTimeField(required=False, help_text="From this time on.")
    until = serializers.DateTimeField(required=False, help_text="Before this time.")


class TargetEventQuery(RangeQuery):
    """Which events."""

    source = Words(choices=EVENT_SOURCES, help_text="Separated by commas; all without it.")
    limit = serializers.IntegerField(min_value=1, max_value=200, default=50)
    cursor = serializers.CharField(required=False)


class UptimeOut(serializers.Serializer):
    """Shares (0 to 1) of the known time that the target served; null without data."""

    last_hour = serializers.FloatField(source="1h", allow_null=True)
    last_24_hours = serializers.FloatField(source="24h", allow_null=True)
    last_30_days = serializers.FloatField(source="30d", allow_null=True)


class ReplicaHealthOut(serializers.Serializer):
    """A replica's health."""

    id = serializers.CharField()
    release = serializers.CharField()
    status = serializers.ChoiceField(choices=ReplicaStatus.choices)
    health = serializers.ChoiceField(choices=Health.choices)
    reason = serializers.CharField()
    last_probe_at = serializers.DateTimeField(allow_null=True)
    last_probe_ms = serializers.FloatField(allow_null=True)
    created_at = serializers.DateTimeField()
    ready_at = serializers.DateTimeField(allow_null=True)
    stopped_at = serializers.DateTimeField(allow_null=True)


class RevisionOut(serializers.Serializer):
    """How far a revision is in its cluster, in pods."""

    role = serializers.ChoiceField(choices=REVISION_ROLES)
    release = serializers.CharField()
    desired = serializers.IntegerField()
    updated = serializers.IntegerField()
    ready = serializers.IntegerField()
    settled = serializers.BooleanField()
    problem = PodProblemOut(allow_null=True)


class ClusterOut(serializers.Serializer):
    """A target's cluster as it was seen last."""

    seen_at = serializers.DateTimeField(allow_null=True)
    error = serializers.CharField(help_text="Why it could not be read since; empty when it can.")
    remedy = serializers.CharField()
    failing_since = serializers.DateTimeField(allow_null=True)
    routing = serializers.CharField(help_text="What splits the requests: istio, gateway or replicas.")
    weights = serializers.DictField(child=serializers.IntegerField(), help_text="Per cent by role.")
    revisions = RevisionOut(many=True)
    metrics_source = serializers.CharField(help_text="Where figures are read: pods or prometheus.")
    metrics_problem = serializers.CharField()
    usage_problem = serializers.CharField(help_text="Why CPU and memory of pods are not known.")


class HealthOut(serializers.Serializer):
    """A target's health."""

    health = serializers.ChoiceField(choices=Health.choices)
    reason = serializers.CharField()
    since = serializers.DateTimeField(allow_null=True)
    last_round_at = serializers.DateTimeField(allow_null=True, help_text="When replicas were probed last.")
    uptime = UptimeOut()
    replicas = ReplicaHealthOut(many=True, help_text="Those that live, and those that ended within the hour.")
    cluster = ClusterOut(allow_null=True, help_text="Null where replicas are local processes.")


class LogQuery(RangeQuery):
    """Which lines."""

    search = serializers.CharField(required=False, default="", max_length=200, help_text="Text in the line.")
    level = serializers.ChoiceField(
        choices=["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
        required=False,
        default="",
        help_text="The least level.",
    )
    replica = serializers.CharField(required=False, max_length=40, help_text="rep_...")
    previous = serializers.BooleanField(
        required=False,
        default=False,
        help_text="Of pods: the containers that ended before those that run now, as after a crash.",
    )
    cursor = serializers.CharField(required=False, default="", max_length=20_000)
    limit = serializers.IntegerField(min_value=1, max_value=5000, default=500)


class LogLineOut(serializers.Serializer):
    """A line that a replica wrote."""

    replica = serializers.CharField(source="replica_id")
    at = serializers.DateTimeField(allow_null=True)
    level = serializers.CharField()
    text = serializers.CharField()


class LogPageOut(serializers.Serializer):
    """Lines in time order: without a cursor the newest, with one those after it."""

    items = LogLineOut(many=True, source="lines")
    next_cursor = serializers.CharField(
        source="cursor", help_text="Goes on after these lines, also when none are there yet."
    )
    more = serializers.BooleanField(help_text="Whether there are more lines already.")
    problems = serializers.DictField(
        child=serializers.CharField(), help_text="Replica to why its log could not be read."
    )


class MetricsQuery(RangeQuery):
    """Which range and how fine."""

    step_seconds = serializers.IntegerField(
        required=False, min_value=1, max_value=7 * 86_400, help_text="By default about 300 points."
    )


class MetricPointOut(serializers.Serializer):
    """One step; null where nothing was measured."""

    at = serializers.DateTimeField()
    requests_per_second = serializers.FloatField(allow_null=True)
    errors_per_second = serializers.FloatField(allow_null=True)
    refused_per_second = serializers.FloatField(allow_null=True, help_text="429: for load, or a key's rate.")
    slow_per_second = serializers.FloatField(allow_null=True, help_text="Slow queries.")
    error_rate = serializers.FloatField(allow_null=True, help_text="0 to 1.")
    p50_ms = serializers.FloatField(allow_null=True)
    p95_ms = serializers.FloatField(allow_null=True)
    p99_ms = serializers.FloatField(allow_null=True)
    memory_bytes = serializers.IntegerField(allow_null=True)


class CollectionSizeOut(serializers.Serializer):
    """A collection's size at a time."""

    at = serializers.DateTimeField()
    points = serializers.IntegerField()
    bytes = serializers.IntegerField()


class AnnotationOut(serializers.Serializer):
    """Something that happened in the range."""

    at = serializers.DateTimeField()
    kind = serializers.ChoiceField(choices=["rollout", "health"])
    id = serializers.CharField()
    text = serializers.CharField()
    status = serializers.CharField()


class MetricsOut(serializers.Serializer):
    """What a target did over time."""

    step_seconds = serializers.IntegerField()
    points = MetricPointOut(many=True)
    collections = serializers.DictField(child=CollectionSizeOut(many=True), help_text="The largest ones.")
    annotations = AnnotationOut(many=True)
    latest = serializers.SerializerMethodField(help_text="The last 5 minutes together.")

    def get_latest(self, metrics) -> MetricPointOut:
        return MetricPointOut(metrics["latest"]).data
