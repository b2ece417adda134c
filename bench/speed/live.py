"""Ingest into a collection whose index serves, with queries going on: the API and chromadb, turn about.

Every query notes how much had been acknowledged before it was sent, so that afterwards its answer is held
against the exact one over just that.
"""

import contextlib
import multiprocessing
import os
import random
import time

import numpy as np

from bench.speed import load, machine, rivals, searching, setup
from bench.speed.client import Http, Vectors
from bench.speed.documents import Documents
from bench.speed.setup import BATCH, Bench

ASKERS = 1
K = 10


class Ours:
    """The API, as a store to write to and ask."""

    name = "api"

    def __init__(self, bench: Bench, collection: str):
        self.port = bench.api.port
        self.collection = collection

    def addition(self, held: Documents, start: int, end: int) -> bytes:
        return Vectors.request("POST", f"collections/{self.collection}/points", setup.block(held, start, end))

    def question(self, vector) -> bytes:
        return searching.question(self.collection, vector)

    def found(self, answer: bytes) -> list[str]:
        return searching.ids_of(answer)


def run(bench: Bench) -> None:
    sizes = bench.sizes
    held = bench.documents(sizes.live_indexed + sizes.live_added, 384)
    bench.report.section(
        f"Ingest into a live index: {sizes.live_indexed:,} points of 384 dimensions are indexed,"
        f" {sizes.live_added:,} come in batches of {BATCH}, with queries going on"
    )
    likeness = held.vectors @ held.queries.T
    stores: dict[str, list[dict]] = {}
    with contextlib.ExitStack() as stack:
        chroma = stack.enter_context(rivals.chroma()) if bench.rivals else None
        for number in range(sizes.live_rounds):
            turns = [lambda number=number: ours(bench, held, number)]
            if chroma is not None:
                turns.append(lambda number=number: theirs(bench, held, number, chroma.port))
            for turn in turns if number % 2 == 0 else reversed(turns):
                store = turn()
                stores.setdefault(store.name, []).append(measure(store, held, sizes.live_indexed, likeness))
                if isinstance(store, Ours):
                    stores[store.name][-1]["index"] = described(bench, store.collection)
                    bench.client().call("DELETE", f"collections/{store.collection}")
    bench.report.table(
        ["who", "vectors/s", "queries/s", "p50 ms", "p99 ms", "recall@10", "least of a tenth", "missing"],
        [
            [
                *(
                    name,
                    middle(runs, "rate"),
                    middle(runs, "asked"),
                    middle(runs, "p50"),
                    middle(runs, "p99"),
                ),
                *(f"{middle(runs, 'recall'):.3f}", f"{min(r['least'] for r in runs):.3f}"),
                sum(r["missing"] for r in runs),
            ]
            for name, runs in stores.items()
        ],
    )
    found = stores["api"]
    bench.report.say(f"the api's index right after the last batch: {found[-1]['index']}\n")
    if "chromadb" in stores:
        ratio = middle(found, "rate") / middle(stores["chromadb"], "rate")
        bench.report.target("live ingest, api / chromadb", ratio, least=1.0)
    bench.report.target("live ingest, recall@10 throughout", min(r["least"] for r in found), least=0.95)
    bench.report.target("live ingest, points missing", sum(r["missing"] for r in found), most=0)


def middle(runs: list[dict], name: str) -> float:
    return float(np.median([run[name] for run in runs]))


def ours(bench: Bench, held: Documents, number: int) -> Ours:
    client, name = bench.client(), f"live{number}"
    client.call("POST", "collections", {"name": name, "dimension": held.dimension})
    for start in range(0, bench.sizes.live_indexed, BATCH):
        end = min(start + BATCH, bench.sizes.live_indexed)
        client.call("POST", f"collections/{name}/points", setup.block(held, start, end))
    client.build(name)
    return Ours(bench, name)


def theirs(bench: Bench, held: Documents, number: int, port: int) -> rivals.Chroma:
    client = rivals.Chroma(port)
    client.create(f"live{number}")
    for start in range(0, bench.sizes.live_indexed, BATCH):
        client.send(client.addition(held, start, min(start + BATCH, bench.sizes.live_indexed)))
    return client


def described(bench: Bench, name: str) -> str:
    index = bench.client().call("GET", f"collections/{name}")["index"]
    return f"{index['segments']} segments, {index['unindexed_points']:,} points not yet in one"


def measure(store, held: Documents, indexed: int, likeness: np.ndarray) -> dict:
    """Write what is not indexed while others ask; rates, latency, recall and what was missing."""
    context = multiprocessing.get_context("fork")
    acknowledged, stop = context.Value("q", indexed), context.Event()
    askers = []
    for number, work in enumerate([*[asking] * ASKERS, checking]):
        here, there = context.Pipe(duplex=False)
        process = context.Process(
            target=work, args=(store, held, number, acknowledged, stop, there), daemon=True
        )
        process.start()
        askers.append((process, here))
    client, batches = Http(store.port), []
    for start in range(indexed, len(held), BATCH):
        end = min(start + BATCH, len(held))
        batches.append((end, store.addition(held, start, end)))
    begun = time.perf_counter()
    for end, request in batches:
        client.send(request)
        acknowledged.value = end
    seconds = time.perf_counter() - begun
    stop.set()
    logs = [pipe.recv() for _, pipe in askers]
    for process, _ in askers:
        process.join()
    rows = {point_id: row for row, point_id in enumerate(held.ids)}
    asked = [entry for log in logs[:-1] for entry in log]
    recalls = [recall(rows, likeness, *entry[1:]) for entry in asked]
    return {
        "rate": (len(held) - indexed) / seconds,
        "asked": len(asked) / seconds,
        "p50": load.percentile([entry[0] for entry in asked], 0.5) * 1000,
        "p99": load.percentile([entry[0] for entry in asked], 0.99) * 1000,
        "recall": float(np.mean(recalls)),
        "least": min(float(part.mean()) for part in np.array_split(recalls, min(len(recalls), 10))),
        "missing": sum(logs[-1]),
    }


def asking(store, held: Documents, number: int, acknowledged, stop, pipe) -> None:
    """Ask one query after the other: (seconds, acknowledged before, query, ids found) of each."""
    machine.die_with_parent()
    client, log = Http(store.port), []
    questions = [store.question(vector) for vector in held.queries]
    at = number * 7919
    while not stop.is_set():
        before, query = acknowledged.value, at % len(questions)
        begun = time.perf_counter()
        answer = client.send(questions[query])
        log.append((time.perf_counter() - begun, before, query, store.found(answer)))
        at += 1
    pipe.send(log)
    os._exit(0)


def checking(store, held: Documents, number: int, acknowledged, stop, pipe) -> None:
    """Ask for points just acknowledged by their own vectors: whether each was missing from its answer."""
    machine.die_with_parent()
    client, log, chance = Http(store.port), [], random.Random(5)
    while not stop.is_set():
        last = acknowledged.value
        row = chance.randrange(max(last - BATCH, 0), last)
        log.append(held.ids[row] not in store.found(client.send(store.question(held.vectors[row]))))
        time.sleep(0.02)
    pipe.send(log)
    os._exit(0)


def recall(rows: dict[str, int], likeness: np.ndarray, before: int, query: int, found: list[str]) -> float:
    """The share of the exact nearest of what was acknowledged; what is newer stands for one of them."""
    column = likeness[:before, query]
    best = set(np.argpartition(-column, K)[:K].tolist())
    places = [rows[point_id] for point_id in found]
    newer = sum(place >= before for place in places)
    return min(len(best & set(places)) + newer, K) / K
