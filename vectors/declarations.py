"""Changing what a collection declares: fields with an index, and full text.

What is declared is in the collection's row; which of its indexes serve is what PostgreSQL's catalogue says,
so that the two differ only by work to be done. On a small table that is done at once, within milliseconds; on
a larger one by a job that keeps nobody waiting. Until then filters mean the same and are slower.
"""

from psycopg import errors as pg_errors
from psycopg import sql
from psycopg.types.json import Jsonb

from controlplane import ids
from controlplane.errors import ConflictError
from vectors import collections, database, declared, words
from vectors.collections import Collection

DECLARE = "index.declare"
# Tables up to this size are read for an index within some tens of milliseconds.
AT_ONCE_BYTES_MOST = 16 * 2**20
# The collection's indexes that are declared, and whether each can serve.
PRESENT = (
    "SELECT x.relname, i.indisvalid FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid"
    " WHERE i.indrelid = to_regclass(%s) AND x.relname ~ '^[ft]_'"
)


def fields_change(*, name: str, change) -> Collection:
    """Declare change(fields) instead of the fields declared; ConflictError while a job makes indexes."""
    return _changed(name, lambda db, declared, language: (change(declared), language))


def declarations_set(*, name: str, fields: list[dict] | None, text: tuple[str | None] | None) -> Collection:
    """Declare these checked fields, and (language,) as full text; None leaves what is declared."""

    def change(db, declared, language):
        if text is not None:
            language = text[0] if text[0] is None else words.checked(db, text[0])
        return declared if fields is None else fields, language

    return _changed(name, change)


def _changed(name: str, change) -> Collection:
    collection = collections.collection_load(name)
    with database.pool().connection() as connection, connection.db.transaction():
        db = connection.db
        db.execute("SET LOCAL lock_timeout = '10s'")
        row = db.execute(
            "SELECT fields, text_language FROM vectors_collection WHERE id = %s FOR NO KEY UPDATE",
            [collection.id],
        ).fetchone()
        if row is None:
            raise collections.unknown(name)
        given, language = change(db, *row)
        db.execute(
            "UPDATE vectors_collection SET fields = %s, text_language = %s, updated_at = now() WHERE id = %s",
            [Jsonb(given), language, collection.id],
        )
        small, stored = words_place(db, collection, row[1], language)
        needed = declared.indexes(collection.id, given, language, stored)
        present = dict(db.execute(PRESENT, [collection.table]).fetchall())
        if {index.name for index in needed} != {index for index, valid in present.items() if valid}:
            if small:
                make(db, collection.table, needed, present)
            else:
                queue(db, collection)
    collections.collection_forget(name)
    return collections.collection_get(name)


def words_place(db, collection: Collection, before: str | None, language: str | None) -> tuple[bool, bool]:
    """Give or take away the words' column as the language changes; whether the table is small, and whether
    there is such a column now."""
    size, graphs, stored = db.execute(
        "SELECT pg_table_size(r.oid), EXISTS (SELECT 1 FROM pg_index i JOIN pg_class x"
        " ON x.oid = i.indexrelid WHERE i.indrelid = r.oid AND x.relname ~ '^v_'),"
        " EXISTS (SELECT 1 FROM pg_attribute WHERE attrelid = r.oid AND attname = %s AND NOT attisdropped)"
        " FROM pg_class r WHERE r.oid = to_regclass(%s)",
        [words.COLUMN, collection.table],
    ).fetchone()
    small = size <= AT_ONCE_BYTES_MOST
    if language != before:
        if stored:
            db.execute(f"ALTER TABLE {collection.table} DROP COLUMN {words.COLUMN}")
        # A graph would be built anew with the table.
        stored = language is not None and small and not graphs
        if stored:
            db.execute(f"ALTER TABLE {collection.table} ADD COLUMN {words.column(language)}")
    return small, stored


def make(db, table: str, needed: list[declared.Index], present: dict[str, bool]) -> None:
    """Make the indexes that are missing and drop the others, at once."""
    names = {index.name for index in needed}
    for index, valid in present.items():
        if index not in names or not valid:
            db.execute(sql.SQL("DROP INDEX vectors_data.{}").format(sql.Identifier(index)))
    for index in needed:
        if not present.get(index.name):
            db.execute(f"CREATE INDEX {index.name} ON {table} {index.definition}")
    db.execute(f"ANALYZE {table}")


def queue(db, collection: Collection) -> None:
    """Queue the job that makes the indexes."""
    try:
        with db.transaction():
            db.execute(
                "INSERT INTO vectors_job (id, collection_id, kind, state, params, error, attempt, runner,"
                " created_at) VALUES (%s, %s, %s, 'queued', '{}', '', 0, '', now())",
                [ids.uuid7(), collection.id, DECLARE],
            )
    except pg_errors.UniqueViolation:
        raise ConflictError(
            "Declared indexes of this collection are being made already; wait for that job, or cancel it.",
            code="building",
        ) from None
    db.execute("NOTIFY vectors_jobs")
