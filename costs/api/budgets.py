"""REST: budgets, their alerts, and the channels alerts go to."""

from decimal import Decimal

from rest_framework import serializers
from rest_framework.response import Response

from controlplane.api.pagination import ListQuery
from controlplane.api.serializers import Money, StrictSerializer
from controlplane.api.views import ApiView, Route, list_route
from costs import alert_channels, budgets
from costs.estimates_math import money
from costs.models_planning import BudgetPeriod, BudgetScope, ChannelKind, Measure
from deployments.selectors import target_find
from worker.api.answers import accepted
from worker.api.serializers import OperationOut

ON = [("actual", "Actual"), ("forecast", "Forecast")]


class Threshold(StrictSerializer):
    """A share of the amount that is alerted on, once a period."""

    on = serializers.ChoiceField(choices=ON)
    percent = serializers.IntegerField(min_value=1, max_value=budgets.MOST_PERCENT)


class BudgetOut(serializers.Serializer):
    """An amount a period, with its thresholds."""

    id = serializers.CharField()
    name = serializers.CharField()
    scope = serializers.ChoiceField(choices=BudgetScope.choices)
    target = serializers.CharField(source="target.name", default=None, allow_null=True)
    cloud = serializers.CharField(help_text="ProviderName of the bill; empty for other scopes.")
    amount = serializers.SerializerMethodField()
    period = serializers.ChoiceField(choices=BudgetPeriod.choices)
    measure = serializers.ChoiceField(choices=Measure.choices)
    thresholds = Threshold(many=True)
    channels = serializers.SerializerMethodField(help_text="Names.")
    enabled = serializers.BooleanField()
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()

    def get_amount(self, budget) -> Money:
        return {"amount": f"{budget.amount.normalize():f}", "currency": budget.currency}

    def get_channels(self, budget) -> list[str]:
        return sorted(channel.name for channel in budget.channels.all())


class ForecastOut(serializers.Serializer):
    """The amount by the period's end, with the range it will probably be in."""

    amount = serializers.CharField()
    low = serializers.CharField()
    high = serializers.CharField()
    currency = serializers.CharField()


class StandingOut(serializers.Serializer):
    """How a budget stands in its present period."""

    state = serializers.ChoiceField(
        choices=[(one, one) for one in ("ok", "at_risk", "exceeded", "no_data")],
        help_text="at_risk: by forecast",
    )
    period_start = serializers.DateField()
    period_end = serializers.DateField(help_text="The first day after it.")
    data_until = serializers.DateField(allow_null=True, help_text="The first day without any record.")
    actual = Money()
    percent = serializers.FloatField()
    forecast = ForecastOut(allow_null=True, help_text="Null with less than a week of data.")
    forecast_percent = serializers.FloatField(allow_null=True)
    not_converted = Money(
        many=True, help_text="Spent in currencies that no exchange rate converts; not counted."
    )


class BudgetShown(BudgetOut):
    """A budget with how it stands."""

    standing = serializers.SerializerMethodField()

    def get_standing(self, budget) -> StandingOut:
        return standing_shown(budgets.standing(budget))


class BudgetCreate(StrictSerializer):
    """A new budget."""

    name = serializers.CharField(max_length=80)
    scope = serializers.ChoiceField(choices=BudgetScope.choices, default="project")
    target = serializers.CharField(max_length=64, required=False)
    cloud = serializers.CharField(
        max_length=200, required=False, help_text="ProviderName of the bill, as AWS."
    )
    amount = serializers.DecimalField(max_digits=24, decimal_places=6, min_value=Decimal("0.000001"))
    currency = serializers.RegexField(r"\A[A-Z]{3}\Z")
    period = serializers.ChoiceField(choices=BudgetPeriod.choices, default="month")
    measure = serializers.ChoiceField(choices=Measure.choices, default="EffectiveCost")
    thresholds = Threshold(
        many=True, required=False, help_text="100 % of actual and of forecast when left out."
    )
    channels = serializers.ListField(
        child=serializers.CharField(max_length=80), required=False, help_text="Names."
    )
    enabled = serializers.BooleanField(default=True)


