"""Targets and what belongs to them as the REST API shows and takes them."""

from rest_framework import serializers

from controlplane.api.pagination import ListQuery, Words
from controlplane.api.serializers import JsonObject, Money, StrictSerializer
from deployments.collection_jobs import KINDS
from deployments.models import Health, RolloutStatus, Target, TargetStatus, Verdict
from deployments.strategies import CANARY, ROLLING

ROLES = Target._meta.get_field("role").choices


class ProviderOut(serializers.Serializer):
    """A place that targets can be made at."""

    name = serializers.CharField()
    label = serializers.CharField()
    runtime = serializers.CharField(help_text="How replicas run there.")
    regions = serializers.ListField(child=serializers.CharField())
    spec_schema = JsonObject(help_text="JSON Schema of `spec`.")
    config_schema = JsonObject(help_text="JSON Schema of a release's `config`.")
    credentials_schema = JsonObject(
        help_text="JSON Schema of an account's credentials; empty when none are needed."
    )
    presets = JsonObject(help_text="Name to a spec to start from.")
    capabilities = JsonObject(help_text="{operations: [...], strategies: [...]}")


class ReleaseOut(serializers.Serializer):
    """An image and its configuration; never changes."""

    id = serializers.CharField()
    name = serializers.CharField(source="__str__", help_text="v1, v2, ...")
    number = serializers.IntegerField()
    image = serializers.CharField()
    config = JsonObject()
    digest = serializers.CharField()
    note = serializers.CharField()
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()


class ReleaseReference(serializers.Serializer):
    """Which release."""

    id = serializers.CharField()
    name = serializers.CharField(source="__str__")


class AccountReference(serializers.Serializer):
    """Which account."""

    id = serializers.CharField()
    name = serializers.CharField()


class TargetReference(serializers.Serializer):
    """Which target."""

    id = serializers.CharField()
    name = serializers.CharField()


class HealthSummary(serializers.Serializer):
    """The health by the last probes."""

    status = serializers.ChoiceField(choices=Health.choices, source="health")
    reason = serializers.CharField(source="health_reason")
    since = serializers.DateTimeField(source="health_since", allow_null=True)


class TargetOut(serializers.Serializer):
    """One place the vector API runs."""

    id = serializers.CharField()
    name = serializers.CharField()
    provider = serializers.CharField()
    account = AccountReference(allow_null=True)
    region = serializers.CharField()
    role = serializers.ChoiceField(choices=ROLES)
    spec = JsonObject(help_text="Without its write-only parts.")
    status = serializers.ChoiceField(choices=TargetStatus.choices)
    status_reason = serializers.CharField()
    deletion_protection = serializers.BooleanField()
    desired_replicas = serializers.IntegerField()
    ready_replicas = serializers.IntegerField()
    release = ReleaseReference(allow_null=True)
    outputs = JsonObject(help_text="What the provider made, without secrets.")
    health = HealthSummary(source="*")
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    ready_at = serializers.DateTimeField(allow_null=True)
    destroyed_at = serializers.DateTimeField(allow_null=True)
    vectors_url = serializers.SerializerMethodField(help_text="The target's vector API through the gateway.")

    def get_vectors_url(self, target) -> str:
        return f"/api/v1/targets/{target.name}/vectors"


class TargetCreate(StrictSerializer):
    """A new target."""

    name = serializers.CharField(max_length=50)
    provider = serializers.CharField(max_length=32)
    account = serializers.CharField(
        max_length=64,
        required=False,
        allow_blank=True,
        default="",
        help_text="Name or id; the provider's only account when left out.",
    )
    region = serializers.CharField(max_length=64, required=False, allow_blank=True, default="")
    role = serializers.ChoiceField(choices=ROLES, default="primary")
    spec = JsonObject(default=dict, help_text="By the provider's `spec_schema`.")


class TargetUpdate(StrictSerializer):
    """What of a target may be changed at once; the rest needs a plan."""

    name = serializers.CharField(max_length=50)
    role = serializers.ChoiceField(choices=ROLES)
    deletion_protection = serializers.BooleanField()


