"""A picture of a collection: a sample of its points in the two dimensions that tell most of them apart.

Principal components of the sample, by subspace iteration, which takes no more memory than the sample itself.
numpy is imported with the first picture, as most processes never make one; the sample is bounded and one
picture is made at a time, so that a worker of the vector API stays small.
"""

import os
import threading
import time

import orjson

from controlplane.errors import InvalidError
from vectors import database, filters, search
from vectors.clauses import text_array
from vectors.collections import Collection

SAMPLE_MOST = 5000
# Of all numbers of a sample together: 8 MB of them.
NUMBERS_MOST = 2_000_000
# As many times the points wanted are read from random pages and chosen among.
SPREAD = 4
# Up to so many points each one's id is looked at; beyond, those of random pages.
LISTED_MOST = 50_000
KEPT_SECONDS = 60.0
KEPT_MOST = 8
VALUE_CHARACTERS = 200
# Directions carried along besides the two that are asked for, which is what makes the two converge.
OVERSAMPLING = 8
ROUNDS_MOST = 60
STILL = 1e-4

_one_at_a_time = threading.Lock()
_kept: dict[tuple, tuple[float, bytes]] = {}


def projection(
    collection: Collection, *, sample: int, namespace: str | None = None, color: str = "", seed: int = 0
) -> bytes:
    """JSON of {points: [{id, namespace, x, y, value}], explained, sampled, total, took_ms}; kept a minute.

    `explained`: the shares of the sample's variance along x and y; `value`: what the metadata field `color`
    (dots go into objects) holds when it is a text, number or boolean, else null. Under cosine the vectors'
    directions are shown. The same seed gives the same picture while nothing is written.
    """
    if color:
        filters.path(color, "color")
    key = (collection.id, sample, namespace, color, seed)
    with _one_at_a_time:
        kept = _kept.get(key)
        if kept is not None and kept[0] > time.monotonic():
            return kept[1]
        answer = orjson.dumps(_projected(collection, sample, namespace, color, seed))
        if len(_kept) >= KEPT_MOST:
            del _kept[min(_kept, key=lambda other: _kept[other][0])]
        _kept[key] = (time.monotonic() + KEPT_SECONDS, answer)
    return answer


def forget() -> None:
    """Forget the pictures that are kept, in this process."""
    with _one_at_a_time:
        _kept.clear()