class BudgetUpdate(StrictSerializer):
    """What of a budget changes."""

    name = serializers.CharField(max_length=80)
    amount = serializers.DecimalField(max_digits=24, decimal_places=6, min_value=Decimal("0.000001"))
    currency = serializers.RegexField(r"\A[A-Z]{3}\Z")
    period = serializers.ChoiceField(choices=BudgetPeriod.choices)
    measure = serializers.ChoiceField(choices=Measure.choices)
    thresholds = Threshold(many=True)
    channels = serializers.ListField(child=serializers.CharField(max_length=80), help_text="Names.")
    enabled = serializers.BooleanField()


class BudgetQuery(ListQuery):
    """Query of the list of budgets."""

    sorts = {"name": "name", "-name": "-name", "-created_at": "-pk"}
    scope = serializers.ChoiceField(choices=BudgetScope.choices, required=False)


class AlertOut(serializers.Serializer):
    """A threshold that was reached."""

    id = serializers.CharField()
    period_start = serializers.DateField()
    on = serializers.ChoiceField(choices=ON)
    percent = serializers.IntegerField()
    seen = serializers.SerializerMethodField(help_text="What was spent or forecast then.")
    limit = serializers.SerializerMethodField(help_text="The budget's amount then.")
    operations = serializers.DictField(child=serializers.CharField(), help_text="Deliveries by channel id.")
    at = serializers.DateTimeField()

    def get_seen(self, alert) -> Money:
        return money(alert.seen, alert.currency)

    def get_limit(self, alert) -> Money:
        return money(alert.amount, alert.currency)


def standing_shown(now: budgets.Standing) -> dict:
    """A standing as StandingOut gives it."""
    spent, currency = now.spend, now.budget.currency
    forecast = None
    if spent.forecast is not None:
        parts = {"amount": spent.forecast, "low": spent.low, "high": spent.high}
        forecast = {name: money(value, currency)["amount"] for name, value in parts.items()}
        forecast["currency"] = currency
    by_forecast = now.percent("forecast")
    return {
        "state": now.state,
        "period_start": spent.since.isoformat(),
        "period_end": spent.end.isoformat(),
        "data_until": spent.until and spent.until.isoformat(),
        "actual": money(spent.actual, currency),
        "percent": round(float(now.percent("actual")), 1),
        "forecast": forecast,
        "forecast_percent": None if by_forecast is None else round(float(by_forecast), 1),
        "not_converted": [money(amount, other) for other, amount in sorted(spent.others.items())],
    }


def _resolved(view: ApiView, values: dict) -> dict:
    """Names of target and channels as rows of the caller's project."""
    values = dict(values)
    if "target" in values:
        values["target"] = target_find(view.project, values["target"])
    if "channels" in values:
        values["channels"] = [
            alert_channels.alert_channel_find(view.project, name) for name in values["channels"]
        ]
    if "thresholds" in values:
        values["thresholds"] = [dict(one) for one in values["thresholds"]]
    return values


class BudgetsView(ApiView):
    tag = "Costs"
    routes = {
        "GET": list_route("cost.read", "List budgets", BudgetOut, BudgetQuery),
        "POST": Route("cost.budget.manage", "Create a budget", {201: BudgetShown}, body=BudgetCreate),
    }

    def get(self, request):
        """The project's budgets, by name."""
        rows = budgets.budgets(self.project).prefetch_related("channels")
        if "scope" in self.params:
            rows = rows.filter(scope=self.params["scope"])
        return self.answer_page(rows)

    def post(self, request):
        """Thresholds are alerted on once a period each, through every channel of the budget."""
        made = budgets.budget_create(
            project=self.project, created_by=self.actor.name, **_resolved(self, self.values)
        )
        return self.answer(made, status=201, headers={"Location": f"/api/v1/costs/budgets/{made.name}"})


