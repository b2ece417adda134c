"""Answers that every app gives which starts operations."""

from rest_framework.response import Response

from controlplane.api.views import ApiView
from worker.api.serializers import operation_url
from worker.models import Operation


def accepted(view: ApiView, operation: Operation) -> Response:
    """202: the operation, and where to follow it."""
    return view.answer(operation, status=202, headers={"Location": operation_url(operation)})
