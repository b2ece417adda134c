"""The documents of a run: generated, or read from a folder, with the true neighbours of each query."""

import gzip
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

TRUTH_DEPTH = 10


@dataclass(frozen=True)
class Documents:
    """n documents and q queries of d dimensions.

    `ids`, `contents` and `metadata` have n entries; `vectors` is float32 (n, d), `queries` float32 (q, d);
    `truth` holds for each query the row numbers of its nearest documents by cosine, nearest first, (q, k).
    """

    ids: list[str]
    contents: list[str]
    metadata: list[dict]
    vectors: np.ndarray
    queries: np.ndarray
    truth: np.ndarray

    @property
    def dimension(self) -> int:
        return self.vectors.shape[1]


def exact_neighbours(vectors: np.ndarray, queries: np.ndarray, depth: int = TRUTH_DEPTH) -> np.ndarray:
    """Row numbers of the nearest by cosine, computed in full; (q, depth)."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = (queries / np.linalg.norm(queries, axis=1, keepdims=True)) @ unit.T
    return np.argsort(-scores, axis=1, kind="stable")[:, :depth]


def generated(count: int = 2000, queries: int = 50, dimension: int = 96, seed: int = 20) -> Documents:
    """Documents in clusters, as embeddings of text lie; the same for the same arguments."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(40, dimension))
    of = random.integers(0, len(centres), size=count + queries)
    points = (centres[of] + 0.6 * random.normal(size=(count + queries, dimension))).astype(np.float32)
    vectors, asked = points[:count], points[count:]
    return Documents(
        ids=[f"doc-{row}" for row in range(count)],
        contents=[f"Document {row} of cluster {of[row]}" for row in range(count)],
        metadata=[{"cluster": int(of[row]), "row": row} for row in range(count)],
        vectors=vectors,
        queries=asked,
        truth=exact_neighbours(vectors, asked),
    )


def read(folder: Path) -> Documents:
    """points.ndjson.gz {id, content, metadata}, embeddings.f16.npy, queries.f16.npy, truth_top100.i32.npy."""
    with gzip.open(folder / "points.ndjson.gz", "rt", encoding="utf-8") as lines:
        points = [json.loads(line) for line in lines]
    return Documents(
        ids=[str(point["id"]) for point in points],
        contents=[point.get("content") or "" for point in points],
        metadata=[point.get("metadata") or {} for point in points],
        vectors=np.load(folder / "embeddings.f16.npy").astype(np.float32),
        queries=np.load(folder / "queries.f16.npy").astype(np.float32),
        truth=np.load(folder / "truth_top100.i32.npy"),
    )
