"""REST: recommendations and what people decide on them; unit costs."""

from datetime import timedelta

from django.utils import timezone
from rest_framework import serializers

from controlplane.api.pagination import ListQuery, Words
from controlplane.api.serializers import JsonObject, Money, StrictSerializer
from controlplane.api.views import ApiView, Route, list_route
from controlplane.errors import InvalidError
from costs import recommendations as services
from costs.estimates_math import money
from costs.models_planning import Recommendation, RecommendationStatus
from costs.units import LEVELS, unit_costs
from deployments.selectors import target_find
from worker.api.answers import accepted
from worker.api.serializers import OperationOut

CONFIDENCES = Recommendation._meta.get_field("confidence").choices


class ImplementationOut(serializers.Serializer):
    """How it is carried out."""

    steps = serializers.ListField(child=serializers.CharField())
    effort = serializers.CharField(help_text="low, medium or high")
    restart = serializers.BooleanField(help_text="Whether something restarts.")
    reversible = serializers.BooleanField()
    spec = JsonObject(
        help_text="What accepting it changes in the target's spec, as a plan; empty when nothing."
    )


class RealisedOut(Money):
    """What the bill says it saved a month."""

    days = serializers.IntegerField(help_text="Settled days since it was accepted.")


class RecommendationOut(serializers.Serializer):
    """One way to pay less."""

    id = serializers.CharField()
    cloud = serializers.CharField(help_text="ProviderName of the bill.")
    type = serializers.CharField(
        help_text="spot, right_size, database_size, arm64, idle, orphaned, unused_disk, "
        "unused_address, old_snapshot, "
        "storage_class, nat_traffic, commitment, autoscaler_bounds, or a cloud recommender's own"
    )
    source = serializers.CharField(help_text="records, metrics, or a cloud's recommender")
    resource = serializers.CharField()
    resource_name = serializers.CharField()
    region = serializers.CharField()
    target = serializers.CharField(source="target.name", default=None, allow_null=True)
    savings = serializers.SerializerMethodField(help_text="A month.")
    cost = serializers.SerializerMethodField(help_text="What it is about costs a month now.")
    confidence = serializers.ChoiceField(choices=CONFIDENCES)
    summary = serializers.CharField()
    implementation = ImplementationOut()
    evidence = JsonObject()
    status = serializers.ChoiceField(choices=RecommendationStatus.choices)
    reason = serializers.CharField(help_text="Why it was dismissed, snoozed or refused.")
    snoozed_until = serializers.DateTimeField(allow_null=True)
    superseded_by = serializers.SerializerMethodField(
        help_text="The one that counts instead, since both cannot be carried out; null when this one counts."
    )
    plan = serializers.SerializerMethodField(help_text="The plan that accepting it made, or null.")
    realised = serializers.SerializerMethodField(
        help_text="Null before 3 settled days after it was accepted."
    )
    decided_by = serializers.CharField()
    decided_at = serializers.DateTimeField(allow_null=True)
    found_at = serializers.DateTimeField()
    seen_at = serializers.DateTimeField(help_text="When it was found last.")

    def get_savings(self, one) -> Money:
        return money(one.amount, one.currency)

    def get_cost(self, one) -> Money:
        return money(one.cost, one.currency)

    def get_superseded_by(self, one) -> str | None:
        return one.superseded_by or None

    def get_plan(self, one) -> str | None:
        return one.plan or None

    def get_realised(self, one) -> RealisedOut(allow_null=True):
        found = services.realised(one)
        return found and {**money(found["amount"], found["currency"]), "days": found["days"]}


class RecommendationQuery(ListQuery):
    """Query of the list of recommendations."""

    sorts = {"-savings": "-amount", "savings": "amount", "-found_at": "-found_at"}
    status = Words(
        choices=RecommendationStatus.values, help_text="Separated by commas; open ones without it."
    )
    type = serializers.CharField(required=False, max_length=40)
    cloud = serializers.CharField(required=False, max_length=200)
    target = serializers.CharField(required=False, max_length=64)
    counted = serializers.BooleanField(
        required=False, help_text="True: without those that another stands for."
    )


class Dismissal(StrictSerializer):
    """Why it is dismissed."""

    reason = serializers.CharField(max_length=500)


class Snooze(StrictSerializer):
    """For how long."""

    days = serializers.IntegerField(min_value=1, max_value=services.LONGEST_SNOOZE_DAYS)
    reason = serializers.CharField(max_length=500, required=False, allow_blank=True, default="")


class RecommendationsView(ApiView):
    tag = "Costs"
    routes = {
        "GET": list_route("cost.read", "List recommendations", RecommendationOut, RecommendationQuery),
        "POST": Route("cost.recommendation.search", "Search for savings", {202: OperationOut}),
    }

    def get(self, request):
        """The greatest saving first. Savings of different currencies are not comparable: filter by cloud."""
        rows = services.recommendations(self.project)
        rows = rows.filter(status__in=self.params.get("status") or [RecommendationStatus.OPEN])
        for name in ("type", "cloud"):
            if name in self.params:
                rows = rows.filter(**{name: self.params[name]})
        if "target" in self.params:
            rows = rows.filter(target=target_find(self.project, self.params["target"]))
        if self.params.get("counted"):
            rows = rows.filter(superseded_by="")
        return self.answer_page(rows)

    def post(self, request):
        """Reads the records and metrics now; it also happens by itself every 6 hours."""
        return accepted(
            self, services.recommendations_search(project=self.project, requested_by=self.actor.name)
        )


