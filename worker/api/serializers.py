"""Operations and their events as the REST API shows them."""

from rest_framework import serializers

from controlplane.api.serializers import JsonObject
from worker.handlers import title_of
from worker.models import Status


class OperationError(serializers.Serializer):
    """Why an operation failed and what to do about it."""

    code = serializers.CharField(source="error_code")
    message = serializers.CharField(source="error")
    remedy = serializers.CharField()


class OperationOut(serializers.Serializer):
    """A piece of long work."""

    id = serializers.CharField()
    kind = serializers.CharField(help_text="noun.verb, as target.provision")
    label = serializers.SerializerMethodField(help_text="What it is called in words.")
    subject = serializers.CharField(help_text="What it works on, as target:tgt_...")
    status = serializers.ChoiceField(choices=Status.choices)
    step = serializers.CharField(help_text="The step it stands at or ended in.")
    percent = serializers.IntegerField(allow_null=True)
    waiting_for = serializers.CharField()
    attempt = serializers.IntegerField(help_text="Tries of this step since it last progressed.")
    input = JsonObject(help_text="What was asked for.")
    result = JsonObject(help_text="What came of it.")
    error = serializers.SerializerMethodField()
    retry_of = serializers.CharField(source="retry_of_id", allow_null=True)
    last_event = serializers.IntegerField(source="last_sequence", help_text="The newest event's number.")
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    step_started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    cancel_requested_at = serializers.DateTimeField(allow_null=True)
    deadline_at = serializers.DateTimeField(allow_null=True, help_text="An alert, not an end.")
    deadline_passed = serializers.BooleanField()
    url = serializers.SerializerMethodField()

    def get_label(self, operation) -> str:
        return title_of(operation)

    def get_error(self, operation) -> OperationError(allow_null=True):
        return OperationError(operation).data if operation.error_code else None

    def get_url(self, operation) -> str:
        return operation_url(operation)


class EventOut(serializers.Serializer):
    """Something that happened in an operation."""

    sequence = serializers.IntegerField(help_text="From 1, without gaps.")
    at = serializers.DateTimeField()
    step = serializers.CharField()
    outcome = serializers.CharField()
    message = serializers.CharField()
    detail = JsonObject()


def operation_url(operation) -> str:
    """Where an operation is followed."""
    return f"/api/v1/operations/{operation.pk}"
