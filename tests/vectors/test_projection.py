"""The picture of a collection: principal components of a sample, against numpy's own decomposition."""

import base64

import numpy as np
import pytest

from tests.vectors.test_bad_input import check_problem
from tests.vectors.test_process import serve  # noqa: F401
from vectors import projection


def reference(vectors):
    """(places, shares) by a full decomposition."""
    centred = vectors - vectors.mean(axis=0)
    left, strengths, _ = np.linalg.svd(centred, full_matrices=False)
    shares = strengths**2 / (strengths**2).sum()
    return left[:, :2] * strengths[:2], shares[:2]


def same_up_to_sign(found, wanted, tolerance):
    for axis in range(2):
        error = min(np.abs(found[:, axis] - sign * wanted[:, axis]).max() for sign in (1, -1))
        assert error <= tolerance * np.abs(wanted[:, axis]).max()


@pytest.mark.parametrize(("count", "dimension"), [(500, 64), (40, 384), (300, 3), (60, 2)])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e17])
def test_components_are_the_principal_ones(count, dimension, scale):
    random = np.random.default_rng(5)
    vectors = random.normal(size=(count, dimension)) * np.linspace(5, 1, dimension) ** 2 + 3
    wanted, wanted_shares = reference(vectors)
    places, shares = projection.components((vectors * scale).astype(np.float32), 1)
    assert shares == pytest.approx(wanted_shares, rel=2e-3)
    # Components whose strengths are close turn into each other: the plane they span is what is shown.
    spread = (wanted**2).sum()
    overlap = np.linalg.svd(wanted.T @ (places / scale), compute_uv=False).sum()
    assert overlap == pytest.approx(spread, rel=1e-2)


def test_strong_components_are_found_exactly():
    random = np.random.default_rng(6)
    axes = np.linalg.qr(random.normal(size=(128, 2)))[0].T
    vectors = random.normal(size=(400, 2)) * [30, 9] @ axes + random.normal(size=(400, 128)) * 0.3
    wanted, _ = reference(vectors)
    same_up_to_sign(projection.components(vectors.astype(np.float32), 0)[0], wanted, 1e-3)


@pytest.mark.parametrize(
    "vectors", [np.zeros((0, 4)), np.ones((1, 4)), np.ones((5, 4)), np.array([[1.0], [2.0]])]
)
def test_little_to_show(vectors):
    places, shares = projection.components(vectors.astype(np.float32))
    assert places.shape == (len(vectors), 2)
    assert np.isfinite(places).all()
    assert shares == [pytest.approx(1.0), 0.0] if vectors.shape[1] == 1 else shares == [0.0, 0.0]


def test_bits_are_zeros_and_ones():
    packed = [(10).to_bytes(4) + bytes([0b10100000, 0b01000000])]
    assert projection.matrix(packed, 10, True).tolist() == [[1, 0, 1, 0, 0, 0, 0, 0, 0, 1]]


@pytest.fixture
def clustered(client, collection):
    """Three clusters in two namespaces, told apart by their metadata."""
    random = np.random.default_rng(7)
    name = collection(32, "cosine")
    centres = np.eye(32)[:3] * 20
    for namespace, count in (("", 900), ("x", 60)):
        clusters = np.arange(count) % 3
        vectors = centres[clusters] + random.normal(size=(count, 32))
        answer = client.post(
            f"collections/{name}/points",
            {
                "namespace": namespace,
                "ids": [f"p{at}" for at in range(count)],
                "vectors_b64": base64.b64encode(vectors.astype("<f4").tobytes()).decode(),
                "metadata": [
                    {"cluster": {"name": f"c{at}", "n": int(at), "odd": bool(at % 2), "list": [1]}}
                    for at in clusters
                ],
            },
        )
        assert answer.status == 200
    return name