class BudgetView(ApiView):
    tag = "Costs"
    routes = {
        "GET": Route("cost.read", "Show a budget", {200: BudgetShown}),
        "PATCH": Route("cost.budget.manage", "Change a budget", {200: BudgetShown}, body=BudgetUpdate),
        "DELETE": Route("cost.budget.manage", "Delete a budget", {204: None}),
    }

    def get(self, request, budget):
        """A budget by name or id, with what is spent and forecast of it."""
        return self.answer(budgets.budget_find(self.project, budget))

    def patch(self, request, budget):
        """Its scope stays; alerts of the present period are not sent again."""
        found = budgets.budget_find(self.project, budget)
        budgets.budget_update(budget=found, updated_by=self.actor.name, **_resolved(self, self.values))
        return self.answer(budgets.budget_find(self.project, found.pk))

    def delete(self, request, budget):
        """With its past alerts."""
        budgets.budget_delete(budget=budgets.budget_find(self.project, budget), deleted_by=self.actor.name)
        return Response(status=204)


class BudgetAlertsView(ApiView):
    tag = "Costs"
    routes = {"GET": list_route("cost.read", "List alerts of a budget", AlertOut)}

    def get(self, request, budget):
        """Newest first."""
        return self.answer_page(budgets.budget_find(self.project, budget).alerts.all())


class ChannelOut(serializers.Serializer):
    """Where alerts go."""

    id = serializers.CharField()
    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=ChannelKind.choices)
    address = serializers.SerializerMethodField(help_text="Recipients, or scheme and host of a webhook.")
    enabled = serializers.BooleanField()
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()

    def get_address(self, channel) -> str:
        return alert_channels.shown_address(channel)


class ChannelMade(ChannelOut):
    """A new channel with its key, which is told this once."""

    signing_key = serializers.SerializerMethodField(
        help_text="Of a webhook's X-Aindus-Signature; null for others."
    )

    def get_signing_key(self, channel) -> str | None:
        return channel.secrets.get("signing_key")


class ChannelCreate(StrictSerializer):
    """A new channel: `recipients` of e-mail, `url` of the others."""

    name = serializers.CharField(max_length=80)
    kind = serializers.ChoiceField(choices=ChannelKind.choices)
    recipients = serializers.ListField(child=serializers.CharField(max_length=254), required=False)
    url = serializers.CharField(max_length=2000, required=False)


class ChannelsView(ApiView):
    tag = "Costs"
    routes = {
        "GET": list_route("cost.channel.read", "List alert channels", ChannelOut),
        "POST": Route(
            "cost.channel.manage", "Create an alert channel", {201: ChannelMade}, body=ChannelCreate
        ),
    }

    def get(self, request):
        """Without the addresses and keys of webhooks."""
        return self.answer_page(alert_channels.alert_channels(self.project))

    def post(self, request):
        """A webhook's posts are signed with `signing_key`, which is in this answer alone."""
        made = alert_channels.alert_channel_create(
            project=self.project, created_by=self.actor.name, **self.values
        )
        return self.answer(
            made, status=201, headers={"Location": f"/api/v1/costs/alert-channels/{made.name}"}
        )


class ChannelView(ApiView):
    tag = "Costs"
    routes = {
        "GET": Route("cost.channel.read", "Show an alert channel", {200: ChannelOut}),
        "DELETE": Route("cost.channel.manage", "Delete an alert channel", {204: None}),
    }

    def get(self, request, channel):
        """A channel by name or id."""
        return self.answer(alert_channels.alert_channel_find(self.project, channel))

    def delete(self, request, channel):
        """Budgets go on alerting on their other channels."""
        alert_channels.alert_channel_delete(
            channel=alert_channels.alert_channel_find(self.project, channel), deleted_by=self.actor.name
        )
        return Response(status=204)


class ChannelTestView(ApiView):
    tag = "Costs"
    routes = {"POST": Route("cost.channel.test", "Test an alert channel", {202: OperationOut})}

    def post(self, request, channel):
        """Sends a message that says it is a test; the operation tells how it went."""
        found = alert_channels.alert_channel_find(self.project, channel)
        return accepted(self, alert_channels.alert_channel_test(channel=found, requested_by=self.actor.name))
