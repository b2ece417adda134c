"""What is searched: real documents from a folder, or clustered vectors made the same way each time."""

import gzip
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SEED = 20260131
CLUSTERS = 400


@dataclass
class Documents:
    """Points of one dimension with queries and, for each query, the exact neighbours' rows, nearest first."""

    name: str
    ids: list[str]
    vectors: np.ndarray
    contents: list[str]
    metadata: list[dict]
    queries: np.ndarray
    truth: np.ndarray

    @property
    def dimension(self) -> int:
        return self.vectors.shape[1]

    def __len__(self) -> int:
        return len(self.ids)

    def recall(self, answers: list[list[str]], k: int = 10) -> float:
        """The share of the exact k nearest that the answers to the queries have."""
        hits = 0
        for found, best in zip(answers, self.truth, strict=False):
            hits += len(set(found) & {self.ids[row] for row in best[:k]})
        return hits / (k * len(answers))


def nearest(vectors: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """Rows of the k nearest by cosine (all when there are fewer), nearest first; all are of unit length."""
    k = min(k, len(vectors))
    found = np.empty((len(queries), k), dtype=np.int32)
    for start in range(0, len(queries), 50):
        likeness = queries[start : start + 50] @ vectors.T
        best = np.argpartition(-likeness, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(likeness, best, axis=1), axis=1, kind="stable")
        found[start : start + 50] = np.take_along_axis(best, order, axis=1)
    return found


def _unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def clustered(count: int, dimension: int, *, queries: int = 200, k: int = 100) -> Documents:
    """So many unit vectors around 400 centres of uneven weight, in a space of fewer dimensions, as texts'
    embeddings lie; queries are drawn from the same centres. A row is the same whatever `count` is.
    """
    generator = np.random.default_rng(SEED + dimension)
    inner = min(dimension, 64)
    spread = generator.standard_normal((inner, dimension), dtype=np.float32) / np.sqrt(inner)
    centres = generator.standard_normal((CLUSTERS, inner), dtype=np.float32)
    weights = generator.dirichlet(np.full(CLUSTERS, 1.0))

    def drawn(number: int, stream: int) -> np.ndarray:
        # Blocks of their own generators: the first rows do not depend on how many follow.
        parts = []
        for block in range(0, number, 10_000):
            own = np.random.default_rng([SEED, dimension, stream, block])
            size = min(10_000, number - block)
            which = own.choice(CLUSTERS, 10_000, p=weights)[:size]
            noise = own.standard_normal((10_000, inner), dtype=np.float32)[:size]
            rest = own.standard_normal((10_000, dimension), dtype=np.float32)[:size] * 0.02
            parts.append(_unit((centres[which] + noise * 0.6) @ spread + rest))
        return np.concatenate(parts)

    vectors, asked = drawn(count, 1), drawn(queries, 2)
    return Documents(
        name=f"clustered {count} x {dimension}",
        ids=[f"p{row:07d}" for row in range(count)],
        vectors=vectors,
        contents=[f"document {row}" for row in range(count)],
        metadata=[_metadata(row) for row in range(count)],
        queries=asked,
        truth=nearest(vectors, asked, k),
    )


def _metadata(row: int) -> dict:
    """Metadata with a key of each selectivity: `per_1000` is 0 for one row in a thousand, and so on."""
    mixed = (row * 2_654_435_761) % 2**32 // 7
    return {
        "section": f"section-{mixed % 40}",
        "size": mixed % 10_000,
        "per_1000": mixed // 3 % 1000,
        "per_100": mixed // 11 % 100,
        "per_10": mixed // 101 % 10,
        "per_2": mixed // 1009 % 2,
    }


def folder(path: Path, limit: int | None = None) -> Documents:
    """The documents of a folder: points.ndjson.gz, embeddings.f16.npy, queries.f16.npy, truth_top100.i32.npy.

    With a limit the first ones, whose neighbours are computed.
    """
    vectors = _unit(np.load(path / "embeddings.f16.npy").astype(np.float32))
    queries = _unit(np.load(path / "queries.f16.npy").astype(np.float32))
    truth = np.load(path / "truth_top100.i32.npy")
    with gzip.open(path / "points.ndjson.gz", "rt") as file:
        points = [json.loads(line) for line in file]
    if limit is not None and limit < len(points):
        points, vectors = points[:limit], vectors[:limit]
        truth = nearest(vectors, queries, 100)
    return Documents(
        name=f"{path.name} {len(points)} x {vectors.shape[1]}",
        ids=[point["id"] for point in points],
        vectors=vectors,
        contents=[point["content"] for point in points],
        metadata=[point["metadata"] for point in points],
        queries=queries,
        truth=truth,
    )
