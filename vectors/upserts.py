"""Upserts: a batch written whole or not at all, at about the cost of COPY.

Points that are not there yet are copied straight into the collection's table. Which are there already is
found by doing so: the first of them ends the copy, and the batch goes through a staging table, from which
existing rows are updated. A process that met such a batch takes the second way first for some seconds.
"""

import time
import uuid

import psycopg
from psycopg.pq import TransactionStatus

from controlplane.errors import InvalidError
from vectors import batches, vectors
from vectors.batches import COPY_HEAD, COPY_TAIL, LENGTH, Batch
from vectors.collections import Collection
from vectors.database import Connection

# Rows that are handed to the database at once, so that it reads them while the next are made.
ROWS_AT_ONCE = 64
# How long after points were found to exist already this process expects more of them.
STAGED_SECONDS = 10.0
STAGED_MOST = 10_000

_staged_until: dict[uuid.UUID, float] = {}


def likely_new(collection: Collection) -> bool:
    """Whether points may be copied into the table, and none was found there lately."""
    return collection.copies and _staged_until.get(collection.id, 0.0) <= time.monotonic()


def note_existing(collection: Collection) -> None:
    """Points of a batch were there already: for some seconds more of them are expected."""
    if len(_staged_until) >= STAGED_MOST:
        _staged_until.clear()
    _staged_until[collection.id] = time.monotonic() + STAGED_SECONDS


def points_upsert(connection: Connection, collection: Collection, *, namespace: str, batch: Batch) -> int:
    """Write a batch; how many points it holds. Of equal ids the last wins.

    Keys are written in one order, so that concurrent batches wait for each other and never deadlock.
    """
    order = batches.order(batch)
    if not order:
        return 0
    try:
        if likely_new(collection):
            try:
                _copy(connection, collection, namespace, batch, order)
                return len(order)
            except psycopg.errors.UniqueViolation:
                note_existing(collection)
        _stage(connection, collection, namespace, batch, order)
    except (
        psycopg.DataError,
        psycopg.errors.CheckViolation,
        psycopg.errors.ProgramLimitExceeded,
        psycopg.errors.StatementTooComplex,
    ) as error:
        raise located(batch, order, collection, error) from error
    return len(order)


def _send(connection: Connection, statement: str, batch: Batch, order: list[int], fields: int, more: bytes):
    row = batches.row
    with connection.db.cursor() as cursor, cursor.copy(statement) as copy:
        parts = [COPY_HEAD]
        for at in order:
            parts.append(row(batch, at, fields, more))
            if len(parts) >= ROWS_AT_ONCE:
                copy.write(b"".join(parts))
                parts = []
        parts.append(COPY_TAIL)
        copy.write(b"".join(parts))


def _copy(connection: Connection, collection: Collection, namespace: str, batch: Batch, order) -> None:
    """Copy points that are new into the table; UniqueViolation when one is not."""
    # A block of its own, so that a caller's transaction survives the violation.
    with connection.db.transaction():
        _send(connection, copy_sql(collection), batch, order, 6, fixed(collection, namespace))


def copy_sql(collection: Collection) -> str:
    """The statement that copies rows into a collection's table; `fixed` has its last two columns."""
    return (
        f"COPY {collection.table} (id, embedding, content, metadata, epoch, namespace)"
        " FROM STDIN (FORMAT BINARY)"
    )


def fixed(collection: Collection, namespace: str) -> bytes:
    """The columns epoch and namespace of a row that is copied."""
    space = namespace.encode()
    return LENGTH(4) + collection.epoch.to_bytes(4, "big") + LENGTH(len(space)) + space


def _stage(connection: Connection, collection: Collection, namespace: str, batch: Batch, order) -> None:
    """Write points of which some may be there, by way of a staging table."""
    form = collection.form
    staging = f"pg_temp.vectors_staging_{form.STAGED}"
    # Commits empty the staging table; within a transaction of the caller's another batch may follow.
    within = connection.pg.transaction_status == TransactionStatus.INTRANS
    with connection.db.transaction():
        if form not in connection.staging:
            connection.db.execute(
                f"CREATE TEMP TABLE IF NOT EXISTS {staging}"
                f' (id text COLLATE "C", embedding {form.STAGED}, content text, metadata jsonb)'
                " ON COMMIT DELETE ROWS"
            )
        _send(connection, f"COPY {staging} FROM STDIN (FORMAT BINARY)", batch, order, 4, b"")
        # The norm is checked here, in C, rather than number by number in Python.
        result = connection.run(
            f"INSERT INTO {collection.table} (namespace, id, embedding, content, metadata, epoch)"
            f" SELECT $1, id, embedding, content, metadata, $2::int FROM {staging}"
            f" WHERE {acceptable(collection)} ORDER BY id"
            " ON CONFLICT (namespace, id) DO UPDATE SET embedding = excluded.embedding,"
            " content = excluded.content, metadata = excluded.metadata, epoch = excluded.epoch,"
            " updated_at = now()",
            [namespace.encode(), b"%d" % collection.epoch],
        )
        if result.command_tuples != len(order):
            raise located(batch, order, collection, None)
        if within:
            connection.simple(f"TRUNCATE {staging}")
    if not within:
        connection.staging.add(form)


def acceptable(collection: Collection) -> str:
    """SQL of the staged rows whose vectors the collection can hold and its indexes take."""
    if collection.bits:
        return "true"
    # The index is made later, of many rows at once: none may be there that it would refuse.
    fits = " AND embedding::halfvec IS NOT NULL" if collection.half else ""
    return vectors.sound_sql(collection.metric) + fits


def located(batch: Batch, order: list[int], collection: Collection, error) -> InvalidError:
    """The error of a batch that the database refused, with the point and part that is wrong."""
    found = batches.fault(batch, order, collection.metric, collection.half)
    if found is not None:
        return found
    detail = (error.diag.message_primary or "") if error is not None else "a vector is out of range"
    return InvalidError(
        f"The database refuses a value of this batch: {detail}. Look for numbers out of range and for nesting"
        " hundreds deep in metadata.",
        code="invalid_metadata",
        field=batch.places(order[0])["metadata"].partition("[")[0],
    )