def _projected(collection: Collection, sample: int, namespace: str | None, color: str, seed: int) -> dict:
    started = time.perf_counter()
    bits = collection.metric in ("hamming", "jaccard")
    wanted = min(sample, SAMPLE_MOST, max(2, NUMBERS_MOST // collection.dimension))
    with database.pool().connection() as connection:
        total = search.points_estimate(connection, collection, namespace=namespace, filter=None)
        result = points_sample(connection, collection, wanted, total, namespace, color, seed)
    value = result.get_value
    vectors = matrix([value(row, 2) for row in range(result.ntuples)], collection.dimension, bits)
    places, explained = components(vectors, seed, directions=collection.metric == "cosine")
    points = [
        {
            "id": value(row, 1).decode(),
            "namespace": value(row, 0).decode(),
            "x": float(f"{place[0]:.6g}"),
            "y": float(f"{place[1]:.6g}"),
            "value": _value(value(row, 3)),
        }
        for row, place in enumerate(places.tolist())
    ]
    return {
        "points": points,
        "explained": [round(share, 6) for share in explained],
        "sampled": len(points),
        "total": max(total, len(points)),
        "took_ms": round((time.perf_counter() - started) * 1000, 3),
    }


def points_sample(
    connection, collection: Collection, wanted: int, total: int, namespace, color: str, seed: int
):
    """Rows of (namespace, id, embedding, value as JSON): those whose hash with the seed is least."""
    shown = "NULL"
    parameters, types = [str(seed).encode()], [20]
    if color:
        parameters.append(text_array(color.split(".")))
        types.append(1009)
        shown = (
            "CASE WHEN jsonb_typeof(metadata #> $2) IN ('string', 'number', 'boolean')"
            " THEN (metadata #> $2)::text END"
        )
    condition = ""
    if namespace is not None:
        parameters.append(namespace.encode())
        types.append(25)
        condition = f" WHERE namespace = ${len(parameters)}"
    order = f"ORDER BY hashtextextended(namespace || chr(1) || id, $1) LIMIT {wanted}"
    if total <= LISTED_MOST:
        chosen = f"SELECT namespace, id FROM {collection.table}{condition} {order}"
        return connection.run(
            f"SELECT namespace, id, embedding, {shown} FROM ({chosen}) chosen"
            f" JOIN {collection.table} USING (namespace, id) {order}",
            parameters,
            prepare=False,
            types=types,
        )
    percent = min(100.0, 100.0 * SPREAD * wanted / total)
    while True:
        result = connection.run(
            f"SELECT namespace, id, embedding, {shown} FROM {collection.table}"
            f" TABLESAMPLE SYSTEM ({percent:.6f}) REPEATABLE ({seed}){condition} {order}",
            parameters,
            prepare=False,
            types=types,
        )
        if result.ntuples == wanted or percent == 100.0:
            return result
        percent = min(100.0, percent * 4)


def _value(raw: bytes | None):
    if raw is None:
        return None
    found = orjson.loads(raw)
    return found[:VALUE_CHARACTERS] if isinstance(found, str) else found


def numpy():
    """The module, with one thread: more take memory each and win nothing on matrices this small."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    import numpy

    return numpy


def matrix(packed: list[bytes], dimension: int, bits: bool):
    """Vectors in binary, or bit strings, as rows of float32."""
    np = numpy()
    found = np.empty((len(packed), dimension), dtype=np.float32)
    for at, value in enumerate(packed):
        if bits:
            found[at] = np.unpackbits(np.frombuffer(value, np.uint8, offset=4), count=dimension)
        else:
            found[at] = np.frombuffer(value, ">f4", offset=4)
    return found


def components(vectors, seed: int = 0, *, directions: bool = False):
    """(rows of (x, y), shares of variance explained) of an n x d float32 array, which is changed.

    `directions`: each row is scaled to length 1 before.
    """
    np = numpy()
    count, dimension = vectors.shape
    if directions and count:
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
        vectors /= np.maximum(lengths, np.finfo(np.float32).tiny)[:, None].astype(np.float32)
    # Numbers may be of any size; their squares must be numbers, too.
    scale = float(np.abs(vectors).max(initial=0)) or 1.0
    vectors /= np.float32(scale)
    if count:
        vectors -= vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    variance = float(np.einsum("ij,ij->", vectors, vectors, dtype=np.float64))
    width = min(2 + OVERSAMPLING, dimension, count)
    places = np.zeros((count, 2))
    if count < 2 or variance <= 1e-12 * count:
        return places, [0.0, 0.0]
    basis = np.linalg.qr(np.random.default_rng(abs(seed)).normal(size=(dimension, width)))[0]
    known = np.zeros(2)
    for _ in range(ROUNDS_MOST):
        basis, _ = np.linalg.qr(vectors.T @ (vectors @ basis.astype(np.float32)))
        strengths = np.linalg.svd(vectors @ basis.astype(np.float32), compute_uv=False)[:2]
        strengths = np.pad(strengths.astype(np.float64), (0, 2 - len(strengths)))
        if np.all(np.abs(strengths - known) <= STILL * strengths[0]):
            break
        known = strengths
    seen = (vectors @ basis.astype(np.float32)).astype(np.float64)
    _, strengths, turns = np.linalg.svd(seen, full_matrices=False)
    axes = turns[:2].T
    # A direction and its opposite explain as much: the one whose greatest share is positive.
    greatest = (basis @ axes)[np.abs(basis @ axes).argmax(axis=0), np.arange(axes.shape[1])]
    axes = axes * np.where(greatest < 0, -1, 1)
    shown = axes.shape[1]
    places[:, :shown] = seen @ axes * scale
    shares = np.zeros(2)
    shares[:shown] = np.minimum(strengths[:2] ** 2 / variance, 1.0)
    return places, shares.tolist()


def sample_of(text: str | None, default: int = 1000) -> int:
    """How many points are asked for; InvalidError."""
    return _whole(text or str(default), 2, SAMPLE_MOST, "sample")


def seed_of(text: str | None) -> int:
    return _whole(text or "0", 0, 2**31 - 1, "seed")


def _whole(text: str, least: int, most: int, field: str) -> int:
    if not text.isascii() or not text.isdigit() or not least <= int(text[:11]) <= most:
        raise InvalidError(f"{field} is between {least} and {most}.", field=field)
    return int(text)
