"""A checksum of points that does not depend on their order, alike in SQL and in Python.

Of each point the SHA-256 of its parts, one after the other, each a big-endian int32 of its length and its
bytes: namespace and id in UTF-8; the vector as PostgreSQL sends it (int16 dimension, int16 0, big-endian
float32; of bits int32 count and the bits); the content in UTF-8, or the length -1 alone when there is none;
the metadata as PostgreSQL's jsonb writes it. The first 8 bytes of each, as big-endian numbers, are summed
modulo 2^64 and written as 16 hexadecimal digits. Sums of parts of a collection add up to that of the whole.
"""

import hashlib
import struct
import time

from vectors import collections, database
from vectors.collections import Collection

PAGE_POINTS = 20_000
MODULUS = 2**64
LENGTH = struct.Struct(">i").pack
NOTHING = LENGTH(-1)

_PARTS = " || ".join(
    f"int4send(octet_length({part})) || {part}"
    for part in ("convert_to(namespace, 'UTF8')", "convert_to(id, 'UTF8')", "{send}(embedding)")
)
_SQL = (
    f"sha256({_PARTS}"
    " || coalesce(int4send(octet_length(convert_to(content, 'UTF8'))) || convert_to(content, 'UTF8'),"
    " int4send(-1))"
    " || int4send(octet_length(convert_to(metadata::text, 'UTF8'))) || convert_to(metadata::text, 'UTF8'))"
)


def digest(namespace: bytes, point_id: bytes, vector: bytes, content: bytes | None, metadata: bytes) -> int:
    """A point's part of the sum; the vector in PostgreSQL's binary form."""
    hashed = hashlib.sha256(
        b"".join(
            (
                *(LENGTH(len(namespace)), namespace, LENGTH(len(point_id)), point_id),
                *(LENGTH(len(vector)), vector),
                *((NOTHING,) if content is None else (LENGTH(len(content)), content)),
                *(LENGTH(len(metadata)), metadata),
            )
        ),
        usedforsecurity=False,
    )
    return int.from_bytes(hashed.digest()[:8], "big")


def text_of(total: int) -> str:
    """A sum as it is shown."""
    return f"{total % MODULUS:016x}"


def send_of(collection: Collection) -> str:
    """The SQL function that gives a vector in binary."""
    return "bit_send" if collection.metric in ("hamming", "jaccard") else "vector_send"


def collection_checksum(name: str, *, namespace: str | None = None) -> dict:
    """{points, checksum, took_ms} of a collection or a namespace, of one moment.

    Computed by the database page by page, so that no statement takes long, under one snapshot.
    """
    started = time.perf_counter()

    def work(collection):
        with database.pool().connection() as connection, connection.db.transaction():
            connection.db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            return summed(connection, collection, namespace)

    count, total = collections.working_on(name, work)
    return {
        "points": count,
        "checksum": text_of(total),
        "took_ms": round((time.perf_counter() - started) * 1000, 3),
    }


def summed(connection: database.Connection, collection: Collection, namespace: str | None) -> tuple[int, int]:
    """(points, sum of their digests) of a collection or a namespace, in the connection's transaction."""
    hashed = _SQL.format(send=send_of(collection))
    count = total = 0
    after = None
    while True:
        conditions, parameters = [], []
        if namespace is not None:
            conditions.append("namespace = %s")
            parameters.append(namespace)
        if after is not None:
            conditions.append("(namespace, id) > (%s, %s)")
            parameters += after
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        found, part, last = connection.db.execute(
            f"WITH page AS MATERIALIZED (SELECT namespace, id, {hashed} AS hashed FROM {collection.table}"
            f" {where} ORDER BY namespace, id LIMIT {PAGE_POINTS})"
            " SELECT count(*), coalesce(sum(('x' || encode(substr(hashed, 1, 8), 'hex'))::bit(64)::bigint),"
            " 0), max(ARRAY[namespace, id]) FROM page",
            parameters,
        ).fetchone()
        count += found
        total += int(part)
        if found < PAGE_POINTS:
            return count, total
        after = last
