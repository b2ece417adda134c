"""Uploads: files on their way into an import, kept in the target's database part by part.

In the database, because the runner that imports may be another replica's than the one that received, and
may be replaced by a third one in the middle. A part is stored with the count of bytes received in one
transaction, so that whatever breaks, the sender goes on at `received_bytes`.
"""

import datetime
import time
import uuid

from django.conf import settings
from psycopg import errors as pg_errors

from controlplane import ids
from controlplane.errors import ConflictError, InvalidError, NotFoundError, TooLargeError
from vectors import bodies, collections, database
from vectors.jobs import records

PART_BYTES = 2**20
EXPIRE_SECONDS = 60.0
IMPORT = "points.import"
COLUMNS = "u.id, c.name, u.size_bytes, u.received_bytes, u.created_at, u.updated_at"
SOURCE = "vectors_upload u JOIN vectors_collection c ON c.id = u.collection_id"
# Of upload u: an import of it is on its way.
IN_USE = (
    f"EXISTS (SELECT 1 FROM vectors_job j WHERE j.collection_id = u.collection_id AND j.kind = '{IMPORT}'"
    " AND j.state IN ('queued', 'running') AND j.params ->> 'upload_id' = u.id::text)"
)


def shown(row) -> dict:
    upload_id, collection, size, received, created, updated = row
    return {
        "id": ids.encode("upl", upload_id),
        "collection": collection,
        "size_bytes": size,
        "received_bytes": received,
        "complete": size is None or received == size,
        "created_at": created,
        "updated_at": updated,
        "expires_at": updated + datetime.timedelta(hours=settings.VECTORS["upload_hours"]),
    }


def id_of(public_id: str) -> uuid.UUID:
    """NotFoundError for what is no upload's id."""
    try:
        return ids.decode("upl", public_id)
    except ValueError:
        raise unknown() from None


def unknown() -> NotFoundError:
    return NotFoundError("There is no such upload; it may have expired.", code="unknown_upload")


def upload_create(*, name: str, size_bytes: int | None = None) -> dict:
    """Begin an upload for a collection; `size_bytes`, when given, is what it must become."""
    most = settings.VECTORS["upload_bytes"]
    if size_bytes is not None and not 0 <= size_bytes <= most:
        raise InvalidError(
            f"An upload has up to {most} bytes (AINDUS_UPLOAD_BYTES).", code="too_large", field="size_bytes"
        )
    collection = collections.collection_load(name)
    upload_id = ids.uuid7()
    with database.pool().connection() as connection:
        try:
            connection.db.execute(
                "INSERT INTO vectors_upload (id, collection_id, size_bytes, received_bytes, created_at,"
                " updated_at) VALUES (%s, %s, %s, 0, now(), now())",
                [upload_id, collection.id, size_bytes],
            )
        except pg_errors.ForeignKeyViolation:
            raise collections.unknown(name) from None
    return upload_get(ids.encode("upl", upload_id))


def upload_get(public_id: str) -> dict:
    with database.pool().connection() as connection:
        row = connection.db.execute(
            f"SELECT {COLUMNS} FROM {SOURCE} WHERE u.id = %s", [id_of(public_id)]
        ).fetchone()
    if row is None:
        raise unknown()
    return shown(row)


def upload_list(*, name: str, limit: int, after: str = "") -> tuple[list[dict], str | None]:
    """Uploads of a collection, the newest first, and the id to go on after."""
    collection = collections.collection_get(name)
    condition, parameters = "", [collection.id]
    if after:
        parameters.append(records.id_after("upl", after))
        condition = "AND u.id < %s"
    with database.pool().connection() as connection:
        rows = connection.db.execute(
            f"SELECT {COLUMNS} FROM {SOURCE} WHERE u.collection_id = %s {condition}"
            " ORDER BY u.id DESC LIMIT %s",
            [*parameters, limit + 1],
        ).fetchall()
    items = [shown(row) for row in rows[:limit]]
    return items, items[-1]["id"] if len(rows) > limit else None


