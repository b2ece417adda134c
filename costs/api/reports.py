"""REST: reports, comparison, forecast, anomalies, and records as FOCUS files."""

from datetime import date

from django.utils import timezone
from rest_framework import serializers

from controlplane.api.serializers import Money, StrictSerializer
from controlplane.api.views import ApiView, Route
from costs import exports, forecasts, reports
from costs.api.downloads import attachment, streamed
from costs.naming import named, resolved
from costs.reports import COST_OF, GROUPS, STEPS, Query

FORMATS = ("json", "csv", "parquet")


class Exact(serializers.CharField):
    """A decimal as text, digit by digit."""

    def to_representation(self, value) -> str:
        return f"{value:f}"


class ExactMoney(Money):
    """An amount with every digit it has, and its currency."""

    amount = Exact(help_text="Decimal text, such as 12.34.")


class SpanQuery(StrictSerializer):
    """Which charges, and which of their costs."""

    since = serializers.DateField(required=False, help_text="From this day on; the month's first by default.")
    until = serializers.DateField(
        required=False, help_text="Before this day; the first of the month after `since` by default."
    )
    cost = serializers.ChoiceField(choices=list(COST_OF), default="effective")
    currency = serializers.RegexField(
        r"\A[A-Z]{3}\Z", required=False, help_text="Convert into it by the exchange rates of each day."
    )

    def get_fields(self):
        fields = super().get_fields()
        for name in GROUPS:
            if name != "currency":
                fields[name] = serializers.CharField(
                    required=False,
                    allow_blank=True,
                    help_text="A target's name or id."
                    if name == "target"
                    else "Only charges with this value.",
                )
        fields["tag"] = serializers.CharField(
            required=False, max_length=600, help_text="Only charges with this tag, as KEY:VALUE."
        )
        return fields


class ReportQuery(SpanQuery):
    """What a report is by."""

    group = serializers.CharField(
        default="cloud",
        allow_blank=True,
        help_text=f"One or more of {', '.join(GROUPS)}, and tag:KEY; separated by commas.",
    )
    step = serializers.ChoiceField(choices=STEPS, required=False, help_text="The whole span without it.")
    limit = serializers.IntegerField(min_value=1, max_value=50_000, default=1000)
    format = serializers.ChoiceField(choices=FORMATS, default="json")


class ReportRow(serializers.Serializer):
    """A sum."""

    keys = serializers.DictField(
        child=serializers.CharField(allow_blank=True), help_text="Value by group; empty where there is none."
    )
    day = serializers.DateField(allow_null=True, help_text="The step's first day.")
    amount = ExactMoney(source="*")
    records = serializers.IntegerField()


class ReportOut(serializers.Serializer):
    """Sums; amounts of different currencies are never added."""

    since = serializers.DateField()
    until = serializers.DateField()
    cost = serializers.ChoiceField(choices=list(COST_OF))
    items = ReportRow(many=True)
    totals = ExactMoney(many=True, help_text="One for each currency.")
    names = serializers.DictField(child=serializers.CharField(), help_text="Names of targets by id.")
    more = serializers.BooleanField(help_text="Whether `limit` left rows out; totals count all.")


class ComparedRow(serializers.Serializer):
    """A sum beside that of the span before."""

    keys = serializers.DictField(child=serializers.CharField(allow_blank=True))
    currency = serializers.CharField()
    amount = Exact()
    before = Exact()
    difference = Exact()
    change = serializers.FloatField(allow_null=True, help_text="Share of 1; null when there was nothing.")


class ComparisonQuery(SpanQuery):
    """What is compared."""

    group = serializers.CharField(default="cloud", allow_blank=True)
    limit = serializers.IntegerField(min_value=1, max_value=50_000, default=1000)


class ComparisonOut(serializers.Serializer):
    """Sums of a span and of the one before, the largest first."""

    since = serializers.DateField()
    until = serializers.DateField()
    before_since = serializers.DateField()
    items = ComparedRow(many=True)
    more = serializers.BooleanField()


class ForecastQuery(StrictSerializer):
    """Which month."""

    month = serializers.RegexField(r"\A\d{4}-(0[1-9]|1[0-2])\Z", required=False, help_text="As 2026-11.")
    cost = serializers.ChoiceField(choices=list(COST_OF), default="effective")
    cloud = serializers.CharField(required=False)
    target = serializers.CharField(required=False, help_text="A target's name or id.")
    currency = serializers.RegexField(r"\A[A-Z]{3}\Z", required=False)


class ForecastRow(serializers.Serializer):
    """A month's cost at its end; low to high holds it in four of five cases if days go on as they did."""

    currency = serializers.CharField()
    so_far = Exact()
    amount = Exact()
    low = Exact()
    high = Exact()
    days_known = serializers.IntegerField()
    days = serializers.IntegerField()


class MonthForecastOut(serializers.Serializer):
    """One forecast for each currency."""

    month = serializers.CharField()
    items = ForecastRow(many=True)


class CauseRow(serializers.Serializer):
    """A service that had a part in it."""

    service = serializers.CharField()
    amount = Exact()
    usual = Exact()


