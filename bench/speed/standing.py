"""What a server costs before and besides its queries: memory, time to start, and many collections."""

import statistics
import time
from pathlib import Path

from bench.speed import contenders, load, machine, searching, setup
from bench.speed.client import Http, Vectors, request
from bench.speed.setup import Bench

WARM_SECONDS = 3.0
CONNECTIONS = 4


def run(bench: Bench) -> None:
    memory(bench)
    start(bench)
    many_collections(bench)


def memory(bench: Bench) -> None:
    """The greatest worker of the server that all was measured with."""
    held = bench.documents(bench.sizes.small, 384)
    name = bench.collection(held)
    asked = [searching.question(name, vector) for vector in held.queries]
    group = load.Group(contenders.http(bench.api.port, asked), 32)
    try:
        group.run(WARM_SECONDS)
    finally:
        group.close()
    rows = [[f"worker {at + 1}", *kept(pid)] for at, pid in enumerate(bench.api.workers())]
    bench.report.section("Memory of the api's workers after all of this, MiB")
    bench.report.table(["process", "resident", "of it its own"], rows)
    bench.report.say()
    bench.report.target("memory of a worker", max(row[1] for row in rows), most=150, unit=" MiB")


def kept(pid: int) -> tuple[float, float]:
    """(resident, private) memory of a process in MiB."""
    sums = {"Rss:": 0, "Private_Clean:": 0, "Private_Dirty:": 0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, *rest = line.split()
        if name in sums:
            sums[name] += int(rest[0])
    return sums["Rss:"] / 1024, (sums["Private_Clean:"] + sums["Private_Dirty:"]) / 1024


def start(bench: Bench) -> None:
    """From starting the process to its first 200 at /ready."""
    times = []
    for _ in range(bench.sizes.starts):
        begun = time.perf_counter()
        with machine.api(bench.url, ready=False) as api:
            machine.until(lambda api=api: ready(api.port), 30, "/ready", every=0.005)
            times.append(time.perf_counter() - begun)
    bench.report.section("From start to ready")
    middle = statistics.median(times)
    bench.report.say(f"seconds: {', '.join(f'{one:.2f}' for one in sorted(times))}\n")
    bench.report.target("start to ready", middle, most=1.5, unit=" s")


def ready(port: int) -> bool:
    if not machine.listening(port):
        return False
    client = Http(port)
    try:
        return client.answer(request("GET", "/ready"))[0] == 200
    except ConnectionError:
        return False
    finally:
        client.close()


def many_collections(bench: Bench) -> None:
    """The same queries on a database of one collection and on one of a thousand, in turn."""
    count = bench.sizes.collections
    held = bench.documents(bench.sizes.growth[0], 384)
    with bench.postgres.database("one") as one, bench.postgres.database("many") as many:
        makers = {}
        with serving(one) as first, serving(many) as second:
            for name, api in (("one collection", first), (f"{count:,} collections", second)):
                client = Vectors(api.port)
                setup.load(client, "c", held)
                client.build("c")
                if api is second:
                    fill(client, count - 1)
                asked = [searching.question("c", vector) for vector in held.queries]
                makers[name] = contenders.http(api.port, asked)
            setup.settle(many)
            found = load.alternate(
                makers, CONNECTIONS, rounds=bench.sizes.rounds, seconds=bench.sizes.slice_seconds
            )
    bench.report.section(f"A query in one collection beside {count - 1:,} others")
    base, *_ = found.values()
    bench.report.table(
        ["database with", "requests/s", "ratio", "p50 ms", "p99 ms"],
        [
            [
                *(name, measured.rate, f"{load.ratio(measured, base)[0]:.2f}"),
                *(measured.percentile(0.5), measured.percentile(0.99)),
            ]
            for name, measured in found.items()
        ],
    )
    bench.report.say()
    bench.report.target(
        f"a query among {count:,} collections / alone",
        load.ratio(list(found.values())[1], base)[0],
        least=0.95,
    )


def serving(url: str):
    """A server on a database that is new."""
    machine.migrate(url)
    return machine.api(url)


def fill(client: Vectors, count: int) -> None:
    """So many collections with a point each."""
    vector = [0.5] * 384
    for at in range(count):
        client.call("POST", "collections", {"name": f"other{at}", "dimension": 384})
        client.call("POST", f"collections/other{at}/points", {"points": [{"id": "p", "vector": vector}]})
