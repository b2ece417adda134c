"""REST: drift of a target, and what is decided about it."""

from rest_framework import serializers
from rest_framework.response import Response

from controlplane.api.pagination import ListQuery, Words
from controlplane.api.serializers import JsonObject, StrictSerializer, page_of
from controlplane.api.views import ApiView, Route, list_route
from deployments import selectors
from deployments.api.serializers import TargetReference
from deployments.drift import services
from deployments.drift.models import DriftDecision
from deployments.drift.selectors import (
    IGNORED,
    OPEN,
    STATES,
    decision_find,
    finding_find,
    findings,
    in_states,
)
from deployments.services import provider_errors
from worker.api.answers import accepted
from worker.api.serializers import OperationOut


class DriftDecisionOut(serializers.Serializer):
    """What was decided about a finding, by whom and why."""

    id = serializers.CharField()
    action = serializers.ChoiceField(choices=DriftDecision.Action.choices)
    reason = serializers.CharField()
    by = serializers.CharField()
    at = serializers.DateTimeField()
    operation = serializers.CharField(help_text="That reverted it.")
    spec_before = JsonObject(help_text="Fields of the spec that adopting changed.")
    spec_after = JsonObject()
    can_be_undone = serializers.BooleanField()
    undone_by = serializers.CharField()
    undone_at = serializers.DateTimeField(allow_null=True)


class DriftOut(serializers.Serializer):
    """One field of one object that is not as it was made."""

    id = serializers.CharField()
    target = TargetReference()
    state = serializers.ChoiceField(choices=[(name, name) for name in STATES])
    source = serializers.CharField(help_text="provider, or workload: who looks after the object.")
    kind = serializers.CharField()
    name = serializers.CharField()
    field = serializers.CharField(help_text="Empty: the whole object.")
    expected = serializers.JSONField(allow_null=True)
    actual = serializers.JSONField(allow_null=True, help_text="null: it is not there.")
    by = serializers.CharField(help_text="Who changed it, where that is known.")
    first_seen_at = serializers.DateTimeField()
    last_seen_at = serializers.DateTimeField()
    resolved_at = serializers.DateTimeField(allow_null=True)
    decisions = DriftDecisionOut(many=True, source="decisions.all")


class DriftQuery(ListQuery):
    """Query of the list of findings."""

    state = Words(choices=list(STATES), help_text="Separated by commas; open and ignored when left out.")


class DriftReason(StrictSerializer):
    """Why it is decided so."""

    reason = serializers.CharField(max_length=500)


class TargetDriftView(ApiView):
    tag = "Drift"
    routes = {"GET": list_route("drift.read", "List a target's drift", DriftOut, DriftQuery)}

    def get(self, request, target):
        """What was found by the last look, which is made each minute; newest first."""
        found = selectors.target_find(self.project, target)
        rows = findings(self.project).filter(target=found)
        return self.answer_page(in_states(rows, self.params.get("state") or (OPEN, IGNORED)))


class DriftCheckView(ApiView):
    tag = "Drift"
    routes = {"POST": Route("drift.decide", "Look for drift now", {200: page_of(DriftOut)})}

    def post(self, request, target):
        """Asks the provider and the cluster now, and answers what is not as it was made."""
        found = selectors.target_find(self.project, target)
        with provider_errors():
            rows = services.drift_check(target=found)
        items = DriftOut(rows, many=True).data
        return Response({"items": items, "next_cursor": None})


class DriftFindingView(ApiView):
    tag = "Drift"
    routes = {"GET": Route("drift.read", "Show a drift", {200: DriftOut})}

    def get(self, request, finding):
        """A finding by id, with what was decided about it."""
        return self.answer(finding_find(self.project, finding))


class DriftRevertView(ApiView):
    tag = "Drift"
    routes = {"POST": Route("drift.decide", "Revert a drift", {202: OperationOut}, body=DriftReason)}

    def post(self, request, finding):
        """Puts this field back to how it was made, and no other."""
        found = finding_find(self.project, finding)
        _, operation = services.drift_revert(finding=found, requested_by=self.actor.name, **self.values)
        return accepted(self, operation)


class DriftAdoptView(ApiView):
    tag = "Drift"
    routes = {"POST": Route("drift.decide", "Adopt a drift", {200: DriftOut}, body=DriftReason)}

    def post(self, request, finding):
        """Makes what is there what is wanted: the spec says it. 409 says why where the spec cannot."""
        found = finding_find(self.project, finding)
        services.drift_adopt(finding=found, requested_by=self.actor.name, **self.values)
        return self.answer(finding_find(self.project, found.pk))


class DriftIgnoreView(ApiView):
    tag = "Drift"
    routes = {"POST": Route("drift.decide", "Ignore a drift", {200: DriftOut}, body=DriftReason)}

    def post(self, request, finding):
        """Leaves the field as it is, until it changes again."""
        found = finding_find(self.project, finding)
        services.drift_ignore(finding=found, requested_by=self.actor.name, **self.values)
        return self.answer(finding_find(self.project, found.pk))


class DriftUndoView(ApiView):
    tag = "Drift"
    routes = {"POST": Route("drift.decide", "Undo a decision", {200: DriftOut})}

    def post(self, request, decision):
        """Takes back that a drift was ignored or adopted. 409 where the spec was changed since."""
        found = decision_find(self.project, decision)
        services.drift_undo(decision=found, requested_by=self.actor.name)
        return self.answer(finding_find(self.project, found.finding_id))
