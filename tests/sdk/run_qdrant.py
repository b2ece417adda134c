"""Qdrant's official client, unchanged: python run_qdrant.py <address of .../qdrant>.

The key is read from QDRANT_API_KEY. Ends with status 0 when everything was as brute force says.
"""

import os
import sys
import uuid
import warnings

import sample
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

warnings.filterwarnings("ignore", "Api key is used with an insecure connection")

WANTED = models.Filter(
    must=[
        models.FieldCondition(key="genre", match=models.MatchAny(any=["drama", "news"])),
        models.FieldCondition(key="year", range=models.Range(gte=1990)),
    ],
    should=[
        models.FieldCondition(key="public", match=models.MatchValue(value=True)),
        models.FieldCondition(key="tags", match=models.MatchValue(value="t3")),
    ],
)


def refused(call, *, status: int, says: str) -> None:
    """The call raises the client's own error, with the server's words."""
    try:
        call()
    except UnexpectedResponse as error:
        assert error.status_code == status, error
        assert says in error.structured()["status"]["error"], error
    else:
        raise AssertionError(f"not refused: {says}")


def identity(at: int) -> int | str:
    """Even points have integers as ids, odd ones UUIDs."""
    return at if at % 2 == 0 else str(uuid.UUID(int=at))


def number(point_id: int | str) -> int:
    return point_id if isinstance(point_id, int) else uuid.UUID(point_id).int


def load(client: QdrantClient, name: str, stored) -> None:
    points = [
        models.PointStruct(id=identity(at), vector=stored[at].tolist(), payload=sample.metadata(at))
        for at in range(sample.COUNT)
    ]
    client.upload_points(name, points, batch_size=250, wait=True)


def ask(client: QdrantClient, name: str, query, **more) -> list[tuple[int, float]]:
    query = query.tolist() if hasattr(query, "tolist") else query
    found = client.query_points(name, query=query, limit=sample.TOP_K, **more).points
    return [(number(point.id), point.score) for point in found]


def collections(client: QdrantClient, name: str) -> None:
    assert not client.collection_exists(name)
    params = models.VectorParams(size=sample.DIMENSION, distance=models.Distance.COSINE)
    assert client.create_collection(name, vectors_config=params, hnsw_config=models.HnswConfigDiff(m=8))
    refused(lambda: client.create_collection(name, vectors_config=params), status=409, says="exists")
    assert name in [item.name for item in client.get_collections().collections]
    assert client.create_payload_index(name, "genre", models.PayloadSchemaType.KEYWORD).status == "completed"
    info = client.get_collection(name)
    assert info.status == models.CollectionStatus.GREEN
    assert info.config.params.vectors.size == sample.DIMENSION
    assert info.config.params.vectors.distance == models.Distance.COSINE
    assert info.config.hnsw_config.m == 8
    assert set(info.payload_schema) == {"genre"}
    assert client.update_collection(name, hnsw_config=models.HnswConfigDiff(ef_construct=80))
    assert client.get_collection(name).config.hnsw_config.ef_construct == 80
    assert client.delete_payload_index(name, "genre").status == "completed"


def aliases(client: QdrantClient, name: str) -> None:
    def change(operation) -> None:
        assert client.update_collection_aliases(change_aliases_operations=[operation])

    create = models.CreateAlias(collection_name=name, alias_name=f"{name}-live")
    change(models.CreateAliasOperation(create_alias=create))
    assert client.count(f"{name}-live").count == client.count(name).count
    rename = models.RenameAlias(old_alias_name=f"{name}-live", new_alias_name=f"{name}-now")
    change(models.RenameAliasOperation(rename_alias=rename))
    pair = models.AliasDescription(alias_name=f"{name}-now", collection_name=name)
    assert pair in client.get_aliases().aliases
    assert client.get_collection_aliases(name).aliases == [pair]
    change(models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=f"{name}-now")))
    assert client.get_collection_aliases(name).aliases == []


def reading(client: QdrantClient, name: str, stored) -> None:
    for query in sample.queries():
        sample.check(ask(client, name, query), sample.nearest(query, stored, "cosine"))
        expected = sample.nearest(query, stored, "cosine", sample.wanted)
        sample.check(ask(client, name, query, query_filter=WANTED), expected)
    neighbours = sample.nearest(stored[4], stored, "cosine", lambda at: at != 4)
    sample.check(ask(client, name, identity(4)), neighbours)
    threshold = neighbours[4][1] - 1e-4
    assert len(ask(client, name, identity(4), score_threshold=threshold)) == 5
    batch = client.query_batch_points(
        name, [models.QueryRequest(query=query.tolist(), limit=3, offset=1) for query in sample.queries()]
    )
    for answer, query in zip(batch, sample.queries(), strict=True):
        expected = [at for at, _ in sample.nearest(query, stored, "cosine")[1:4]]
        assert [number(point.id) for point in answer.points] == expected
    top = client.query_points(
        name, query=stored[7].tolist(), limit=1, with_vectors=True, with_payload=["year", "tags"]
    ).points[0]
    assert top.id == identity(7)
    assert top.payload == {key: sample.metadata(7)[key] for key in ("year", "tags")}
    sample.np.testing.assert_allclose(top.vector, stored[7], rtol=1e-6)

    records = client.retrieve(name, [identity(1), identity(2), 10**9], with_vectors=True)
    assert {record.id for record in records} == {identity(1), identity(2)}
    assert all(record.payload == sample.metadata(number(record.id)) for record in records)

    seen, offset = [], None
    while True:
        page, offset = client.scroll(name, scroll_filter=WANTED, limit=37, offset=offset, with_payload=False)
        seen += [number(record.id) for record in page]
        if offset is None:
            break
    selected = [at for at in range(sample.COUNT) if sample.wanted(at)]
    assert sorted(seen) == selected
    assert client.count(name, count_filter=WANTED).count == len(selected)
    assert client.count(name).count == sample.COUNT
    conditions = models.Filter(
        must=[models.HasIdCondition(has_id=[identity(at) for at in range(20)])],
        must_not=[
            models.FieldCondition(key="genre", match=models.MatchExcept(**{"except": ["drama", "sport"]})),
            models.IsEmptyCondition(is_empty=models.PayloadField(key="genre")),
            models.IsNullCondition(is_null=models.PayloadField(key="year")),
        ],
    )
    found, _ = client.scroll(name, scroll_filter=conditions, limit=100)
    assert sorted(number(record.id) for record in found) == [
        at for at in range(20) if sample.metadata(at)["genre"] in ("drama", "sport")
    ]