def test_clusters_are_seen(client, clustered):
    answer = client.get(f"collections/{clustered}/projection?sample=300&color=cluster.name")
    assert answer.status == 200
    shown = answer.json
    assert (shown["sampled"], len(shown["points"]), shown["total"]) == (300, 300, 960)
    assert 0.2 < shown["explained"][1] <= shown["explained"][0] < 0.7
    assert shown["took_ms"] > 0
    centres = {}
    for value in ("c0", "c1", "c2"):
        places = [(point["x"], point["y"]) for point in shown["points"] if point["value"] == value]
        assert len(places) > 50
        centres[value] = np.mean(places, axis=0), np.std(places, axis=0).max()
    for one, (centre, spread) in centres.items():
        for other, (far, _) in centres.items():
            assert one == other or np.linalg.norm(centre - far) > 5 * spread
    again = client.get(f"collections/{clustered}/projection?sample=300&color=cluster.name")
    assert again.body == answer.body, "kept"


def test_the_same_seed_gives_the_same_picture(client, clustered):
    def points(query):
        projection.forget()
        return client.get(f"collections/{clustered}/projection?{query}").json["points"]

    first = points("sample=100&seed=3")
    assert first == points("sample=100&seed=3")
    other = points("sample=100&seed=4")
    assert {point["id"] for point in first} != {point["id"] for point in other}
    assert {point["value"] for point in first} == {None}


def test_namespaces_and_values(client, clustered):
    everything = client.get(f"collections/{clustered}/projection?sample=5000").json
    assert (everything["sampled"], everything["total"]) == (960, 960)
    assert {point["namespace"] for point in everything["points"]} == {"", "x"}
    part = client.get(f"collections/{clustered}/projection?namespace=x&color=cluster.n").json
    assert (part["sampled"], part["total"]) == (60, 60)
    assert {point["value"] for point in part["points"]} == {0, 1, 2}
    unnamed = client.get(f"collections/{clustered}/projection?namespace=&color=cluster.odd").json
    assert (unnamed["sampled"], unnamed["total"]) == (900, 900)
    assert {point["value"] for point in unnamed["points"]} == {True, False}
    for color in ("cluster.list", "cluster", "none.such"):
        shown = client.get(f"collections/{clustered}/projection?namespace=x&color={color}").json
        assert {point["value"] for point in shown["points"]} == {None}


def test_of_a_large_collection_pages_are_sampled(client, clustered, pool):
    """The same query that a collection of millions gets, on fewer points."""
    from vectors import collections

    found = collections.collection_get(clustered)
    with pool.connection() as connection:
        args = (connection, found, 50, projection.LISTED_MOST + 1)
        rows = [projection.points_sample(*args, None, "cluster.n", 5) for _ in range(2)]
        ids = [[result.get_value(at, 1) for at in range(result.ntuples)] for result in rows]
        assert len(ids[0]) == 50 and ids[0] == ids[1]
        assert projection.points_sample(*args, "x", "", 5).ntuples == 50


def test_an_empty_collection(client, collection):
    shown = client.get(f"collections/{collection()}/projection").json
    assert (shown["points"], shown["explained"], shown["total"]) == ([], [0.0, 0.0], 0)


@pytest.mark.parametrize(
    "query",
    ["sample=1", "sample=5001", "sample=x", "seed=-1", "color=a..b", "color=%00", "namespace=%00", "x=1"],
)
def test_wrong_parameters(client, collection, query):
    answer = client.get(f"collections/{collection()}/projection?{query}")
    check_problem(answer, 422)
    assert answer.json["errors"][0]["field"] == query.partition("=")[0]


def test_the_worker_stays_small(serve):  # noqa: F811
    server = serve("--no-runner", "--workers", "1")
    server.ready()
    vectors = np.random.default_rng(5).normal(size=(1302, 1536)).astype("<f4")
    assert server.call("POST", "collections", {"name": "pictured", "dimension": 1536})[0] == 201
    try:
        for first in range(0, 1302, 434):
            body = {
                "ids": [str(at) for at in range(first, first + 434)],
                "vectors_b64": base64.b64encode(vectors[first : first + 434].tobytes()).decode(),
            }
            assert server.call("POST", "collections/pictured/points", body)[0] == 200
        for seed in range(3):
            status, shown, _ = server.call("GET", f"collections/pictured/projection?sample=5000&seed={seed}")
            assert (status, shown["sampled"]) == (200, 1302)
        lines = server.call("GET", "/metrics")[1].decode().splitlines()
        memory = next(line for line in lines if line.startswith("aindusdb_api_resident_memory_bytes "))
        assert float(memory.split()[1]) < 150 * 2**20, memory
    finally:
        server.call("DELETE", "collections/pictured")
