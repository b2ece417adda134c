"""REST: imports by upload, and the sources that records come from."""

from django.conf import settings
from rest_framework import serializers

from controlplane.api.pagination import ListQuery, Words
from controlplane.api.serializers import StrictSerializer
from controlplane.api.views import ApiView, Route, list_route
from costs import imports
from costs.models import ImportStatus, OnError
from worker.api.answers import accepted
from worker.api.serializers import OperationOut


class ProblemRow(serializers.Serializer):
    """What is wrong with one column of a broken row."""

    file = serializers.CharField()
    line = serializers.IntegerField(help_text="From 1, the header included; in Parquet the row, from 1.")
    column = serializers.CharField(allow_blank=True, help_text="Empty when the row as a whole is broken.")
    reason = serializers.CharField()
    value = serializers.CharField(allow_blank=True)


class TotalRow(serializers.Serializer):
    """What an import adds up to for one provider in one currency; costs as exact decimal text."""

    provider = serializers.CharField()
    currency = serializers.CharField()
    rows = serializers.IntegerField()
    BilledCost = serializers.CharField()
    EffectiveCost = serializers.CharField()
    ListCost = serializers.CharField()
    ContractedCost = serializers.CharField()


class PeriodRow(serializers.Serializer):
    """A billing month that an import replaced."""

    month = serializers.CharField(help_text="As 2026-11.")
    rows = serializers.IntegerField()
    replaced_rows = serializers.IntegerField()


class CostImportOut(serializers.Serializer):
    """One reading of files into records."""

    id = serializers.CharField()
    source = serializers.CharField(source="source.name")
    operation = serializers.CharField(allow_blank=True)
    status = serializers.ChoiceField(choices=ImportStatus.choices)
    on_error = serializers.ChoiceField(choices=OnError.choices)
    bytes = serializers.IntegerField()
    rows = serializers.IntegerField(help_text="Read so far; when it has succeeded, imported.")
    rejected = serializers.IntegerField(help_text="Broken rows.")
    problems = ProblemRow(many=True, help_text="Of the first broken rows.")
    totals = TotalRow(many=True)
    periods = PeriodRow(many=True)
    error = serializers.CharField(allow_blank=True)
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)


class CostImportQuery(ListQuery):
    """Query of the list of imports."""

    status = Words(choices=ImportStatus.values)
    source = serializers.CharField(required=False, max_length=80, help_text="A source by name or id.")


class CostUploadQuery(StrictSerializer):
    """How a file is imported."""

    name = serializers.CharField(max_length=200, default="upload", help_text="The file's name.")
    source = serializers.CharField(
        required=False,
        max_length=80,
        help_text="What the records are kept under; the file's name by default. What a source gave of a"
        " billing month before is replaced.",
    )
    on_error = serializers.ChoiceField(
        choices=OnError.choices,
        default=OnError.FAIL,
        help_text="fail imports nothing when a row is broken; skip leaves broken rows out.",
    )


class CostImportsView(ApiView):
    tag = "Costs"
    routes = {
        "GET": list_route("cost.read", "List imports of costs", CostImportOut, CostImportQuery),
        "POST": Route(
            "cost.import",
            "Import a FOCUS file",
            {202: OperationOut},
            query=CostUploadQuery,
            file="CSV, CSV.gz or Parquet of FOCUS 1.0 to 1.3.",
            idempotent=False,
        ),
    }

    def get(self, request):
        """Newest first."""
        rows = imports.cost_imports(self.project)
        if "status" in self.params:
            rows = rows.filter(status__in=self.params["status"])
        if "source" in self.params:
            rows = rows.filter(source=imports.cost_source_find(self.project, self.params["source"]))
        return self.answer_page(rows)

    def post(self, request):
        """The body is the file: CSV, CSV.gz or Parquet of FOCUS 1.0 to 1.3, of any size.

        It is stored as it comes, then imported by the operation; `input.import` is the import's id. The same
        file sent again replaces itself.
        """
        _, operation = imports.cost_import_receive(
            project=self.project,
            files=[(self.params["name"], self.body.read)],
            source=self.params.get("source", ""),
            on_error=self.params["on_error"],
            created_by=self.actor.name,
            most_bytes=settings.COST_UPLOAD_BYTES,
        )
        return accepted(self, operation)


class CostImportView(ApiView):
    tag = "Costs"
    routes = {"GET": Route("cost.read", "Show an import of costs", {200: CostImportOut})}

    def get(self, request, cost_import):
        """An import by id."""
        return self.answer(imports.cost_import_find(self.project, cost_import))
