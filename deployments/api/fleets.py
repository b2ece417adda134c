"""REST: fleets of targets, and rollouts over them."""

from rest_framework import serializers
from rest_framework.response import Response

from controlplane.api.pagination import ListQuery, Words
from controlplane.api.serializers import JsonObject, StrictSerializer
from controlplane.api.views import ApiView, Route, list_route
from deployments.api.rollouts import release_named
from deployments.api.serializers import ROLES, HealthSummary, ReleaseReference, TargetReference
from deployments.fleets import selectors, services
from deployments.fleets.models import FleetRolloutStatus, MoveStatus, OnFailure, PauseAfter
from deployments.models import TargetStatus
from deployments.strategies import CANARY, ROLLING
from worker.api.answers import accepted
from worker.api.serializers import OperationOut

# What goes to each target's own rollout as it is.
PASSED_ON = ("strategy", "steps", "gates")


class FleetTarget(serializers.Serializer):
    """A fleet's target as it is now."""

    id = serializers.CharField()
    name = serializers.CharField()
    status = serializers.ChoiceField(choices=TargetStatus.choices)
    release = ReleaseReference(allow_null=True)
    health = HealthSummary(source="*")


class FleetMemberOut(serializers.Serializer):
    """A target of a fleet and its role there."""

    target = FleetTarget()
    role = serializers.ChoiceField(choices=ROLES)


class FleetOut(serializers.Serializer):
    """Targets that serve the same thing in several places."""

    id = serializers.CharField()
    name = serializers.CharField()
    members = FleetMemberOut(many=True, help_text="In the order in which a release reaches them.")
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class FleetMemberIn(StrictSerializer):
    """A target of a fleet."""

    target = serializers.CharField(max_length=64, help_text="Name or id.")
    role = serializers.ChoiceField(choices=ROLES, required=False, help_text="The target's own when left out.")


class FleetCreate(StrictSerializer):
    """A new fleet."""

    name = serializers.CharField(max_length=50)
    members = FleetMemberIn(many=True, default=list)


class FleetUpdate(StrictSerializer):
    """What of a fleet may be changed."""

    name = serializers.CharField(max_length=50)
    members = FleetMemberIn(many=True, help_text="The whole new list.")


class FleetQuery(ListQuery):
    """Query of the list of fleets."""

    sorts = {"name": "name", "-name": "-name", "-created_at": "-pk", "created_at": "pk"}


class FleetRolloutCreate(StrictSerializer):
    """What to move a fleet to, and how."""

    release = serializers.CharField(max_length=64, required=False, help_text="v3 or rel_...")
    image = serializers.CharField(max_length=500, required=False)
    config = JsonObject(required=False)
    note = serializers.CharField(max_length=500, required=False, allow_blank=True)
    canary = serializers.CharField(
        max_length=64, required=False, help_text="The target that goes first; the fleet's first by default."
    )
    max_parallel = serializers.IntegerField(
        min_value=1, max_value=100, default=1, help_text="Targets of one wave after the canary."
    )
    max_failures = serializers.IntegerField(
        min_value=0, max_value=100, default=0, help_text="Failed targets that are tolerated."
    )
    on_failure = serializers.ChoiceField(choices=OnFailure.choices, default=OnFailure.STOP)
    pause_after = serializers.ChoiceField(choices=PauseAfter.choices, default=PauseAfter.NEVER)
    strategy = serializers.ChoiceField(
        choices=[ROLLING, CANARY], required=False, help_text="Of each target's rollout."
    )
    steps = serializers.ListField(
        child=serializers.JSONField(), required=False, help_text="Of each target's canary."
    )
    gates = JsonObject(required=False, help_text="Of each target's canary.")

    def validate(self, values):
        if "release" in values and {"image", "config", "note"} & set(values):
            raise serializers.ValidationError(
                {"release": "Give a release, or image, config and note of a new one, not both."}
            )
        return values


class FleetMoveOut(serializers.Serializer):
    """What a fleet's rollout did to one target."""

    target = TargetReference()
    role = serializers.ChoiceField(choices=ROLES)
    wave = serializers.IntegerField(help_text="From 0, which is the canary's.")
    status = serializers.ChoiceField(choices=MoveStatus.choices)
    reason = serializers.CharField()
    before = ReleaseReference(allow_null=True, help_text="What served before.")
    after = ReleaseReference(allow_null=True, help_text="What serves since its move ended.")
    seconds = serializers.FloatField(allow_null=True, help_text="With its way back.")
    rollout = serializers.CharField(source="rollout_id", allow_null=True)
    operation = serializers.SerializerMethodField(help_text="The operation of its rollout.")
    rollback = serializers.CharField(source="rollback_id", allow_null=True)
    rollback_operation = serializers.SerializerMethodField(help_text="The operation of its way back.")
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)

    def get_operation(self, move) -> str | None:
        return move.rollout.operation if move.rollout else None

    def get_rollback_operation(self, move) -> str | None:
        return move.rollback.operation if move.rollback else None


class FleetReference(serializers.Serializer):
    """Which fleet."""

    id = serializers.CharField()
    name = serializers.CharField()


