"""The indexes that a collection declares: of metadata fields, and of its content's words."""

import uuid
from typing import NamedTuple

from vectors import fields, words


class Index(NamedTuple):
    """An index that a collection is to have: its name, and what stands behind ON <table>."""

    name: str
    definition: str


def indexes(collection_id: uuid.UUID, given: list[dict], language: str | None, stored: bool) -> list[Index]:
    """The indexes of declared fields and of the language; `stored`: the words have a column of their own."""
    found = []
    for one in given:
        field = fields.declared(one["name"], one["type"])
        found.append(Index(field.index_name(collection_id), f"(({field.expression}))"))
    if language is not None:
        kept = words.COLUMN if stored else words.expression(language)
        found.append(
            Index(
                words.index_name(collection_id, language, stored),
                f"USING gin ({kept}) WITH (fastupdate = on, gin_pending_list_limit = 1024)",
            )
        )
    return found