class AnomalyRow(serializers.Serializer):
    """A day that did not cost what is usual."""

    day = serializers.DateField()
    cloud = serializers.CharField()
    currency = serializers.CharField()
    amount = Exact()
    usual = Exact()
    difference = Exact()
    causes = CauseRow(many=True)


class AnomaliesOut(serializers.Serializer):
    """Newest first."""

    items = AnomalyRow(many=True)


class ExportQuery(StrictSerializer):
    """Which records."""

    since = serializers.RegexField(r"\A\d{4}-(0[1-9]|1[0-2])\Z", help_text="First billing month, as 2026-01.")
    until = serializers.RegexField(
        r"\A\d{4}-(0[1-9]|1[0-2])\Z", required=False, help_text="Last billing month; `since` by default."
    )
    format = serializers.ChoiceField(choices=["csv", "parquet"], default="csv")


def span(params: dict) -> tuple[date, date]:
    """The days of a query, with what it leaves out."""
    since = params.get("since") or timezone.now().date().replace(day=1)
    return since, params.get("until") or reports.months_later(since, 1)


def query_of(project, params: dict) -> Query:
    """A query as it was asked for; NotFoundError for a target that is not."""
    since, until = span(params)
    filters = {name: (params[name],) for name in GROUPS if name != "currency" and name in params}
    if "tag" in params:
        key, _, value = params["tag"].partition(":")
        filters[f"tag:{key}"] = (value,)
    return resolved(
        project,
        Query(
            since=since,
            until=until,
            cost=params["cost"],
            group=tuple(name.strip() for name in params.get("group", "").split(",") if name.strip()),
            filters=filters,
            step=params.get("step"),
            currency=params.get("currency"),
        ),
    )


class ReportView(ApiView):
    tag = "Costs"
    routes = {"GET": Route("cost.read", "Report costs", {200: ReportOut}, query=ReportQuery)}

    def get(self, request):
        """Sums by what is asked for, as JSON or as a CSV or Parquet file."""
        query = query_of(self.project, self.params)
        rows = reports.rows(self.project, query)
        if self.params["format"] != "json":
            name = f"costs-{query.since}-{query.until}.{self.params['format']}"
            return attachment(exports.report_file(query, rows, self.params["format"]), name)
        totals: dict = {}
        for row in rows:
            totals[row.currency] = totals.get(row.currency, 0) + row.amount
        limit = self.params["limit"]
        return self.answer(
            {
                "since": query.since,
                "until": query.until,
                "cost": query.cost,
                "items": rows[:limit],
                "totals": [{"amount": amount, "currency": one} for one, amount in sorted(totals.items())],
                "names": named(self.project, rows),
                "more": len(rows) > limit,
            }
        )


class ComparisonView(ApiView):
    tag = "Costs"
    routes = {
        "GET": Route(
            "cost.read", "Compare costs with the span before", {200: ComparisonOut}, query=ComparisonQuery
        )
    }

    def get(self, request):
        """Whole months are compared with as many whole months, any other span with as many days."""
        query = query_of(self.project, self.params)
        found = reports.compared(self.project, query)
        limit = self.params["limit"]
        return self.answer(
            {
                "since": query.since,
                "until": query.until,
                "before_since": reports.before(query).since,
                "items": found[:limit],
                "more": len(found) > limit,
            }
        )


class ForecastView(ApiView):
    tag = "Costs"
    routes = {"GET": Route("cost.read", "Forecast a month", {200: MonthForecastOut}, query=ForecastQuery)}

    def get(self, request):
        """What the month will have cost at its end, from its days so far and the four weeks before."""
        month = timezone.now().date().replace(day=1)
        if "month" in self.params:
            month = date.fromisoformat(f"{self.params['month']}-01")
        query = query_of(self.project, self.params | {"since": month})
        items = forecasts.month_forecast(self.project, month, query)
        return self.answer({"month": f"{month:%Y-%m}", "items": items})


class AnomaliesView(ApiView):
    tag = "Costs"
    routes = {"GET": Route("cost.read", "List unusual days", {200: AnomaliesOut}, query=SpanQuery)}

    def get(self, request):
        """Days that cost much more or less than the median of the four weeks before, with the services."""
        query = query_of(self.project, self.params)
        found = forecasts.anomalies(self.project, query.since, query.until, query)
        return self.answer({"items": found})


class FocusExportView(ApiView):
    tag = "Costs"
    routes = {
        "GET": Route("cost.read", "Export records as FOCUS 1.2", {200: None}, query=ExportQuery),
    }

    def get(self, request):
        """All records of some billing months, as a CSV or Parquet file of FOCUS 1.2, streamed."""
        first = date.fromisoformat(f"{self.params['since']}-01")
        last = date.fromisoformat(f"{self.params.get('until', self.params['since'])}-01")
        format = self.params["format"]
        chunks = exports.focus_chunks(self.project, first, reports.months_later(last, 1), format)
        return streamed(request, chunks, f"focus-{first:%Y-%m}-{last:%Y-%m}.{format}")
