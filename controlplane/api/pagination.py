"""Lists by cursor: a page goes on after the last row seen, whatever was added or removed meanwhile."""

import base64
import binascii
import json

from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from rest_framework import serializers

from controlplane.api.serializers import StrictSerializer
from controlplane.errors import InvalidError

DEFAULT_LIMIT, LARGEST_LIMIT = 50, 200


class ListQuery(StrictSerializer):
    """Query of a list. `sorts` maps what ?sort takes to fields that are never null, the default first."""

    sorts: dict[str, str] = {"-created_at": "-pk", "created_at": "pk"}

    limit = serializers.IntegerField(
        min_value=1, max_value=LARGEST_LIMIT, default=DEFAULT_LIMIT, help_text="Items of a page."
    )
    cursor = serializers.CharField(required=False, help_text="`next_cursor` of the page before.")

    def get_fields(self):
        fields = super().get_fields()
        fields["sort"] = serializers.ChoiceField(
            choices=[(name, name) for name in self.sorts],
            default=next(iter(self.sorts)),
            help_text="Order; a leading hyphen is descending.",
        )
        return fields


class Words(serializers.CharField):
    """One or more of some choices, separated by commas."""

    def __init__(self, *, choices, **kwargs):
        self.choices = [str(choice) for choice in choices]
        kwargs.setdefault("required", False)
        kwargs.setdefault("help_text", f"Separated by commas: {', '.join(self.choices)}.")
        super().__init__(**kwargs)

    def to_internal_value(self, data) -> list[str]:
        words = [word.strip() for word in super().to_internal_value(data).split(",") if word.strip()]
        for word in words:
            if word not in self.choices:
                raise serializers.ValidationError(
                    f"{word[:60]!r} is not one of {', '.join(self.choices)}.", code="invalid_choice"
                )
        return words


def encode_cursor(*values) -> str:
    """An opaque text for where a list stands."""
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


def decode_cursor(text: str, length: int) -> list:
    """The values of a cursor that `encode_cursor` made; InvalidError for any other text."""
    try:
        values = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        values = None
    if not isinstance(values, list) or len(values) != length or "\\u0000" in json.dumps(values):
        raise invalid_cursor()
    return values


def invalid_cursor() -> InvalidError:
    """The error of a cursor that was not given out for this list."""
    return InvalidError(
        "This cursor is not of this list; start again without one.", field="cursor", code="invalid_cursor"
    )


def page(queryset: QuerySet, params: dict, sorts: dict[str, str]) -> tuple[list, str | None]:
    """The rows of one page and the cursor of the next."""
    sort = params["sort"]
    order = sorts[sort]
    field, descending = order.lstrip("-"), order.startswith("-")
    ordering = [order] if field == "pk" else [order, "-pk" if descending else "pk"]
    rows = queryset.order_by(*ordering)
    if params.get("cursor"):
        made_for, value, key = decode_cursor(params["cursor"], 3)
        if made_for != sort or not _fits(queryset, field, value) or not _fits(queryset, "pk", key):
            raise invalid_cursor()
        way = "lt" if descending else "gt"
        after = Q(**{f"pk__{way}": key})
        if field != "pk":
            after = Q(**{f"{field}__{way}": value}) | Q(after, **{field: value})
        rows = rows.filter(after)
    limit = params["limit"]
    found = list(rows[: limit + 1])
    if len(found) <= limit:
        return found, None
    last = found[limit - 1]
    return found[:limit], encode_cursor(sort, getattr(last, field), last.pk)


def _fits(queryset: QuerySet, field: str, value) -> bool:
    """Whether a value from outside may be compared with the field."""
    column = queryset.model._meta.pk if field == "pk" else queryset.model._meta.get_field(field)
    if not isinstance(value, str | int) or isinstance(value, bool):
        return False
    if isinstance(value, int) and not 0 <= value < 2**63:
        return False
    try:
        column.to_python(value)
        return True
    except (ValidationError, ValueError, TypeError):
        return False
