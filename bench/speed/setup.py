"""What sections share: one database with one server, and collections that are loaded and built once."""

import base64
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import psycopg

from bench.speed import documents, machine
from bench.speed.client import Vectors
from bench.speed.documents import Documents
from bench.speed.report import Report

BATCH = 500


@dataclass
class Sizes:
    """How much a run does; `quick()` is what ends within two minutes."""

    small: int = 100_000
    wide: int = 50_000
    filtered: int = 100_000
    connections: tuple[int, ...] = (1, 8, 32)
    rounds: int = 12
    slice_seconds: float = 0.8
    queries: int = 200
    ingested: int = 20_000
    live_indexed: int = 20_000
    live_added: int = 20_000
    live_rounds: int = 2
    growth: tuple[int, ...] = (10_000, 30_000, 100_000, 300_000)
    collections: int = 1000
    starts: int = 7

    def scaled(self, factor: float) -> "Sizes":
        """The same with so many times the points, but no collection so small that it is read as a whole."""

        def times(count: int) -> int:
            return max(round(count * factor), 6_000)

        points = ("small", "wide", "filtered", "ingested", "live_indexed", "live_added")
        return replace(
            self,
            **{name: times(getattr(self, name)) for name in points},
            growth=tuple(sorted({times(count) for count in self.growth})),
        )

    @classmethod
    def quick(cls) -> "Sizes":
        return cls(
            small=6_000,
            wide=5_000,
            filtered=6_000,
            connections=(1, 8),
            rounds=3,
            slice_seconds=0.25,
            queries=60,
            ingested=3_000,
            live_indexed=3_000,
            live_added=3_000,
            live_rounds=1,
            growth=(6_000, 12_000),
            collections=60,
            starts=3,
        )


@dataclass
class Bench:
    """A run: where it reports to, how much it does, and the server that is measured."""

    report: Report
    sizes: Sizes
    postgres: machine.Postgres
    url: str
    api: machine.Api
    data: Path | None = None
    rivals: bool = True
    made: dict[str, str] = field(default_factory=dict)
    known: dict = field(default_factory=dict)

    def client(self) -> Vectors:
        return Vectors(self.api.port)

    def documents(self, count: int, dimension: int) -> Documents:
        """So many documents; of 384 dimensions those of --data when it has as many, else clustered ones."""
        key = count, dimension
        if key not in self.known:
            real = self.data is not None and dimension == 384 and count <= 30_000
            self.known[key] = (
                documents.folder(self.data, count)
                if real
                else documents.clustered(count, dimension, queries=self.sizes.queries)
            )
        return self.known[key]

    def collection(self, held: Documents, precision: str = "vector") -> str:
        """The name of a collection of the documents with an index; made when first asked for."""
        key = f"{held.name} {precision}"
        if key not in self.made:
            name = f"c{len(self.made)}"
            client = self.client()
            load(client, name, held, index={"type": "hnsw", "precision": precision})
            built = client.build(name)["built"]
            self.report.say(f"built {key}: {built['seconds']:.1f} s")
            self.made[key] = name
        return self.made[key]

    def table(self, name: str) -> str:
        return table_of(self.url, name)


def table_of(url: str, name: str) -> str:
    """The table of a collection."""
    with psycopg.connect(url) as db:
        row = db.execute("SELECT id FROM vectors_collection WHERE name = %s", [name]).fetchone()
    return f"vectors_data.p_{row[0].hex}"


def block(held: Documents, start: int, end: int) -> dict:
    """A batch of some documents with one base64 block of vectors."""
    vectors = np.ascontiguousarray(held.vectors[start:end], dtype="<f4")
    return {
        "ids": held.ids[start:end],
        "vectors_b64": base64.b64encode(vectors.tobytes()).decode(),
        "contents": held.contents[start:end],
        "metadata": held.metadata[start:end],
    }


def load(client: Vectors, name: str, held: Documents, **more) -> None:
    """Make a collection of the documents, without building its index; `more` is for its creation."""
    body = {"name": name, "dimension": held.dimension, "auto_index": False}
    client.call("POST", "collections", body | more)
    for start in range(0, len(held), BATCH):
        client.call("POST", f"collections/{name}/points", block(held, start, start + BATCH))


def settle(url: str) -> None:
    """Have PostgreSQL write what it holds back, so that it does not do so while others are measured."""
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("CHECKPOINT")


def configure(url: str) -> None:
    """Make this process able to use the product's own code on a database, as role `api` does."""
    os.environ.update(machine.api_environment(url))
    import django

    django.setup()
    use(url)


def use(url: str) -> None:
    """Point the product's code in this process to a database."""
    from vectors import collections, database

    database.use(database.Pool(url))
    collections.collection_forget()
