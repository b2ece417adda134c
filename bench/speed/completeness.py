"""Completeness on real documents: bench/completeness --data DIR

Loads the documents of a folder (points.ndjson.gz, embeddings.f16.npy, queries.f16.npy, truth_top100.i32.npy),
builds the index and asks queries by filters that 0.01 % to 50 % of the points meet: ranges of sizes, lists of
versions, sections left out, and either of two ranges. The rows of each answer are held against all that
exist, and against the exact answer. There is a table for metadata as it is and one for declared fields. Exit
status 1 when a row is missing or does not meet its filter. PostgreSQL is one of the bench's own, unless
DATABASE_URL names a server it may create databases in.
"""

import argparse
import os
import random
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from bench.speed import documents, load, machine, report, setup
from bench.speed.client import Vectors
from bench.speed.documents import Documents, nearest

QUERIES = 200
SHARES = (0.0001, 0.001, 0.01, 0.1, 0.5)
SIZE, VERSION, SECTION = "installed_size_kib", "version", "section"
FIELDS = [
    {"name": SIZE, "type": "number"},
    {"name": VERSION, "type": "keyword"},
    {"name": SECTION, "type": "keyword"},
]


class Filters:
    """Filters of a wanted share of the documents, and the rows that meet them, found without the API."""

    def __init__(self, held: Documents):
        self.sizes = np.array([metadata[SIZE] for metadata in held.metadata])
        self.versions = np.array([metadata[VERSION] for metadata in held.metadata])
        self.sections = np.array([metadata[SECTION] for metadata in held.metadata])
        self.ordered = np.sort(self.sizes)
        self.chance = random.Random(7)

    def make(self, number: int, share: float) -> tuple[dict, np.ndarray]:
        """(filter, mask of the rows) of about this share of the documents."""
        forms = (self.window, self.listed, self.without, self.either)
        return forms[number % len(forms)](max(round(share * len(self.sizes)), 1))

    def window(self, rows: int) -> tuple[dict, np.ndarray]:
        """A range of sizes."""
        low, high = self._bounds(rows)
        return {SIZE: {"$gte": low, "$lte": high}}, self._within(low, high)

    def listed(self, rows: int) -> tuple[dict, np.ndarray]:
        """Some of the versions."""
        counts = sorted(Counter(self.versions.tolist()).items())
        self.chance.shuffle(counts)
        chosen, total = [], 0
        for version, count in counts:
            if total >= rows:
                break
            if total + count <= rows * 1.5:
                chosen.append(version)
                total += count
        return {VERSION: {"$in": chosen}}, np.isin(self.versions, chosen)

    def without(self, rows: int) -> tuple[dict, np.ndarray]:
        """A range of sizes, in all sections but two."""
        low, high = self._bounds(rows)
        others = self.chance.sample(sorted(set(self.sections.tolist())), 2)
        return (
            {"$and": [{SIZE: {"$gte": low}}, {SIZE: {"$lte": high}}, {"$not": {SECTION: {"$in": others}}}]},
            self._within(low, high) & ~np.isin(self.sections, others),
        )

    def either(self, rows: int) -> tuple[dict, np.ndarray]:
        """One range of sizes or another."""
        (low, high), (least, most) = self._bounds(max(rows // 2, 1)), self._bounds(max(rows // 2, 1))
        return (
            {"$or": [{SIZE: {"$gte": low, "$lte": high}}, {SIZE: {"$gte": least, "$lte": most}}]},
            self._within(low, high) | self._within(least, most),
        )

    def _bounds(self, rows: int) -> tuple[int, int]:
        """The least and the greatest size of a window of so many rows, where sizes differ enough for that."""
        best = None
        for _ in range(20):
            start = self.chance.randrange(len(self.ordered) - rows + 1)
            low, high = int(self.ordered[start]), int(self.ordered[start + rows - 1])
            found = int(self._within(low, high).sum())
            if best is None or found < best[0]:
                best = found, low, high
        return best[1], best[2]

    def _within(self, low: int, high: int) -> np.ndarray:
        return (self.sizes >= low) & (self.sizes <= high)


def measure(said: report.Report, client: Vectors, name: str, held: Documents, k: int) -> int:
    """Print the table of one collection; how many rows were missing or wrong."""
    filters = Filters(held)
    rows = {point_id: row for row, point_id in enumerate(held.ids)}
    low, high = np.log(SHARES[0]), np.log(SHARES[-1])
    bands: dict[int, list[dict]] = {}
    for number in range(QUERIES):
        share = float(np.exp(low + (high - low) * number / (QUERIES - 1)))
        filter, mask = filters.make(number, share)
        among = np.flatnonzero(mask)
        vector = held.queries[number % len(held.queries)]
        body = {"vector": vector.tolist(), "top_k": k, "filter": filter, "include": []}
        answer = client.call("POST", f"collections/{name}/query", body)
        found = [rows[match["id"]] for match in answer["matches"]]
        best = set(among[nearest(held.vectors[among], vector[None], k)[0]].tolist()) if len(among) else set()
        band = min(int(np.searchsorted(SHARES, len(among) / len(held), side="right")), len(SHARES) - 1)
        bands.setdefault(max(band, 1), []).append(
            {
                "exist": min(k, len(among)),
                "found": len(set(found)),
                "wrong": int((~mask[found]).sum()) + (answer["exhausted"] != (len(among) < k)),
                "recall": len(best & set(found)) / len(best) if best else 1.0,
                "plan": answer["plan"],
                "ms": answer["took_ms"],
            }
        )
    table, missing, wrong = [], 0, 0
    for band in sorted(bands):
        asked = bands[band]
        exist, found = (sum(one[what] for one in asked) for what in ("exist", "found"))
        missing += sum(max(one["exist"] - one["found"], 0) for one in asked)
        wrong += sum(one["wrong"] for one in asked)
        recalls = [one["recall"] for one in asked]
        plans = Counter(one["plan"] for one in asked)
        table.append(
            [
                *(f"{SHARES[band - 1] * 100:g} to {SHARES[band] * 100:g} %", len(asked), exist, found),
                *(sum(one["wrong"] for one in asked), f"{np.mean(recalls):.4f}", f"{min(recalls):.2f}"),
                *(load.percentile([one["ms"] for one in asked], share) for share in (0.5, 0.99)),
                ", ".join(f"{plan} {count}" for plan, count in sorted(plans.items())),
            ]
        )
    said.table(
        [
            *("points that match", "queries", "rows that exist", "returned", "wrong", f"recall@{k}", "least"),
            *("p50 ms", "p99 ms", "plans"),
        ],
        table,
    )
    said.say()
    everything = [one["recall"] for asked in bands.values() for one in asked]
    said.target("rows missing", missing, most=0)
    said.target("rows that do not meet their filter, or wrongly said to be all", wrong, most=0)
    said.target(f"recall@{k}", float(np.mean(everything)), least=0.95)
    return missing + wrong


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="bench/completeness", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    given = os.environ.get("AINDUS_BENCH_DATA")
    parser.add_argument("--data", type=Path, default=given, required=not given, help="folder of documents")
    parser.add_argument("--top-k", type=int, default=10)
    parser.add_argument("--keep", action="store_true", help="keep the tables under bench/results")
    options = parser.parse_args()
    held = documents.folder(Path(options.data))
    said, faults = report.Report(), 0
    said.say(f"bench/completeness, {held.name}, on {report.machine_line()}")
    server = os.environ.get("DATABASE_URL") or None
    with machine.Postgres(server) as postgres, postgres.database("complete") as url:
        machine.migrate(url)
        with machine.api(url) as api:
            client = Vectors(api.port)
            for title, more in (("Metadata as it is", {}), ("Declared fields", {"fields": FIELDS})):
                name = f"c{len(more)}"
                setup.load(client, name, held, **more)
                client.build(name)
                said.section(f"{title}, {QUERIES} queries by filters, top {options.top_k}")
                faults += measure(said, client, name, held, options.top_k)
    said.summary()
    if options.keep:
        print(f"kept as {said.keep(machine.ROOT / 'bench' / 'results', 'completeness')}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