class RecommendationView(ApiView):
    tag = "Costs"
    routes = {"GET": Route("cost.read", "Show a recommendation", {200: RecommendationOut})}

    def get(self, request, recommendation):
        """With what it follows from, and what it saved once accepted."""
        return self.answer(services.recommendation_find(self.project, recommendation))


class _Decision(ApiView):
    tag = "Costs"

    def found(self, reference):
        return services.recommendation_find(self.project, reference)


class RecommendationAcceptView(_Decision):
    routes = {
        "POST": Route("cost.recommendation.decide", "Accept a recommendation", {200: RecommendationOut})
    }

    def post(self, request, recommendation):
        """Where the target's spec can do it, `plan` is a plan to look at and apply; else the steps are
        yours.
        """
        held, _ = services.recommendation_accept(
            recommendation=self.found(recommendation), accepted_by=self.actor.name
        )
        return self.answer(held)


class RecommendationDismissView(_Decision):
    routes = {
        "POST": Route(
            "cost.recommendation.decide", "Dismiss a recommendation", {200: RecommendationOut}, body=Dismissal
        )
    }

    def post(self, request, recommendation):
        """It is not shown again while it is found; POST reopen takes that back."""
        held = services.recommendation_dismiss(
            recommendation=self.found(recommendation), dismissed_by=self.actor.name, **self.values
        )
        return self.answer(held)


class RecommendationSnoozeView(_Decision):
    routes = {
        "POST": Route(
            "cost.recommendation.decide", "Snooze a recommendation", {200: RecommendationOut}, body=Snooze
        )
    }

    def post(self, request, recommendation):
        """It is open again with the first search after those days, if it is still found."""
        held = services.recommendation_snooze(
            recommendation=self.found(recommendation), snoozed_by=self.actor.name, **self.values
        )
        return self.answer(held)


class RecommendationReopenView(_Decision):
    routes = {
        "POST": Route("cost.recommendation.decide", "Reopen a recommendation", {200: RecommendationOut})
    }

    def post(self, request, recommendation):
        """Takes back that it was accepted, dismissed or snoozed."""
        held = services.recommendation_reopen(
            recommendation=self.found(recommendation), reopened_by=self.actor.name
        )
        return self.answer(held)


class UnitOut(serializers.Serializer):
    """What a unit of one target, collection or namespace costs."""

    target = serializers.CharField(source="target.name")
    collection = serializers.CharField(help_text="Empty for a whole target.")
    namespace = serializers.CharField()
    cost = serializers.SerializerMethodField(help_text="Effective cost over the period.")
    basis = serializers.CharField(help_text="attributed, or share of bytes of the target's cost")
    requests = serializers.IntegerField(allow_null=True)
    vectors = serializers.DecimalField(
        max_digits=30, decimal_places=0, allow_null=True, help_text="Mean stored."
    )
    gib = serializers.DecimalField(max_digits=30, decimal_places=6, allow_null=True, help_text="Mean stored.")
    per_million_requests = serializers.SerializerMethodField()
    per_million_vectors = serializers.SerializerMethodField(help_text="A month.")
    per_gib = serializers.SerializerMethodField(help_text="A month.")

    def get_cost(self, unit) -> Money:
        return money(unit.cost, unit.currency)

    def _money(self, amount, unit) -> dict | None:
        return None if amount is None else {"amount": f"{amount:.4f}", "currency": unit.currency}

    def get_per_million_requests(self, unit) -> Money(allow_null=True):
        return self._money(unit.per_million_requests, unit)

    def get_per_million_vectors(self, unit) -> Money(allow_null=True):
        return self._money(unit.per_million_vectors, unit)

    def get_per_gib(self, unit) -> Money(allow_null=True):
        return self._money(unit.per_gib, unit)


class UnitsQuery(StrictSerializer):
    """Of which days, and how fine."""

    since = serializers.DateField(required=False, help_text="The last 30 days by itself.")
    until = serializers.DateField(required=False, help_text="The first day that does not count.")
    by = serializers.ChoiceField(choices=[(one, one) for one in LEVELS], default="target")


class UnitsOut(serializers.Serializer):
    """Unit costs of a period."""

    since = serializers.DateField()
    until = serializers.DateField()
    items = UnitOut(many=True)


class UnitCostsView(ApiView):
    tag = "Costs"
    routes = {"GET": Route("cost.read", "Show unit costs", {200: UnitsOut}, query=UnitsQuery)}

    def get(self, request):
        """A million requests, a million stored vectors, a GiB; null is not measured. The dearest first."""
        until = self.params.get("until") or timezone.now().date()
        since = self.params.get("since") or until - timedelta(days=30)
        if not since < until or (until - since).days > 400:
            raise InvalidError("`since` is before `until`, by up to 400 days.", field="since")
        items = unit_costs(self.project, since, until, by=self.params["by"])
        return self.answer({"since": since, "until": until, "items": items})
