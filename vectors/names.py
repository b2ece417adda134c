"""Names of collections and aliases, which share none."""

import re

from controlplane.errors import InvalidError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}\Z")
LOCK_CLASS = 0x4E414D45


def check(name: str, field: str = "name") -> None:
    """InvalidError for what no collection and no alias may be called."""
    if not NAME.match(name):
        raise InvalidError(
            "A name is 1 to 100 letters, digits, '-', '_' and '.', and starts with a letter or digit.",
            code="invalid_name",
            field=field,
        )
    if name.startswith("col_"):
        raise InvalidError("Names that start with col_ are kept for ids.", code="invalid_name", field=field)


def lock(db, name: str) -> None:
    """Hold a name until the transaction ends."""
    db.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [LOCK_CLASS, name])
