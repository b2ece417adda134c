"""Request bodies: JSON objects of a bounded size whose every value the database can hold."""

import json
import math

from rest_framework import negotiation, parsers, renderers

from controlplane.errors import InvalidError, ProblemError, TooLargeError

LARGEST_BODY_BYTES = 1024 * 1024


class StrictJSONParser(parsers.BaseParser):
    """application/json, at most LARGEST_BODY_BYTES."""

    media_type = "application/json"
    renderer_class = renderers.JSONRenderer

    def parse(self, stream, media_type=None, parser_context=None) -> dict:
        raw = stream.read(LARGEST_BODY_BYTES + 1)
        if len(raw) > LARGEST_BODY_BYTES:
            raise TooLargeError(f"A body may have up to {LARGEST_BODY_BYTES} bytes.")
        if not raw.strip():
            return {}
        try:
            value = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
        except UnicodeDecodeError:
            raise ProblemError("The body is not UTF-8.", code="malformed") from None
        except RecursionError:
            raise ProblemError("The body is nested too deeply.", code="malformed") from None
        except ValueError as error:
            raise ProblemError(f"The body is not JSON: {str(error)[:200]}", code="malformed") from None
        if not isinstance(value, dict):
            raise InvalidError("Send a JSON object.", code="not_an_object")
        refuse_unstorable(value)
        return value


def _refuse_constant(name: str):
    raise ValueError(f"{name} is not a number of JSON")


def refuse_unstorable(value, path: str = "") -> None:
    """InvalidError for what PostgreSQL cannot keep: NUL, half surrogate pairs, infinite numbers."""
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise InvalidError(
                "Text may not hold NUL or half surrogate pairs.", field=path, code="unstorable_text"
            )
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidError("This number is too large.", field=path, code="number_too_large")
    elif isinstance(value, dict):
        for name, inner in value.items():
            refuse_unstorable(name, path)
            refuse_unstorable(inner, f"{path}.{name}".strip("."))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            refuse_unstorable(inner, f"{path}.{index}".strip("."))


class JSONOnly(negotiation.BaseContentNegotiation):
    """Answers are JSON whatever Accept says; streams look at Accept by themselves."""

    def select_parser(self, request, parsers):
        return negotiation.DefaultContentNegotiation().select_parser(request, parsers)

    def select_renderer(self, request, renderers, format_suffix=None):
        return renderers[0], renderers[0].media_type
