"""Who is measured: makers of ask(n), one query, for `load.alternate`.

A maker is called in the process that does the asking; what it needs is made there.
"""

from dataclasses import dataclass

import numpy as np
import psycopg

from bench.speed.client import Http
from vectors.database import Connection


@dataclass
class Statement:
    """What the API's query comes to in PostgreSQL: its text and the width it searches the graph at."""

    sql: str
    ef: int


def packed(vector: np.ndarray) -> bytes:
    """pgvector's binary form."""
    return len(vector).to_bytes(2, "big") + b"\0\0" + vector.astype(">f4").tobytes()


def statement_of(url: str, ask) -> Statement:
    """The statement that the running API prepared when ask() is called, as PostgreSQL tells it.

    ask() makes one query of the API and gives its answer, which says ef.
    """
    raise NotImplementedError


class Vector(bytes):
    """Bytes that psycopg sends as they are, in binary."""


class VectorDumper(psycopg.adapt.Dumper):
    format = psycopg.pq.Format.BINARY

    def dump(self, value):
        return bytes(value)


def raw(url: str, statement: Statement, queries: np.ndarray, *, timeout_ms: int = 30_000):
    """psycopg by itself: the session the API has, prepared, parameters and rows in binary."""

    def make(number: int):
        # The API's own connection, so that whatever it sets is set here too.
        db = Connection(url, timeout_ms)
        db.set_ef(statement.ef)
        db.db.adapters.register_dumper(Vector, VectorDumper)
        cursor = psycopg.RawCursor(db.db)
        vectors = [Vector(packed(query)) for query in queries]

        def ask(at: int):
            return cursor.execute(
                statement.sql, [vectors[at % len(vectors)], ""], prepare=True, binary=True
            ).fetchall()

        return ask

    return make


def http(port: int, requests: list[bytes]):
    """Requests made beforehand over one kept connection."""

    def make(number: int):
        client = Http(port)

        def ask(at: int):
            return client.send(requests[at % len(requests)])

        return ask

    return make
