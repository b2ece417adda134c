"""What a form page needs after a service refused: each field's message, and what belongs to no field."""

from controlplane.errors import ProblemError


def field_errors(error: ProblemError | None, fields=()) -> dict:
    """{field: message} of a service's error; what names none of `fields` goes under `form`."""
    if error is None:
        return {}
    told = {}
    for one in error.errors:
        name = one["field"]
        key = name if not fields or name in fields else "form"
        told[key] = f"{told[key]} {one['message']}" if key in told else one["message"]
    return told or {"form": error.detail}
