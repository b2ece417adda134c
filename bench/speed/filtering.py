"""Filtered queries: what the API's choice of plan costs beside both plans forced, at equal completeness.

All three run in this process on one connection in turn, so that nothing but the plans differs.
"""

import time

import numpy as np

from bench.speed import load, setup
from bench.speed.contenders import packed
from bench.speed.documents import Documents, nearest
from bench.speed.setup import Bench
from vectors import collections, search
from vectors.database import Connection

K = 10
FILTERS = {"0.1 %": ("per_1000", 0), "1 %": ("per_100", 0), "10 %": ("per_10", 0), "50 %": ("per_2", 0)}
WIDTHS = (40, 100, 200, 400, 800)
RECALL = 0.95
SLOWER_MOST = 1.2


def run(bench: Bench) -> None:
    held = bench.documents(bench.sizes.filtered, 384)
    if "per_1000" not in held.metadata[0]:
        held = setup.documents.clustered(bench.sizes.filtered, 384, queries=bench.sizes.queries)
    name = bench.collection(held)
    bench.report.section(f"Filtered queries, {held.name}, top {K}, recall {RECALL} asked for")
    collections.collection_forget()
    collection = collections.collection_get(name)
    rows, slower = [], []
    connection = Connection(bench.url, 60_000)
    try:
        for share, (key, value) in FILTERS.items():
            found = one(connection, collection, held, key, value, max(bench.sizes.queries // 4, 15))
            rows.append([share, *found.row()])
            slower.append((share, found))
    finally:
        connection.close()
    bench.report.table(
        [
            "match",
            "plan",
            "ef",
            "complete",
            "recall@10",
            "p50 ms",
            "exact, p50",
            "iterative, p50",
            "its recall",
        ],
        rows,
    )
    bench.report.say()
    for share, found in slower:
        bench.report.target(f"filter of {share}, complete", found.complete, least=1.0)
        bench.report.target(f"filter of {share}, recall@10", found.recall, least=RECALL)
        bench.report.target(f"filter of {share}, time / best of forced", found.slower, most=SLOWER_MOST)


class Found:
    """The figures of one selectivity; times are medians in ms."""

    def __init__(self, plans, efs, complete, recall, ours, exact, iterative):
        self.plans, self.efs = plans, efs
        self.complete, self.recall, self.ours, self.exact = complete, recall, ours, exact
        # (time, recall, width) of the fastest width that gives the recall; None when none does.
        self.iterative = iterative

    @property
    def slower(self) -> float:
        return self.ours / min(self.exact, self.iterative[0] if self.iterative else self.exact)

    def row(self) -> list:
        iterative = (
            [f"{self.iterative[0]:.2f} (ef {self.iterative[2]})", f"{self.iterative[1]:.3f}"]
            if self.iterative
            else ["none reaches it", None]
        )
        return [
            *("/".join(sorted(self.plans)), "/".join(map(str, sorted(self.efs))) or None),
            *(f"{self.complete * 100:.1f} %", f"{self.recall:.3f}", f"{self.ours:.2f}", f"{self.exact:.2f}"),
            *iterative,
        ]


def one(connection: Connection, collection, held: Documents, key: str, value, queries: int) -> Found:
    """The figures of the filter {key: value}."""
    among = np.array([row for row, metadata in enumerate(held.metadata) if metadata[key] == value])
    asked = held.queries[:queries]
    truth = [{held.ids[among[at]] for at in best} for best in nearest(held.vectors[among], asked, K)]
    filter = {key: value}
    # What is matched by the index of metadata, as a user would write it.
    condition = f"namespace = '' AND metadata @> '{{\"{key}\": {value}}}'"
    graph = search.nearest_sql(
        collection, search.spans_of(collection, search.EVERYTHING, K, False, None)[0], "", condition, K
    )
    exact = search.nearest_sql(collection, (), "", condition, K)
    ways = {"ours": None, "exact": 0} | {f"ef {width}": width for width in WIDTHS}
    times: dict[str, list[float]] = {way: [] for way in ways}
    hits = dict.fromkeys(ways, 0)
    plans, efs, complete = set(), set(), 0
    for number, vector in enumerate(asked):
        packed_vector, best = packed(vector), truth[number]
        order = list(ways.items()) if number % 2 == 0 else list(reversed(ways.items()))
        for way, width in order:
            begun = time.perf_counter()
            if way == "ours":
                found = search.points_query(
                    connection,
                    collection,
                    packed=packed_vector,
                    top_k=K,
                    filter=filter,
                    include=(),
                    recall=RECALL,
                )
                ids = [match["id"] for match in found["matches"]]
            else:
                ids = forced(connection, exact if way == "exact" else graph, packed_vector, width)
            times[way].append(time.perf_counter() - begun)
            hits[way] += len(best & set(ids))
            if way == "ours":
                complete += len(ids) == min(K, len(among))
                plans.add(found["plan"])
                efs |= {found["ef"]} if found["ef"] else set()
    # The first of each way has its plan made and its pages read.
    median = {way: load.percentile(sorted(values[1:]), 0.5) * 1000 for way, values in times.items()}
    recalls = {way: hits[way] / sum(map(len, truth)) for way in ways}
    reached = [
        (median[way], recalls[way], width) for way, width in ways.items() if width and recalls[way] >= RECALL
    ]
    return Found(
        plans,
        efs,
        complete / len(asked),
        recalls["ours"],
        median["ours"],
        median["exact"],
        min(reached, default=None),
    )


def forced(connection: Connection, statement: str, vector: bytes, width: int) -> list[str]:
    """The ids that one plan gives: through the graph of this width, or, with 0, exactly."""
    if width:
        connection.set_ef(width)
    connection.simple(f"SET enable_bitmapscan = {'off' if width else 'on'}")
    try:
        result = connection.run(statement, [vector], [1], prepare=False)
    finally:
        connection.simple("SET enable_bitmapscan = on")
    rows = search.ranked(result)[:K]
    return [point_id.decode() for _, point_id, _ in rows]
