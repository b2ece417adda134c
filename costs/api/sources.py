"""REST: the sources that records come from."""

from rest_framework import serializers
from rest_framework.response import Response

from controlplane.api.pagination import ListQuery
from controlplane.api.serializers import JsonObject, StrictSerializer
from controlplane.api.views import ApiView, Route, list_route
from costs import imports, syncing
from costs.api.reports import Exact
from costs.models import SourceKind
from costs.sources.registry import SOURCES
from worker.api.answers import accepted
from worker.api.serializers import OperationOut


class CostSourceOut(serializers.Serializer):
    """A source, without its credentials."""

    id = serializers.CharField()
    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=SourceKind.choices)
    config = JsonObject()
    has_credentials = serializers.SerializerMethodField()
    enabled = serializers.BooleanField()
    every_hours = serializers.IntegerField()
    last_attempt_at = serializers.DateTimeField(allow_null=True)
    last_success_at = serializers.DateTimeField(allow_null=True)
    last_error = serializers.CharField(allow_blank=True)
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()

    def get_has_credentials(self, source) -> bool:
        return bool(source.credentials)


class CostSourceCreate(StrictSerializer):
    """A source that is read by itself."""

    name = serializers.CharField(max_length=80)
    kind = serializers.ChoiceField(choices=[(kind, kind) for kind in SOURCES])
    config = JsonObject(help_text="By the kind: bucket and prefix, project and table, scope.")
    credentials = JsonObject(required=False, default=dict, help_text="By the kind. Write-only.")
    every_hours = serializers.IntegerField(min_value=1, max_value=168, default=6)


class CostSourceUpdate(StrictSerializer):
    """What may be changed of a source."""

    config = JsonObject(required=False)
    credentials = JsonObject(required=False, help_text="All of them. Write-only.")
    enabled = serializers.BooleanField(required=False)
    every_hours = serializers.IntegerField(min_value=1, max_value=168, required=False)


class CostSourceQuery(ListQuery):
    """Query of the list of sources."""

    sorts = {"name": "name", "-name": "-name"}


class CostSourceMonth(serializers.Serializer):
    """A billing month of a source, beside the provider's own total."""

    month = serializers.CharField()
    currency = serializers.CharField()
    rows = serializers.IntegerField()
    billed = Exact()
    provider_total = Exact(allow_null=True, help_text="null when the provider tells none.")
    variance = Exact(allow_null=True, help_text="What is here less what the provider says.")
    read_at = serializers.DateTimeField(allow_null=True)


class CostSourceMonths(serializers.Serializer):
    """Newest first."""

    newest_day = serializers.DateField(allow_null=True, help_text="The last day that there are charges of.")
    items = CostSourceMonth(many=True)


class CostSourcesView(ApiView):
    tag = "Costs"
    routes = {
        "GET": list_route("cost.read", "List sources of costs", CostSourceOut, CostSourceQuery),
        "POST": Route(
            "cost.source.manage", "Connect a source of costs", {201: CostSourceOut}, body=CostSourceCreate
        ),
    }

    def get(self, request):
        """By name; uploads too."""
        return self.answer_page(imports.cost_sources(self.project))

    def post(self, request):
        """It is read within minutes, then every `every_hours`."""
        made = syncing.cost_source_create(project=self.project, created_by=self.actor.name, **self.values)
        return self.answer(made, status=201, headers={"Location": f"/api/v1/costs/sources/{made.pk}"})


class CostSourceView(ApiView):
    tag = "Costs"
    routes = {
        "GET": Route("cost.read", "Show a source of costs", {200: CostSourceOut}),
        "PATCH": Route(
            "cost.source.manage", "Change a source of costs", {200: CostSourceOut}, body=CostSourceUpdate
        ),
        "DELETE": Route("cost.source.manage", "Delete a source and its records", {204: None}),
    }

    def get(self, request, cost_source):
        """A source by name or id."""
        return self.answer(imports.cost_source_find(self.project, cost_source))

    def patch(self, request, cost_source):
        """Credentials are replaced as a whole."""
        found = imports.cost_source_find(self.project, cost_source)
        return self.answer(
            syncing.cost_source_update(source=found, requested_by=self.actor.name, **self.values)
        )

    def delete(self, request, cost_source):
        """Deletes all its records as well."""
        found = imports.cost_source_find(self.project, cost_source)
        syncing.cost_source_delete(source=found, requested_by=self.actor.name)
        return Response(status=204)


class CostSourceSyncView(ApiView):
    tag = "Costs"
    routes = {"POST": Route("cost.source.sync", "Read a source now", {202: OperationOut})}

    def post(self, request, cost_source):
        """409 while it is read or imported already, and for uploads."""
        found = imports.cost_source_find(self.project, cost_source)
        return accepted(self, syncing.cost_source_sync(source=found, requested_by=self.actor.name))


class CostSourceMonthsView(ApiView):
    tag = "Costs"
    routes = {"GET": Route("cost.read", "Show what a source gave", {200: CostSourceMonths})}

    def get(self, request, cost_source):
        """Rows and sums by billing month, beside the provider's own totals."""
        found = imports.cost_source_find(self.project, cost_source)
        return self.answer({"newest_day": syncing.newest_day_of(found), "items": syncing.months_of(found)})
