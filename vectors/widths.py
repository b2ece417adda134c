"""How widely an index is searched for a recall, and whether reading every row costs less.

The width is ef_search of an hnsw index, and of an ivfflat index probes: the lists that are read. An index
that was calibrated (vectors/jobs/calibration.py) knows the least width of each recall.
"""

import math

from django.conf import settings

from vectors.collections import Collection

EF_STEPS = (40, 60, 80, 100, 120, 160, 200, 240, 320, 480, 640, 1000)
# Of an index that does not give a recall however wide it is searched.
OUT_OF_REACH = 2000
# Microseconds a row of 384 dimensions costs: found through an index, read by a scan, and read in a list; a
# step of ef, alone and where each candidate is held against a filter; a list's row held against a filter.
COST_ROW, COST_SCANNED, COST_LISTED, COST_EF, COST_EF_FILTERED, COST_CHECKED = 1.8, 0.4, 0.5, 11.0, 22.0, 2.0
# The least ef, ef per match, and ef per match under a filter, for a recall. Of 30,000 real texts of 384
# dimensions (docs/api.md has the figures).
GRAPH = {0.95: (80, 1.5, 6), None: (160, 2.5, 8), 0.99: (320, 4, 12)}
# The same of a graph of bits, which ranks what it finds only roughly.
BITS = {0.95: (160, 6, 12), None: (320, 10, 16), 0.99: (640, 16, 24)}
# The share of an ivfflat index's lists that is read for the ten nearest.
LISTS = {0.95: 0.1, None: 0.2, 0.99: 0.4}
# How many neighbours the calibrated widths give.
MEASURED_FOR = 10
RECALLS = (*GRAPH, "exact")
# What vectors/drill.py tells of: 0, or the width of every search of an index.
DRILL_WIDTH = settings.VECTORS["drill_search_width"]


def of_graph(collection: Collection) -> dict:
    """The widths by recall of a graph as this collection's is."""
    return BITS if collection.quantized else GRAPH


def steps(collection: Collection) -> tuple[int, ...]:
    """The widths there are, from the least."""
    if collection.index_type != "ivfflat":
        return EF_STEPS
    lists, found = collection.lists, [1]
    while found[-1] < lists:
        found.append(min(max(found[-1] + 1, found[-1] * 4 // 3), lists))
    return tuple(found)


def step_for(wanted: float) -> int:
    """The least step of ef_search that is at least `wanted`."""
    for step in EF_STEPS:
        if wanted <= step:
            return step
    return EF_STEPS[-1]


def least(collection: Collection, recall: float | None) -> int:
    """The least width that gives a recall of the nearest ten: the index's own when it was calibrated."""
    known = (collection.index_built or {}).get("efs") or {}
    if collection.index_type == "ivfflat":
        return known.get(str(recall)) or math.ceil(collection.lists * LISTS[recall])
    return known.get(str(recall), of_graph(collection)[recall][0])


def choose(
    collection: Collection, rows: int, share: float, top_k: int, through_index: bool, recall: float | None
) -> tuple[bool, int]:
    """(exact, width) for so many rows: whichever is expected to cost less at the recall asked for."""
    if DRILL_WIDTH:
        return False, DRILL_WIDTH
    if through_index:
        exact = COST_ROW * share * rows
    elif share < 0.98:
        exact = COST_SCANNED * rows + COST_ROW * share * rows / 4
    else:
        exact = COST_SCANNED * rows
    if collection.index_type == "ivfflat":
        width = _probes(collection, top_k / max(share, 1e-9), recall)
        read = COST_LISTED * rows * width / collection.lists
        return (exact <= read + COST_CHECKED * top_k / max(share, 1e-9)), width
    least_ef, (_, per_match, filtered) = least(collection, recall), of_graph(collection)[recall]
    if share > 0.98:
        wanted = max(top_k * per_match, least_ef)
    else:
        known = _filtered(collection, share, recall)
        if known is None:
            wanted = max(filtered * top_k / max(share, 1e-9), least_ef)
        else:
            wanted = max(known * max(top_k / MEASURED_FOR, 1), least_ef)
    cost = COST_EF if share > 0.98 else COST_EF_FILTERED
    # What was asked for by number is kept to, at the price of reading everything.
    unreachable = (recall == 0.99 and wanted > EF_STEPS[-1]) or (recall and least_ef == OUT_OF_REACH)
    if exact <= cost * min(wanted, EF_STEPS[-1]) or unreachable:
        return True, 0
    return False, step_for(wanted)


def _filtered(collection: Collection, share: float, recall: float | None) -> float | None:
    """The width that was measured under filters for the nearest ten, for this share; None: it was not, or no
    width gives the recall. Between and beyond the shares measured it grows by a power of the share, at least
    of its square root: what a filter leaves of a few points must be looked for far around."""
    measured = (collection.index_built or {}).get("filtered_efs")
    if not measured:
        return None
    (many, of_many), (few, of_few) = sorted(
        ((float(name), found[str(recall)]) for name, found in measured.items()), reverse=True
    )
    if of_few >= OUT_OF_REACH:
        return None
    power = max(math.log(of_few / of_many) / math.log(many / few), 0.5)
    if share >= many:
        return of_many
    if share >= few:
        return min(of_many * (many / share) ** power, max(of_few, of_many))
    return max(of_few, of_many) * (few / max(share, 1e-9)) ** power


def _probes(collection: Collection, deep: float, recall: float | None) -> int:
    """The lists to read for as many nearest, of which only a share may match; half as many again for each ten
    times as many."""
    more = 1 + 0.5 * math.log10(max(deep / 10, 1))
    return min(math.ceil(least(collection, recall) * more), collection.lists)


def ranked_anew(width: int, limit: int) -> int:
    """How many points a graph of bits gives to be ranked by their numbers, for so many wanted."""
    return max(width, 4 * limit)


def set_width(connection, collection: Collection, width: int) -> None:
    """Have an index searched as widely on this connection."""
    if collection.index_type == "ivfflat":
        connection.set_probes(width)
    else:
        connection.set_ef(width)
