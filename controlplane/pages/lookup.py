"""Rows named by an address; an id that cannot be one is not found either."""

from django.core.exceptions import ValidationError
from django.http import Http404
from django.shortcuts import get_object_or_404


def row_or_404(rows, **lookup):
    try:
        return get_object_or_404(rows, **lookup)
    except (ValidationError, ValueError):
        raise Http404 from None
