"""Ingest in batches of 500 without an index: the API's two forms of vectors beside binary COPY."""

import struct
import time

import psycopg

from bench.speed import load, setup
from bench.speed.client import Vectors
from bench.speed.contenders import packed
from bench.speed.documents import Documents
from bench.speed.setup import BATCH, Bench
from vectors.batches import COPY_HEAD, COPY_TAIL

COPY, JSON, BLOCK = "binary COPY", "JSON lists", "base64 block"


def run(bench: Bench) -> None:
    for dimension in (384, 1536):
        count = bench.sizes.ingested if dimension == 384 else bench.sizes.ingested // 4
        measure(bench, bench.documents(count, dimension))


def measure(bench: Bench, held: Documents) -> None:
    """The table of one dimension: batches of each form in turn, each form into a collection of its own."""
    bench.report.section(f"Ingest without an index, {held.name}, batches of {BATCH}, one client")
    client = bench.client()
    names = {form: f"i{held.dimension}{at}" for at, form in enumerate((JSON, BLOCK))}
    for name in names.values():
        client.call("POST", "collections", {"name": name, "dimension": held.dimension, "auto_index": False})
    requests = {
        JSON: lambda start: listed(held, start),
        BLOCK: lambda start: setup.block(held, start, start + BATCH),
    }
    seconds: dict[str, list[float]] = {form: [] for form in (COPY, JSON, BLOCK)}
    with psycopg.connect(bench.url, autocommit=True) as db:
        # What the API keeps, without what makes it searchable by metadata.
        like = bench.table(names[JSON])
        db.execute(f"CREATE TABLE copied (LIKE {like} INCLUDING DEFAULTS, PRIMARY KEY (namespace, id))")
        for start in range(0, len(held), BATCH):
            prepared = {
                form: Vectors.request("POST", f"collections/{name}/points", requests[form](start))
                for form, name in names.items()
            }
            rows = copied(held, start)
            for form in (COPY, JSON, BLOCK):
                begun = time.perf_counter()
                if form == COPY:
                    with db.cursor().copy(
                        "COPY copied (id, embedding, content, metadata) FROM STDIN (FORMAT BINARY)"
                    ) as copy:
                        copy.write(rows)
                else:
                    client.send(prepared[form])
                seconds[form].append(time.perf_counter() - begun)
        counts = [
            db.execute(f"SELECT count(*) FROM {bench.table(name)}").fetchone() for name in names.values()
        ]
        db.execute("DROP TABLE copied")
    if counts != [(len(held),)] * len(names):
        raise RuntimeError(f"{counts} rows of {len(held)} were kept")
    medians = {form: load.percentile(times, 0.5) for form, times in seconds.items()}
    bench.report.table(
        ["way", "vectors/s", "ratio", "ms a batch, p50", "p99"],
        [
            [
                *(form, len(held) / sum(times), f"{sum(seconds[COPY]) / sum(times):.2f}"),
                *(medians[form] * 1000, load.percentile(times, 0.99) * 1000),
            ]
            for form, times in seconds.items()
        ],
    )
    bench.report.say()
    for form, least in ((JSON, 0.3), (BLOCK, 0.5)):
        bench.report.target(
            f"{held.dimension} dimensions, {form} / {COPY}", medians[COPY] / medians[form], least=least
        )
    for name in names.values():
        client.call("DELETE", f"collections/{name}")


def listed(held: Documents, start: int) -> dict:
    """A batch with its vectors as lists of numbers."""
    span = slice(start, start + BATCH)
    return {
        "points": [
            {"id": point_id, "vector": vector, "content": content, "metadata": metadata}
            for point_id, vector, content, metadata in zip(
                held.ids[span],
                held.vectors[span].tolist(),
                held.contents[span],
                held.metadata[span],
                strict=True,
            )
        ]
    }


def copied(held: Documents, start: int) -> bytes:
    """The same batch in COPY's binary form."""
    import orjson

    rows = [COPY_HEAD]
    for row in range(start, min(start + BATCH, len(held))):
        fields = (
            held.ids[row].encode(),
            packed(held.vectors[row]),
            held.contents[row].encode(),
            b"\1" + orjson.dumps(held.metadata[row]),
        )
        rows.append(struct.pack(">h", len(fields)))
        rows += [struct.pack(">i", len(field)) + field for field in fields]
    rows.append(COPY_TAIL)
    return b"".join(rows)