class TargetDestroy(StrictSerializer):
    """The confirmation of a deletion."""

    confirm = serializers.CharField(max_length=50, help_text="The target's name.")


class PlanOnlyQuery(StrictSerializer):
    """Whether to start."""

    plan_only = serializers.BooleanField(default=False, help_text="Make the record and the plan alone.")


class TargetQuery(ListQuery):
    """Query of the list of targets."""

    sorts = {"name": "name", "-name": "-name", "-created_at": "-pk", "created_at": "pk"}
    status = Words(
        choices=TargetStatus.values,
        help_text="Separated by commas. Without it, targets that are destroyed are left out.",
    )
    health = Words(choices=Health.values)
    provider = serializers.CharField(required=False, max_length=32)
    region = serializers.CharField(required=False, max_length=64)
    role = serializers.ChoiceField(choices=ROLES, required=False)


class ProblemOut(serializers.Serializer):
    """What preflight found; `error` refuses the plan, `warning` does not."""

    severity = serializers.CharField()
    field = serializers.CharField()
    code = serializers.CharField()
    message = serializers.CharField()
    remedy = serializers.CharField()


class EstimateLine(serializers.Serializer):
    """What one resource would cost a month."""

    name = serializers.CharField()
    kind = serializers.CharField()
    sku = serializers.CharField()
    before = Money(allow_null=True, help_text="Null when it does not exist yet, or has no known price.")
    after = Money(allow_null=True, help_text="Null when it would be gone, or has no known price.")
    difference = Money(allow_null=True)
    note = serializers.CharField()


class PlanEstimate(serializers.Serializer):
    """What a plan would cost a month, one amount of each currency."""

    monthly = Money(many=True)
    before = Money(many=True)
    difference = Money(many=True)
    lines = EstimateLine(many=True)


class PlanOut(serializers.Serializer):
    """What applying a spec would do."""

    id = serializers.CharField()
    target = TargetReference()
    spec = JsonObject()
    changes = serializers.ListField(
        child=JsonObject(),
        help_text="[{action: create|change|replace|destroy, kind, name, fields: {name: [before, after]}, "
        "replaces_data}]",
    )
    preflight = ProblemOut(many=True, source="problems")
    monthly_estimate = serializers.SerializerMethodField(help_text="Null when not known.")
    estimate = serializers.SerializerMethodField(help_text="Each resource; null when nothing is known.")
    operation = serializers.SerializerMethodField(help_text="The operation that applied it, or null.")
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()

    def get_monthly_estimate(self, plan) -> Money(allow_null=True):
        if "amount" not in plan.estimate:
            return None
        return {name: plan.estimate[name] for name in ("amount", "currency")}

    def get_estimate(self, plan) -> PlanEstimate(allow_null=True):
        if "lines" not in plan.estimate:
            return None
        return {name: plan.estimate[name] for name in ("monthly", "before", "difference", "lines")}

    def get_operation(self, plan) -> str | None:
        return plan.operation or None


class PlanCreate(StrictSerializer):
    """What to plan for."""

    spec = JsonObject(required=False, help_text="The whole new spec; the present one when left out.")


class TargetPlanned(serializers.Serializer):
    """A target that was recorded, and its plan."""

    target = TargetOut()
    plan = PlanOut()


class ReleaseCreate(StrictSerializer):
    """A new release."""

    image = serializers.CharField(
        max_length=500, required=False, default="", help_text="Pinned; ours by default."
    )
    config = JsonObject(default=dict)
    note = serializers.CharField(max_length=500, required=False, allow_blank=True, default="")


class ReleaseQuery(ListQuery):
    """Query of the list of releases."""

    image = serializers.CharField(required=False, max_length=500)