def upload_write(public_id: str, *, offset: int, read) -> dict:
    """Append what read(size) gives, from the byte `offset` on; the upload.

    ConflictError `wrong_offset` when another byte is expected: `received_bytes` tells which. What came
    before the sender broke off is kept.
    """
    found = upload_get(public_id)
    if found["received_bytes"] != offset:
        raise wrong_offset(found)
    upload_id, most = id_of(public_id), settings.VECTORS["upload_bytes"]
    if found["size_bytes"] is not None:
        most = found["size_bytes"]
    while part := part_of(read):
        if offset + len(part) > most:
            raise TooLargeError(
                f"This upload takes up to {most} bytes: it has {found['size_bytes'] or most} at most"
                " (its size_bytes, or AINDUS_UPLOAD_BYTES).",
                received_bytes=offset,
            )
        with database.pool().connection() as connection, connection.db.transaction():
            part_keep(connection, upload_id, offset, part)
        offset += len(part)
    return upload_get(public_id)


def part_of(read) -> bytes:
    """The next PART_BYTES of an input, less at its end."""
    pieces, size = [], 0
    try:
        while size < PART_BYTES and (piece := read(min(PART_BYTES - size, 256 * 1024))):
            pieces.append(piece)
            size += len(piece)
    except OSError:
        if not pieces:
            raise bodies.BadJsonError("The body ended before its end; go on at received_bytes.") from None
    return b"".join(pieces)


def part_keep(connection: database.Connection, upload_id: uuid.UUID, offset: int, part: bytes) -> None:
    """Store a part and count it; ConflictError when another writer or an import came first."""
    all_of_them = connection.db.execute("SELECT coalesce(sum(received_bytes), 0) FROM vectors_upload")
    most = settings.VECTORS["uploads_bytes"]
    if all_of_them.fetchone()[0] + len(part) > most:
        raise TooLargeError(
            f"All uploads together hold up to {most} bytes (AINDUS_UPLOADS_BYTES): delete some, or wait for"
            " imports to end.",
            code="uploads_full",
            received_bytes=offset,
        )
    kept = connection.db.execute(
        "UPDATE vectors_upload u SET received_bytes = received_bytes + %s, updated_at = now()"
        f" WHERE id = %s AND received_bytes = %s AND NOT {IN_USE}",
        [len(part), upload_id, offset],
    )
    if not kept.rowcount:
        row = connection.db.execute(
            f"SELECT {COLUMNS}, {IN_USE} FROM {SOURCE} WHERE u.id = %s", [upload_id]
        ).fetchone()
        if row is None:
            raise unknown()
        raise in_use() if row[-1] else wrong_offset(shown(row[:-1]))
    connection.db.execute(
        "INSERT INTO vectors_upload_part (upload_id, at, data) VALUES (%s, %s, %b)", [upload_id, offset, part]
    )


def wrong_offset(upload: dict) -> ConflictError:
    return ConflictError(
        f"The upload has {upload['received_bytes']} bytes: go on with ?offset={upload['received_bytes']}.",
        code="wrong_offset",
        received_bytes=upload["received_bytes"],
    )


def in_use() -> ConflictError:
    return ConflictError("An import of this upload is on its way: wait for it, or cancel it.", code="in_use")


def upload_delete(public_id: str) -> None:
    """NotFoundError; ConflictError while it is being imported."""
    upload_id = id_of(public_id)
    with database.pool().connection() as connection, connection.db.transaction():
        row = connection.db.execute(
            f"SELECT {IN_USE} FROM vectors_upload u WHERE id = %s FOR UPDATE", [upload_id]
        ).fetchone()
        if row is None:
            raise unknown()
        if row[0]:
            raise in_use()
        uploads_drop(connection.db, [upload_id])


def uploads_drop(db, upload_ids: list[uuid.UUID]) -> None:
    db.execute("DELETE FROM vectors_upload_part WHERE upload_id = ANY(%s)", [upload_ids])
    db.execute("DELETE FROM vectors_upload WHERE id = ANY(%s)", [upload_ids])


def uploads_expire(db) -> int:
    """Delete uploads that were neither written nor used for long; how many."""
    with db.transaction():
        rows = db.execute(
            "SELECT u.id FROM vectors_upload u WHERE updated_at < now() - make_interval(hours => %s)"
            f" AND NOT {IN_USE} FOR UPDATE SKIP LOCKED",
            [settings.VECTORS["upload_hours"]],
        ).fetchall()
        uploads_drop(db, [row[0] for row in rows])
    return len(rows)


class Expiry:
    """What a runner remembers, so as to look for expired uploads only now and then."""

    def __init__(self):
        self.looked = 0.0

    def expire_due(self, db) -> None:
        now = time.monotonic()
        if not self.looked or now - self.looked >= EXPIRE_SECONDS:
            self.looked = now
            uploads_expire(db)
