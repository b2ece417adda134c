"""REST: exchange rates."""

from rest_framework import serializers
from rest_framework.response import Response

from controlplane.api.pagination import ListQuery
from controlplane.api.serializers import StrictSerializer
from controlplane.api.views import ApiView, Route, list_route
from costs import rates


class ExchangeRateOut(serializers.Serializer):
    """What one unit of a currency is worth in another from a day on."""

    id = serializers.CharField()
    date = serializers.DateField(help_text="From this day on, until the pair's next rate.")
    from_currency = serializers.CharField()
    to_currency = serializers.CharField()
    rate = serializers.DecimalField(max_digits=24, decimal_places=12, normalize_output=True)
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()


class ExchangeRateCreate(StrictSerializer):
    """A rate."""

    date = serializers.DateField()
    from_currency = serializers.RegexField(r"\A[A-Z]{3}\Z", help_text="ISO 4217 code.")
    to_currency = serializers.RegexField(r"\A[A-Z]{3}\Z", help_text="ISO 4217 code.")
    rate = serializers.DecimalField(max_digits=24, decimal_places=12)


class ExchangeRateQuery(ListQuery):
    """Query of the list of rates."""

    sorts = {"-date": "-date", "date": "date"}
    from_currency = serializers.CharField(required=False, max_length=3)
    to_currency = serializers.CharField(required=False, max_length=3)


class ExchangeRatesView(ApiView):
    tag = "Costs"
    routes = {
        "GET": list_route("cost.read", "List exchange rates", ExchangeRateOut, ExchangeRateQuery),
        "POST": Route(
            "cost.rate.manage", "Add an exchange rate", {201: ExchangeRateOut}, body=ExchangeRateCreate
        ),
    }

    def get(self, request):
        """Amounts are converted by these alone."""
        rows = rates.exchange_rates(self.project)
        for name in ("from_currency", "to_currency"):
            if name in self.params:
                rows = rows.filter(**{name: self.params[name]})
        return self.answer_page(rows)

    def post(self, request):
        """409 when the pair has a rate of that day."""
        made = rates.exchange_rate_create(project=self.project, created_by=self.actor.name, **self.values)
        return self.answer(made, status=201, headers={"Location": f"/api/v1/costs/exchange-rates/{made.pk}"})


class ExchangeRateView(ApiView):
    tag = "Costs"
    routes = {
        "GET": Route("cost.read", "Show an exchange rate", {200: ExchangeRateOut}),
        "DELETE": Route("cost.rate.manage", "Delete an exchange rate", {204: None}),
    }

    def get(self, request, rate):
        """A rate by id."""
        return self.answer(rates.exchange_rate_find(self.project, rate))

    def delete(self, request, rate):
        """Reports are converted by the pair's rate before it from then on."""
        found = rates.exchange_rate_find(self.project, rate)
        rates.exchange_rate_delete(rate=found, deleted_by=self.actor.name)
        return Response(status=204)