class RolloutCreate(StrictSerializer):
    """What to move the target to: `release`, or `image` and `config`."""

    release = serializers.CharField(max_length=64, required=False, help_text="v3 or rel_...")
    image = serializers.CharField(max_length=500, required=False)
    config = JsonObject(required=False)
    strategy = serializers.ChoiceField(choices=[ROLLING, CANARY], default=ROLLING)
    steps = serializers.ListField(
        child=serializers.JSONField(),
        required=False,
        help_text="Of a canary: [{weight: 1 to 100, pause_seconds: 60 | null}] or weights alone; null ends by"
        " a promotion. 10, 25, 50, 100 when left out.",
    )
    gates = JsonObject(
        required=False,
        help_text="Of a canary: {error_rate, p95_ms, p95_ratio, readiness, recall: {min, max_drop, queries,"
        " k}, min_requests, inconclusive: hold | abort | go_on}.",
    )
    note = serializers.CharField(max_length=500, required=False, allow_blank=True)

    def validate(self, values):
        both = "release" in values and {"image", "config", "note"} & set(values)
        if both:
            raise serializers.ValidationError(
                {"release": "Give a release, or image, config and note of a new one, not both."}
            )
        return values


class ReadingOut(serializers.Serializer):
    """What one gate said."""

    gate = serializers.CharField(
        help_text="error_rate, p95_ms, p95_ratio, readiness, recall_min or recall_drop"
    )
    verdict = serializers.ChoiceField(choices=Verdict.choices)
    value = serializers.FloatField(allow_null=True, help_text="In the gate's own unit.")
    limit = serializers.FloatField(allow_null=True)
    stable = serializers.FloatField(allow_null=True, help_text="The same figure of the stable release.")
    requests = serializers.IntegerField(allow_null=True, help_text="Of the new release in this step.")
    text = serializers.CharField(help_text="In words, with every figure.")
    detail = JsonObject()


class AnalysisOut(serializers.Serializer):
    """One look at a canary's gates."""

    at = serializers.DateTimeField()
    step = serializers.IntegerField(help_text="From 0.")
    weight = serializers.IntegerField()
    verdict = serializers.ChoiceField(choices=Verdict.choices)
    readings = ReadingOut(many=True)


class RolloutOut(serializers.Serializer):
    """One move of a target from a release to another."""

    id = serializers.CharField()
    target = TargetReference()
    release = ReleaseReference()
    previous = ReleaseReference(allow_null=True)
    strategy = serializers.CharField()
    steps = serializers.ListField(child=JsonObject(), help_text="[{weight, pause_seconds}]")
    gates = JsonObject()
    step = serializers.IntegerField(help_text="Which of the steps it is at, from 0; past the last: promoted.")
    step_since = serializers.DateTimeField(
        allow_null=True, help_text="Since when the step's weight is in force."
    )
    weight = serializers.IntegerField(help_text="Per cent of the requests that the new release has now.")
    paused = serializers.BooleanField()
    waiting_for = serializers.CharField(source="hold", help_text="Why it stays at its step.")
    analysis = serializers.SerializerMethodField(help_text="The newest look at its gates, or null.")
    status = serializers.ChoiceField(choices=RolloutStatus.choices)
    reason = serializers.CharField(help_text="Why it rolled back or failed.")
    operation = serializers.CharField()
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)

    def get_analysis(self, rollout) -> AnalysisOut(allow_null=True):
        newest = rollout.analyses.order_by("-pk").first() if rollout.steps else None
        return AnalysisOut(newest).data if newest else None


class RolloutPromote(StrictSerializer):
    """How far to promote."""

    full = serializers.BooleanField(default=False, help_text="Past all steps that are left.")


class AnalysisQuery(ListQuery):
    """Query of the list of a canary's analyses."""

    verdict = Words(choices=Verdict.values)


class RolloutQuery(ListQuery):
    """Query of the list of rollouts."""

    status = Words(choices=RolloutStatus.values)


class RollbackCreate(StrictSerializer):
    """Where to go back to."""

    release = serializers.CharField(
        max_length=64, required=False, help_text="v3 or rel_...; the last that served when left out."
    )


class ScaleCreate(StrictSerializer):
    """How many replicas to run."""

    replicas = serializers.IntegerField(min_value=0, max_value=1000)


class CollectionJobCreate(StrictSerializer):
    """A job of one of the target's collections."""

    collection = serializers.CharField(max_length=100, help_text="Its name, or an alias.")
    job = serializers.ChoiceField(choices=[(kind, kind) for kind in KINDS])
    body = JsonObject(required=False, help_text="The body of the vector API's call that starts such a job.")
