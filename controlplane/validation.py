"""What Django says of a model's values, as the project's own error."""

from collections.abc import Iterable

from django.core.exceptions import ValidationError
from django.db.models import Model

from controlplane.errors import InvalidError


def clean(
    instance: Model, *, exclude: Iterable[str] = (), prefix: str = "", validate_unique: bool = False
) -> None:
    """full_clean() whose failure is an InvalidError that names each field, behind `prefix`.

    Constraints are left to the database, which judges them without a race.
    """
    try:
        instance.full_clean(exclude=exclude, validate_unique=validate_unique, validate_constraints=False)
    except ValidationError as error:
        raise InvalidError(
            errors=[
                {"field": f"{prefix}{field}", "code": "invalid", "message": " ".join(messages)}
                for field, messages in error.message_dict.items()
            ]
        ) from None
