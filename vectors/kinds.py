"""What a collection can be: its metric, the form of its vectors, and the indexes pgvector has for them."""

import math
from typing import NamedTuple

from controlplane.errors import InvalidError


class Metric(NamedTuple):
    """A metric: pgvector's operator, whether its score is the distance, and the precisions of each index."""

    operator: str
    is_distance: bool
    indexes: dict[str, tuple[str, ...]]
    # What a vector is kept as: vector (float32 numbers) or bit.
    form: str = "vector"


NUMBERS = ("vector", "halfvec")
METRICS = {
    "cosine": Metric("<=>", False, {"hnsw": (*NUMBERS, "bit"), "ivfflat": NUMBERS}),
    "l2": Metric("<->", True, {"hnsw": (*NUMBERS, "bit"), "ivfflat": NUMBERS}),
    "ip": Metric("<#>", False, {"hnsw": (*NUMBERS, "bit"), "ivfflat": NUMBERS}),
    "l1": Metric("<+>", True, {"hnsw": NUMBERS}),
    "hamming": Metric("<~>", True, {"hnsw": ("bit",), "ivfflat": ("bit",)}, "bit"),
    "jaccard": Metric("<%>", True, {"hnsw": ("bit",)}, "bit"),
}
# Metrics whose score is the distance, where less is nearer.
DISTANCES = tuple(name for name, metric in METRICS.items() if metric.is_distance)
# The most dimensions of a collection by the form of its vectors, and of an index by its precision.
DIMENSION_MOST = {"vector": 16_000, "bit": 64_000}
INDEX_DIMENSION_MOST = {"vector": 2000, "halfvec": 4000, "bit": 64_000}
TYPES = ("hnsw", "ivfflat", "flat")
DEFAULT_INDEX = {"type": "hnsw", "m": 16, "ef_construction": 64, "precision": "vector"}
LISTS_MOST = 32_768
# What pgvector takes its lists' centres from.
SAMPLES_PER_LIST, SAMPLES_LEAST = 50, 10_000


def options_first(given: dict | None, metric: str, dimension: int) -> dict:
    """The options of a new collection's index; InvalidError. What is not given suits the dimension."""
    given = {key: value for key, value in (given or {}).items() if value is not None}
    if METRICS[metric].form == "bit":
        given.setdefault("precision", "bit")
    elif dimension > INDEX_DIMENSION_MOST["vector"] and "precision" not in given:
        given["precision"] = "halfvec"
        if dimension > INDEX_DIMENSION_MOST["halfvec"]:
            given.setdefault("type", "flat")
    return options(given, metric, dimension)


def options(
    given: dict | None, metric: str, dimension: int, base: dict | None = None, at: str = "index"
) -> dict:
    """Complete index options from those given, `base` has what is not; InvalidError for what cannot be built.

    `lists` is kept of ivfflat alone; null: by the number of rows.
    """
    found = DEFAULT_INDEX | (base or {})
    found.update({key: value for key, value in (given or {}).items() if value is not None})
    unknown = set(found) - {*DEFAULT_INDEX, "lists"}
    if unknown:
        raise InvalidError(f"No such index option: {sorted(unknown)[0][:40]}.", field=at)
    if found["type"] not in TYPES:
        raise InvalidError("Use type hnsw, ivfflat, or flat for exact search alone.", field=f"{at}.type")
    if found["precision"] not in INDEX_DIMENSION_MOST:
        raise InvalidError("precision is vector, halfvec, or bit.", field=f"{at}.precision")
    if not 2 <= found["m"] <= 100:
        raise InvalidError("m is between 2 and 100.", field=f"{at}.m")
    if not max(4, 2 * found["m"]) <= found["ef_construction"] <= 1000:
        raise InvalidError(
            f"ef_construction is between {max(4, 2 * found['m'])} (twice m) and 1000.",
            field=f"{at}.ef_construction",
        )
    if found.get("lists") is not None and not 1 <= found["lists"] <= LISTS_MOST:
        raise InvalidError(f"lists is between 1 and {LISTS_MOST}.", field=f"{at}.lists")
    if found["type"] == "ivfflat":
        found.setdefault("lists", None)
        for name in ("m", "ef_construction"):
            if (given or {}).get(name) is not None:
                raise InvalidError(f"{name} is an option of hnsw.", field=f"{at}.{name}")
    elif (given or {}).get("lists") is not None:
        raise InvalidError("lists is an option of ivfflat.", field=f"{at}.lists")
    else:
        found.pop("lists", None)
    if found["type"] != "flat":
        indexable(found, metric, dimension, f"{at}.")
    return found