def writing(client: QdrantClient, name: str, stored) -> None:
    def payload(at: int) -> dict:
        return client.retrieve(name, [identity(at)])[0].payload

    client.update_vectors(name, [models.PointVectors(id=identity(1), vector=(-stored[1]).tolist())])
    record = client.retrieve(name, [identity(1)], with_vectors=True)[0]
    sample.np.testing.assert_allclose(record.vector, -stored[1], rtol=1e-6)
    client.set_payload(name, payload={"new": [1, {"deep": True}]}, points=[identity(1)])
    assert payload(1) == sample.metadata(1) | {"new": [1, {"deep": True}]}
    client.overwrite_payload(name, payload={"only": 1}, points=[identity(1), identity(2)])
    assert payload(1) == payload(2) == {"only": 1}
    client.delete_payload(name, keys=["genre", "tags"], points=[identity(3)])
    assert set(payload(3)) == {"year", "rating", "public"}
    client.set_payload(
        name,
        payload={"seen": True},
        points=models.Filter(must=models.FieldCondition(key="year", match=models.MatchValue(value=1985))),
    )
    assert payload(5)["seen"] is True
    client.clear_payload(name, points_selector=[identity(4)])
    assert payload(4) == {}
    results = client.batch_update_points(
        name,
        [
            models.UpsertOperation(
                upsert=models.PointsList(
                    points=[models.PointStruct(id=5000, vector=stored[0].tolist(), payload={"a": 1})]
                )
            ),
            models.SetPayloadOperation(set_payload=models.SetPayload(payload={"b": 2}, points=[5000])),
            models.DeleteOperation(delete=models.PointIdsList(points=[identity(6)])),
        ],
    )
    assert [result.status for result in results] == ["completed"] * 3
    assert client.retrieve(name, [5000])[0].payload == {"a": 1, "b": 2}
    assert client.retrieve(name, [identity(6)]) == []
    client.delete(name, points_selector=[5000])
    before = client.count(name).count
    sport = models.Filter(must=[models.FieldCondition(key="genre", match=models.MatchValue(value="sport"))])
    gone = client.count(name, count_filter=sport).count
    assert gone > 100
    client.delete(name, points_selector=models.FilterSelector(filter=sport))
    assert client.count(name).count == before - gone


def strangers(address: str) -> None:
    """A wrong key is refused in words that the client can read."""
    nobody = QdrantClient(url=address, api_key="wrong", check_compatibility=False)
    refused(nobody.get_collections, status=401, says="API key")


def refusals(client: QdrantClient, name: str, stored) -> None:
    one = models.VectorParams(size=4, distance=models.Distance.DOT)
    refused(lambda: client.create_collection("no", vectors_config={"image": one}), status=400, says="Named")
    refused(lambda: client.query_points(name, query=[1.0, 2.0]), status=400, says="32")
    refused(lambda: client.get_collection("no"), status=404, says="Not found")
    text = models.Filter(must=[models.FieldCondition(key="genre", match=models.MatchText(text="dra"))])
    refused(lambda: client.scroll(name, scroll_filter=text), status=400, says="match.text")


def distances(client: QdrantClient, name: str, stored) -> None:
    for distance, measure in ((models.Distance.EUCLID, "distance"), (models.Distance.DOT, "dot")):
        params = models.VectorParams(size=sample.DIMENSION, distance=distance)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            assert client.recreate_collection(name, vectors_config=params)
        load(client, name, stored)
        query = sample.queries()[2]
        expected = sample.nearest(query, stored, measure)
        sample.check(ask(client, name, query), expected)
        near = ask(client, name, query, score_threshold=(expected[2][1] + expected[3][1]) / 2)
        assert len(near) == 3


def main(address: str) -> None:
    client = QdrantClient(url=address, api_key=os.environ["QDRANT_API_KEY"], check_compatibility=True)
    assert client.info().version.startswith("1.20")
    strangers(address)
    name, stored = f"sdk-{uuid.uuid4().hex[:6]}", sample.vectors()
    collections(client, name)
    load(client, name, stored)
    aliases(client, name)
    reading(client, name, stored)
    writing(client, name, stored)
    refusals(client, name, stored)
    distances(client, name, stored)
    assert client.delete_collection(name)
    assert not client.collection_exists(name)


# A pool of processes would import this module again.
if __name__ == "__main__":
    main(sys.argv[1])