class FleetRolloutOut(serializers.Serializer):
    """One move of a fleet to a release, with its report."""

    id = serializers.CharField()
    fleet = FleetReference()
    release = ReleaseReference()
    status = serializers.ChoiceField(choices=FleetRolloutStatus.choices)
    reason = serializers.CharField(help_text="Why it stopped, was rolled back or failed.")
    pause_requested = serializers.BooleanField(help_text="No further wave is begun.")
    max_parallel = serializers.IntegerField()
    max_failures = serializers.IntegerField()
    on_failure = serializers.ChoiceField(choices=OnFailure.choices)
    pause_after = serializers.ChoiceField(choices=PauseAfter.choices)
    options = JsonObject(help_text="Strategy, steps and gates of each target's rollout.")
    targets = FleetMoveOut(many=True, source="moves", help_text="In the order in which they are reached.")
    operation = serializers.CharField()
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)


class FleetRolloutQuery(ListQuery):
    """Query of the list of a fleet's rollouts."""

    status = Words(choices=FleetRolloutStatus.values)


class FleetsView(ApiView):
    tag = "Fleets"
    routes = {
        "GET": list_route("fleet.read", "List fleets", FleetOut, FleetQuery),
        "POST": Route("fleet.create", "Create a fleet", {201: FleetOut}, body=FleetCreate),
    }

    def get(self, request):
        """The project's fleets, by name."""
        return self.answer_page(selectors.fleets(self.project))

    def post(self, request):
        """Targets in the order in which a release shall reach them; the first is the canary."""
        made = services.fleet_create(project=self.project, created_by=self.actor.name, **self.values)
        headers = {"Location": f"/api/v1/fleets/{made.name}"}
        return self.answer(selectors.fleet_find(self.project, made.pk), status=201, headers=headers)


class FleetView(ApiView):
    tag = "Fleets"
    routes = {
        "GET": Route("fleet.read", "Show a fleet", {200: FleetOut}),
        "PATCH": Route("fleet.update", "Change a fleet", {200: FleetOut}, body=FleetUpdate),
        "DELETE": Route("fleet.delete", "Delete a fleet", {204: None}),
    }

    def get(self, request, fleet):
        """A fleet by name or id."""
        return self.answer(selectors.fleet_find(self.project, fleet))

    def patch(self, request, fleet):
        """Its name, or the whole list of its members. A rollout under way keeps those it began with."""
        found = selectors.fleet_find(self.project, fleet)
        services.fleet_update(fleet=found, requested_by=self.actor.name, **self.values)
        return self.answer(selectors.fleet_find(self.project, found.pk))

    def delete(self, request, fleet):
        """Forgets the fleet and its reports; its targets stay. 409 while a rollout over it is under way."""
        found = selectors.fleet_find(self.project, fleet)
        services.fleet_delete(fleet=found, requested_by=self.actor.name)
        return Response(status=204)


class FleetRolloutsView(ApiView):
    tag = "Fleets"
    routes = {
        "GET": list_route("rollout.read", "List a fleet's rollouts", FleetRolloutOut, FleetRolloutQuery),
        "POST": Route("rollout.create", "Roll out to a fleet", {202: OperationOut}, body=FleetRolloutCreate),
    }

    def get(self, request, fleet):
        """Newest first."""
        found = selectors.fleet_find(self.project, fleet)
        rows = selectors.fleet_rollouts(self.project).filter(fleet=found)
        if "status" in self.params:
            rows = rows.filter(status__in=self.params["status"])
        return self.answer_page(rows)

    def post(self, request, fleet):
        """The canary first, then the others in waves; each target's move is a rollout of its own.

        `input.fleet_rollout` of the operation is the id of the report.
        """
        values = dict(self.values)
        found = selectors.fleet_find(self.project, fleet)
        release = release_named(self.project, values)
        values.pop("release", None)
        options = {name: values.pop(name) for name in PASSED_ON if name in values}
        _, operation = services.fleet_rollout_start(
            fleet=found, release=release, options=options, requested_by=self.actor.name, **values
        )
        return accepted(self, operation)


class FleetRolloutView(ApiView):
    tag = "Fleets"
    routes = {"GET": Route("rollout.read", "Show a rollout over a fleet", {200: FleetRolloutOut})}

    def get(self, request, fleet_rollout):
        """The report: each target's release before and after, its status, why, and how long it took."""
        return self.answer(selectors.fleet_rollout_find(self.project, fleet_rollout))


class FleetRolloutAbortView(ApiView):
    tag = "Fleets"
    routes = {"POST": Route("rollout.control", "Abort a rollout over a fleet", {202: OperationOut})}

    def post(self, request, fleet_rollout):
        """Every target goes back to what served before, those that have moved too."""
        found = selectors.fleet_rollout_find(self.project, fleet_rollout)
        return accepted(self, services.fleet_rollout_abort(rollout=found, requested_by=self.actor.name))


class FleetRolloutPauseView(ApiView):
    tag = "Fleets"
    routes = {"POST": Route("rollout.control", "Pause a rollout over a fleet", {200: FleetRolloutOut})}

    def post(self, request, fleet_rollout):
        """Begins no further wave; what moves now is let to its end. 409 when no wave is left."""
        found = selectors.fleet_rollout_find(self.project, fleet_rollout)
        services.fleet_rollout_pause(rollout=found, requested_by=self.actor.name)
        return self.answer(selectors.fleet_rollout_find(self.project, found.pk))


class FleetRolloutResumeView(ApiView):
    tag = "Fleets"
    routes = {"POST": Route("rollout.control", "Resume a rollout over a fleet", {200: FleetRolloutOut})}

    def post(self, request, fleet_rollout):
        """Goes on with the next wave; 409 when it is not paused."""
        found = selectors.fleet_rollout_find(self.project, fleet_rollout)
        services.fleet_rollout_resume(rollout=found, requested_by=self.actor.name)
        return self.answer(selectors.fleet_rollout_find(self.project, found.pk))
