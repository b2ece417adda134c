"""Who is measured: makers of ask(n), one query, for `load.alternate`.

A maker is called in the process that does the asking; what it needs is made there.
"""

import numpy as np
import psycopg

from bench.speed.client import Http
from vectors import collections, database, search
from vectors.database import Connection

TIMEOUT_MS = 30_000


def packed(vector: np.ndarray) -> bytes:
    """pgvector's binary form."""
    return len(vector).to_bytes(2, "big") + b"\0\0" + vector.astype(">f4").tobytes()


def statement_of(name: str, top_k: int = 10, include=("metadata",)) -> search.Graph:
    """What the API asks PostgreSQL for a query of a collection: the very statement, and ef_search."""
    with database.pool().connection() as connection:
        found = search.graph_of(
            connection,
            collections.collection_get(name),
            top_k=top_k,
            namespace="",
            include=tuple(include),
            recall=None,
        )
    if found is None:
        raise RuntimeError(f"{name} is so small that it is read as a whole")
    return found


class Vector(bytes):
    """Bytes that psycopg sends as they are, in binary."""


class VectorDumper(psycopg.adapt.Dumper):
    format = psycopg.pq.Format.BINARY

    def dump(self, value):
        return bytes(value)


def raw(url: str, statement: search.Graph, queries: np.ndarray):
    """psycopg by itself: the API's session and statement, prepared, parameters and rows in binary."""

    def make(number: int):
        # The API's own connection, so that whatever it sets is set here too.
        connection = Connection(url, TIMEOUT_MS)
        connection.set_ef(statement.ef)
        connection.db.adapters.register_dumper(Vector, VectorDumper)
        cursor = psycopg.RawCursor(connection.db)
        vectors = [Vector(packed(query)) for query in queries]

        def ask(at: int):
            return cursor.execute(
                statement.statement, [vectors[at % len(vectors)], ""], prepare=True, binary=True
            ).fetchall()

        return ask

    return make


def http(port: int, requests: list[bytes]):
    """Requests made beforehand, over one kept connection."""

    def make(number: int):
        client = Http(port)

        def ask(at: int):
            return client.send(requests[at % len(requests)])

        return ask

    return make