def indexable(options: dict, metric: str, dimension: int, at: str = "index.") -> None:
    """InvalidError when pgvector has no such index; `at` leads to the options."""
    kind, precision, most = options["type"], options["precision"], INDEX_DIMENSION_MOST
    served = METRICS[metric].indexes
    if kind not in served:
        raise InvalidError(
            f"There is no {kind} index for metric {metric}: use type {' or '.join(served)}, or flat.",
            code="not_indexable",
            field=f"{at}type",
        )
    if precision not in served[kind]:
        raise InvalidError(
            f"An {kind} index for metric {metric} has precision {' or '.join(served[kind])}.",
            code="not_indexable",
            field=f"{at}precision",
        )
    if dimension > most[precision]:
        wider = [name for name in served[kind] if most[name] >= dimension]
        remedy = f"use precision {' or '.join(wider)}, or type flat" if wider else "use type flat"
        raise InvalidError(
            f"An {kind} index of precision {precision} takes up to {most[precision]} dimensions, this"
            f" collection has {dimension}: {remedy} (exact search).",
            code="not_indexable",
            field=f"{at}precision" if wider else f"{at}type",
        )


def quantized(metric: str, options: dict | None) -> bool:
    """Whether an index holds one bit of each number, so that what it finds is ranked anew by the numbers."""
    return METRICS[metric].form == "vector" and (options or {}).get("precision") == "bit"


def indexed(metric: str, dimension: int, options: dict | None, vector: str = "$1") -> tuple[str, str]:
    """SQL of what an index of these options holds, and of the distance to a vector in its order."""
    operator = METRICS[metric].operator
    precision = (options or {}).get("precision", "vector")
    if quantized(metric, options):
        held = f"binary_quantize(embedding)::bit({dimension})"
        return held, f"{held} OPERATOR(<~>) binary_quantize({vector}::vector)"
    if precision == "halfvec":
        kind = f"halfvec({dimension})"
        return f"embedding::{kind}", f"embedding::{kind} OPERATOR({operator}) {vector}::vector::{kind}"
    return "embedding", f"embedding OPERATOR({operator}) {vector}"


def definition(metric: str, dimension: int, options: dict, rows: int) -> str:
    """SQL of an index of so many rows, from USING on."""
    held, _ = indexed(metric, dimension, options)
    precision = options.get("precision", "vector")
    operators = f"{precision}_{'hamming' if quantized(metric, options) else metric}_ops"
    column = held if held == "embedding" else f"({held})"
    if options.get("type") == "ivfflat":
        return f"USING ivfflat ({column} {operators}) WITH (lists = {lists_of(options, rows)})"
    return (
        f"USING hnsw ({column} {operators})"
        f" WITH (m = {int(options['m'])}, ef_construction = {int(options['ef_construction'])})"
    )


def lists_of(options: dict, rows: int) -> int:
    """The lists of an ivfflat index of so many rows: as asked for, or the square root of the rows."""
    return options.get("lists") or min(max(math.isqrt(rows), 1), LISTS_MOST)


def vector_bytes(dimension: int, precision: str) -> int:
    """The bytes of a vector in an index."""
    if precision == "bit":
        return dimension // 8 + 1
    return dimension * (2 if precision == "halfvec" else 4)


def build_bytes(options: dict, dimension: int, rows: int) -> int:
    """About the memory that building an index of so many rows needs: the graph, or finding the lists."""
    size = vector_bytes(dimension, options.get("precision", "vector"))
    if options.get("type") == "ivfflat":
        lists = lists_of(options, rows)
        samples = max(lists * SAMPLES_PER_LIST, SAMPLES_LEAST)
        return int((samples * (size + 16 + 4 * lists) + lists * (2 * size + 8 * lists + 64)) * 1.05)
    return int(rows * (size + 8 + 2 * options["m"] * 16 + 200) * 1.05)
