"""What all serializers are built on: strictness, pages, money."""

from collections.abc import Mapping

from rest_framework import serializers


class StrictSerializer(serializers.Serializer):
    """Refuses fields it does not know, each by name and with what is known."""

    def to_internal_value(self, data):
        if isinstance(data, Mapping):
            known = {name for name, field in self.fields.items() if not field.read_only}
            unknown = sorted(set(data) - known)
            if unknown:
                told = f"known are: {', '.join(sorted(known))}." if known else "no field is taken here."
                raise serializers.ValidationError(
                    {
                        name: serializers.ErrorDetail(f"Unknown field; {told}", "unknown_field")
                        for name in unknown
                    }
                )
        return super().to_internal_value(data)


class JsonObject(serializers.DictField):
    """An object whose values may be any JSON."""

    child = serializers.JSONField(allow_null=True)


class Empty(StrictSerializer):
    """No fields at all."""


class Money(serializers.Serializer):
    """An amount as decimal text, never a float, with its currency."""

    amount = serializers.RegexField(r"^-?\d+(\.\d+)?$", help_text="Decimal text, such as 12.34.")
    currency = serializers.CharField(help_text="ISO 4217 code, such as USD.")


class Problem(serializers.Serializer):
    """RFC 9457 problem details, the shape of every error."""

    class FieldError(serializers.Serializer):
        """What is wrong with one field."""

        field = serializers.CharField(allow_blank=True, help_text="Dotted path of the field.")
        code = serializers.CharField()
        message = serializers.CharField()

        class Meta:
            ref_name = "FieldError"

    type = serializers.CharField(help_text="urn:aindusdb:problem: and the code.")
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField(help_text="What happened and what to do about it.")
    code = serializers.CharField(help_text="Stable name of the error, for programs.")
    errors = FieldError(many=True)
    request_id = serializers.CharField(help_text="Also in X-Request-Id and in the server's log.")
    retry_after = serializers.IntegerField(
        required=False, min_value=0, help_text="Seconds until another try makes sense, as in Retry-After."
    )
    retry_after_seconds = serializers.IntegerField(
        required=False, min_value=0, help_text="The same as retry_after."
    )


def page_of(item: type[serializers.Serializer]) -> type[serializers.Serializer]:
    """The serializer of one page of a list."""
    name = f"{item.__name__}Page"
    if name not in _pages:
        _pages[name] = type(
            name,
            (serializers.Serializer,),
            {
                "__doc__": "One page of a list.",
                "__module__": item.__module__,
                "items": item(many=True),
                "next_cursor": serializers.CharField(
                    allow_null=True, help_text="Give it as ?cursor= for the next page; null on the last."
                ),
                "item_class": item,
            },
        )
    return _pages[name]


_pages: dict[str, type] = {}
