"""Search: the API beside raw psycopg, with a halfvec index, beside FastAPI + asyncpg and chromadb."""

import contextlib
import json

import psycopg

from bench.speed import contenders, load, rivals, setup
from bench.speed.client import Vectors, request
from bench.speed.documents import Documents
from bench.speed.setup import Bench

RAW, API, HALF, FASTAPI, CHROMA = "raw psycopg", "api", "api, halfvec index", "FastAPI + asyncpg", "chromadb"
RIVAL_WORKERS = 2


def run(bench: Bench) -> None:
    for count, dimension in ((bench.sizes.small, 384), (bench.sizes.wide, 1536)):
        measure(bench, bench.documents(count, dimension))


def measure(bench: Bench, held: Documents) -> None:
    """The table of one set of documents."""
    bench.report.section(f"Search, {held.name}, top 10 with metadata")
    full, half = bench.collection(held), bench.collection(held, "halfvec")
    statement = contenders.statement_of(full)
    asked = {name: [question(name, vector) for vector in held.queries] for name in (full, half)}
    groups = {
        RAW: contenders.raw(bench.url, statement, held.queries),
        API: contenders.http(bench.api.port, asked[full]),
        HALF: contenders.http(bench.api.port, asked[half]),
    }
    recalls = {
        RAW: recall_of(held, groups[RAW](0), lambda rows: [row[0] for row in rows]),
        API: recall_of(held, groups[API](0), ids_of),
        HALF: recall_of(held, groups[HALF](0), ids_of),
    }
    serving = {API: bench.api.workers, HALF: bench.api.workers}
    with contextlib.ExitStack() as stack:
        if bench.rivals:
            serving[FASTAPI] = add_fastapi(bench, held, full, statement, groups, recalls, stack)
            serving[CHROMA] = add_chroma(held, statement, groups, recalls, stack)
        setup.settle(bench.url)
        rows, found = [], {}
        for connections in bench.sizes.connections:
            found[connections] = load.alternate(
                groups,
                connections,
                rounds=bench.sizes.rounds,
                seconds=bench.sizes.slice_seconds,
                servers=lambda name: bench.postgres.backends() + serving.get(name, list)(),
            )
            rows += rows_of(connections, found[connections], recalls)
    bench.report.say(
        f"ef_search {statement.ef}. Ratios are to raw: of requests/s, the median of slices (quartiles);"
        " of CPU, what raw needs\nfor a request, all its processes together, to what the other needs: it"
        " holds on a machine that others use too.\n"
    )
    bench.report.table(
        [
            "connections, who",
            "recall@10",
            "requests/s",
            "ratio",
            "",
            "p50 ms",
            "p99 ms",
            "p99 ratio",
            "CPU ms",
            "CPU ratio",
        ],
        rows,
    )
    targets(bench, held, found, recalls)


def question(name: str, vector) -> bytes:
    body = {"vector": vector.tolist(), "top_k": 10, "include": ["metadata"]}
    return Vectors.request("POST", f"collections/{name}/query", body)


def ids_of(answer: bytes) -> list[str]:
    return [match["id"] for match in json.loads(answer)["matches"]]


def recall_of(held: Documents, ask, ids) -> float:
    return held.recall([ids(ask(at)) for at in range(len(held.queries))])


def add_fastapi(bench: Bench, held: Documents, name: str, statement, groups, recalls, stack):
    """On the same table and index, through a view with the condition of the index."""
    view = f"rival_{name}"
    last = statement.spans[0].condition()
    with psycopg.connect(bench.url, autocommit=True) as db:
        db.execute(
            f"CREATE VIEW {view} AS SELECT id, namespace, embedding, metadata FROM {bench.table(name)}"
            f" WHERE true{last}"
        )
    rival = stack.enter_context(rivals.fastapi(bench.url, RIVAL_WORKERS, view, statement.ef))
    asked = [
        request("POST", "/query", {"vector": vector.tolist(), "top_k": 10}, authorization="Bearer bench")
        for vector in held.queries
    ]
    groups[FASTAPI] = contenders.http(rival.port, asked)
    recalls[FASTAPI] = recall_of(held, groups[FASTAPI](0), ids_of)
    return rival.pids


def add_chroma(held: Documents, statement, groups, recalls, stack):
    """On an index of the same parameters, searched as wide."""
    rival = stack.enter_context(rivals.chroma())
    client = rivals.Chroma(rival.port)
    client.create("bench", statement.ef)
    for start in range(0, len(held), setup.BATCH):
        client.send(client.addition(held, start, start + setup.BATCH))
    asked = [client.question(vector) for vector in held.queries]
    groups[CHROMA] = contenders.http(rival.port, asked)
    recalls[CHROMA] = recall_of(held, groups[CHROMA](0), client.found)
    return rival.pids


def rows_of(connections: int, found: dict[str, load.Measured], recalls: dict[str, float]) -> list[list]:
    raw = found[RAW]
    rows = []
    for name, measured in found.items():
        middle, low, high = load.ratio(measured, raw)
        p99 = measured.percentile(0.99)
        rows.append(
            [
                *(f"{connections:2}  {name}", f"{recalls[name]:.3f}", measured.rate, f"{middle:.2f}"),
                *(f"({low:.2f} .. {high:.2f})", measured.percentile(0.5), p99),
                *(
                    f"{p99 / raw.percentile(0.99):.2f}",
                    measured.cpu_ms,
                    f"{raw.cpu_ms / measured.cpu_ms:.2f}",
                ),
            ]
        )
    return rows


def targets(bench: Bench, held: Documents, found, recalls) -> None:
    say, size = bench.report.target, f"{held.dimension} dimensions"
    bench.report.say()
    say(f"{size}, recall@10 of the api", recalls[API], least=0.95)
    say(f"{size}, recall@10 of the halfvec index", recalls[HALF], least=0.95)
    for connections, least in ((8, 0.95), (32, 0.9)):
        if connections not in found:
            continue
        at, here = f"{size}, {connections} connections", found[connections]
        say(f"{at}, api / raw", load.ratio(here[API], here[RAW])[0], least=least)
        say(f"{at}, p99 api / raw", here[API].percentile(0.99) / here[RAW].percentile(0.99), most=1.3)
        if connections == 8:
            say(f"{at}, halfvec / raw full vector", load.ratio(here[HALF], here[RAW])[0], least=1.05)
        for rival, times in ((FASTAPI, 1.5), (CHROMA, 2.0)):
            if rival in here and connections == 8:
                say(f"{at}, api / {rival}", load.ratio(here[API], here[rival])[0], least=times)
