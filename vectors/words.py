"""The words of content as PostgreSQL's full-text search keeps them.

A collection that has full text from its beginning, or from when it was small, keeps its words in a column
that PostgreSQL generates: ranking a match then costs about a microsecond, where making its words anew costs
ten to a hundred. Adding such a column later would rewrite the table and all its indexes, so that a larger
collection's index holds the expression instead, and its matches are ranked from their content.
"""

import hashlib
import uuid

from controlplane.errors import InvalidError

COLUMN = "content_words"
# What lies behind is not searched: words of more text may be more than PostgreSQL takes, and nothing that is
# indexed may make a write fail.
CONTENT_MOST = 100_000


def expression(language: str) -> str:
    """SQL of a content's words; the language is one of PostgreSQL's."""
    return f"to_tsvector('{language}'::regconfig, left(coalesce(content, ''), {CONTENT_MOST}))"


def index_name(collection_id: uuid.UUID, language: str, stored: bool) -> str:
    """The index's name: another one for another language or way of keeping."""
    kept = COLUMN if stored else expression(language)
    digest = hashlib.sha256(f"{language}\0{kept}".encode()).hexdigest()[:16]
    return f"t_{collection_id.hex}_{digest}"


def column(language: str) -> str:
    """The definition of the column that keeps the words."""
    return f"{COLUMN} tsvector GENERATED ALWAYS AS ({expression(language)}) STORED"


def checked(db, language: str, at: str = "text.language") -> str:
    """The language, when PostgreSQL has it; InvalidError lists those there are."""
    rows = db.execute(
        "SELECT cfgname FROM pg_ts_config WHERE pg_ts_config_is_visible(oid) AND cfgname ~ '^[a-z_]+$'"
        " ORDER BY 1"
    ).fetchall()
    found = [row[0] for row in rows]
    if language not in found:
        raise InvalidError(f"The language is one of {', '.join(found)}.", field=at)
    return language
