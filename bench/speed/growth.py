"""Growth: how latency rises with the number of points, beside the raw statement's."""

from bench.speed import contenders, load, searching, setup
from bench.speed.setup import Bench

CONNECTIONS = 2


def run(bench: Bench) -> None:
    sizes = bench.sizes.growth
    bench.report.section("Growth, 384 dimensions, clustered, top 10 with metadata")
    rows, first = [], None
    for count in sizes:
        held = setup.documents.clustered(count, 384, queries=bench.sizes.queries)
        name = bench.collection(held)
        statement = contenders.statement_of(name)
        asked = [searching.question(name, vector) for vector in held.queries]
        groups = {
            searching.RAW: contenders.raw(bench.url, statement, held.queries),
            searching.API: contenders.http(bench.api.port, asked),
        }
        recall = searching.recall_of(held, groups[searching.API](0), searching.ids_of)
        setup.settle(bench.url)
        found = load.alternate(
            groups, CONNECTIONS, rounds=bench.sizes.rounds, seconds=bench.sizes.slice_seconds
        )
        raw, api = found[searching.RAW].percentile(0.5), found[searching.API].percentile(0.5)
        first = first or (raw, api)
        rows.append(
            [
                *(f"{count:,}", f"{recall:.3f}", statement.ef, raw, api, f"{api / raw:.2f}"),
                *(f"{raw / first[0]:.2f}", f"{api / first[1]:.2f}"),
            ]
        )
        last = (raw / first[0], api / first[1])
    bench.report.table(
        ["points", "recall@10", "ef", "raw p50 ms", "api p50 ms", "api / raw", "raw grew by", "api grew by"],
        rows,
    )
    bench.report.say()
    bench.report.target(
        f"from {sizes[0]:,} to {sizes[-1]:,} points, growth of the api / growth of raw",
        last[1] / last[0],
        most=1.05,
    )
