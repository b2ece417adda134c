"""What the clients' scripts load and check against: a thousand vectors with metadata, and brute force."""

import numpy as np

COUNT, DIMENSION, TOP_K = 1000, 32, 10
GENRES = ("drama", "comedy", "horror", "news", "sport")


def vectors() -> np.ndarray:
    """The vectors, the same at every run; row n is the point n's."""
    return np.random.default_rng(7).normal(size=(COUNT, DIMENSION)).astype(np.float32)


def queries() -> np.ndarray:
    return np.random.default_rng(8).normal(size=(5, DIMENSION)).astype(np.float32)


def metadata(at: int) -> dict:
    return {
        "genre": GENRES[at % len(GENRES)],
        "year": 1980 + at % 40,
        "rating": at % 100 / 10,
        "public": at % 3 == 0,
        "tags": [f"t{at % 7}", f"u{at % 11}"],
    }


def wanted(at: int) -> bool:
    """Whether a point is among those that the scripts' filter selects."""
    of = metadata(at)
    return of["genre"] in ("drama", "news") and of["year"] >= 1990 and (of["public"] or "t3" in of["tags"])


def scores(query: np.ndarray, stored: np.ndarray, metric: str) -> np.ndarray:
    """The vendor-neutral measures: cosine, dot, distance, squared distance."""
    query, stored = query.astype(np.float64), stored.astype(np.float64)
    if metric == "cosine":
        return stored @ query / np.linalg.norm(stored, axis=1) / np.linalg.norm(query)
    if metric == "dot":
        return stored @ query
    distance = np.linalg.norm(stored - query, axis=1)
    return distance if metric == "distance" else distance**2


def nearest(query: np.ndarray, stored: np.ndarray, metric: str, among=None) -> list[tuple[int, float]]:
    """(point, score) of the TOP_K nearest of those that `among` holds of, nearest first."""
    measured = scores(query, stored, metric)
    candidates = [at for at in range(len(stored)) if among is None or among(at)]
    sign = 1 if "distance" in metric else -1
    return [
        (at, float(measured[at])) for at in sorted(candidates, key=lambda at: sign * measured[at])[:TOP_K]
    ]


def check(found: list[tuple[int, float]], expected: list[tuple[int, float]]) -> None:
    """The same points in the same order with the same scores, or AssertionError."""
    assert [at for at, _ in found] == [at for at, _ in expected], (found, expected)
    np.testing.assert_allclose([s for _, s in found], [s for _, s in expected], rtol=1e-4, atol=1e-5)
