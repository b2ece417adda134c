"""Pinecone's official client, version 8 or 10, unchanged: python run_pinecone.py <address of .../pinecone>.

The key is read from PINECONE_API_KEY. Ends with status 0 when everything was as brute force says.
"""

import sys
import uuid

import pinecone
import sample
from pinecone import Pinecone, ServerlessSpec
from pinecone.exceptions import NotFoundException, PineconeApiException

MAJOR = int(pinecone.__version__.split(".")[0])
FILTER = {
    "$and": [
        {"genre": {"$in": ["drama", "news"]}, "year": {"$gte": 1990}},
        {"$or": [{"public": True}, {"tags": {"$eq": "t3"}}]},
    ]
}


def listed(pages) -> list[str]:
    """Ids of all pages: version 8 gives lists of ids, version 10 lists of items."""
    return [getattr(item, "id", item) for page in pages for item in page]


def refused(call, *, status: int, says: str) -> None:
    """The call raises the client's own error, with the server's words."""
    try:
        call()
    except PineconeApiException as error:
        code = getattr(error, "status_code", None) or error.status
        assert code == status, error
        assert says in str(error) + str(getattr(error, "body", "")), error
    else:
        raise AssertionError(f"not refused: {says}")


def create(pc: Pinecone, name: str, metric: str) -> None:
    pc.create_index(
        name=name,
        dimension=sample.DIMENSION,
        metric=metric,
        spec=ServerlessSpec(cloud="aws", region="eu-west-1"),
        tags={"team": "search"},
        deletion_protection="enabled",
    )


def control_plane(pc: Pinecone, name: str) -> str:
    """Create, describe, list, configure; the data plane's host that the server told."""
    assert not pc.has_index(name)
    create(pc, name, "cosine")
    refused(lambda: create(pc, name, "cosine"), status=409, says="exists")
    described = pc.describe_index(name)
    assert described.name == name
    assert described.dimension == sample.DIMENSION
    assert described.metric == "cosine"
    assert described.status.ready
    assert described.spec.serverless.region == "eu-west-1"
    assert dict(described.tags.to_dict()) == {"team": "search"}
    assert name in pc.list_indexes().names()
    refused(lambda: pc.delete_index(name), status=403, says="protection")
    pc.configure_index(name, deletion_protection="disabled", tags={"team": "", "stage": "test"})
    described = pc.describe_index(name)
    assert described.deletion_protection == "disabled"
    assert dict(described.tags.to_dict()) == {"stage": "test"}
    return described.host


def load(index, stored, namespace: str = "") -> None:
    """A thousand vectors, in the client's own batches."""
    records = [
        {"id": f"p{at:04}", "values": stored[at].tolist(), "metadata": sample.metadata(at)}
        for at in range(sample.COUNT)
    ]
    answer = index.upsert(vectors=records, batch_size=200, show_progress=False, namespace=namespace)
    assert answer.upserted_count == sample.COUNT, answer


def ask(index, query, **more) -> list[tuple[int, float]]:
    answer = index.query(vector=query.tolist(), top_k=sample.TOP_K, **more)
    return [(int(match.id[1:]), match.score) for match in answer.matches]


def data_plane(index, stored) -> None:
    load(index, stored)
    for query in sample.queries():
        sample.check(ask(index, query), sample.nearest(query, stored, "cosine"))
        expected = sample.nearest(query, stored, "cosine", sample.wanted)
        sample.check(ask(index, query, filter=FILTER), expected)
    full = index.query(id="p0005", top_k=1, include_values=True, include_metadata=True).matches[0]
    assert full.id == "p0005"
    assert dict(full.metadata) == sample.metadata(5)
    sample.np.testing.assert_allclose(full.values, stored[5], rtol=1e-6)

    fetched = index.fetch(ids=["p0001", "p0002", "nobody"]).vectors
    assert set(fetched) == {"p0001", "p0002"}
    sample.np.testing.assert_allclose(fetched["p0001"].values, stored[1], rtol=1e-6)
    assert dict(fetched["p0002"].metadata) == sample.metadata(2)
    page = index.fetch_by_metadata(filter={"genre": "news", "year": {"$lt": 1985}}, limit=1000)
    of = [at for at in range(sample.COUNT) if sample.metadata(at)["genre"] == "news" and at % 40 < 5]
    assert set(page.vectors) == {f"p{at:04}" for at in of}

    index.update(id="p0001", values=(-stored[1]).tolist(), set_metadata={"genre": "western", "new": 1})
    changed = index.fetch(ids=["p0001"]).vectors["p0001"]
    assert dict(changed.metadata) == sample.metadata(1) | {"genre": "western", "new": 1}
    sample.np.testing.assert_allclose(changed.values, -stored[1], rtol=1e-6)
    index.update(filter={"genre": "western"}, set_metadata={"seen": True})
    assert index.fetch(ids=["p0001"]).vectors["p0001"].metadata["seen"] is True

    assert listed(index.list(prefix="p00", limit=30)) == [f"p{at:04}" for at in range(100)]
    assert len(listed(index.list())) == sample.COUNT


def namespaces(index, stored) -> None:
    load(index, stored[::-1], "other")
    stats = index.describe_index_stats()
    assert stats.dimension == sample.DIMENSION
    assert stats.total_vector_count == 2 * sample.COUNT
    assert {name: one.vector_count for name, one in stats.namespaces.items()} == {
        "__default__": sample.COUNT,
        "other": sample.COUNT,
    }
    query = sample.queries()[0]
    sample.check(ask(index, query, namespace="other"), sample.nearest(query, stored[::-1], "cosine"))
    described = index.list_namespaces_paginated().namespaces
    assert {space.name: space.record_count for space in described} == {
        "__default__": sample.COUNT,
        "other": sample.COUNT,
    }
    assert index.describe_namespace(namespace="other").record_count == sample.COUNT

    index.delete(ids=["p0000", "p0001"], namespace="other")
    index.delete(filter={"genre": "sport"}, namespace="other")
    left = sample.COUNT - 2 - sample.COUNT // len(sample.GENRES)
    assert index.describe_index_stats().namespaces["other"].vector_count == left
    index.delete(delete_all=True, namespace="other")
    assert "other" not in index.describe_index_stats().namespaces
    load(index, stored, "gone")
    index.delete_namespace(namespace="gone")
    assert set(index.describe_index_stats().namespaces) == {"__default__"}


def metrics(pc: Pinecone, name: str, stored) -> None:
    """The other metrics' scores, and in version 10 a create that names schema and deployment."""
    for metric, measure in (("euclidean", "squared distance"), ("dotproduct", "dot")):
        other = f"{name}-{metric}"
        if MAJOR >= 10:
            field = {"type": "dense_vector", "dimension": sample.DIMENSION, "metric": metric}
            place = {"deployment_type": "managed", "cloud": "aws", "region": "eu-west-1"}
            pc.indexes.create(name=other, schema={"fields": {"_values": field}}, deployment=place)
        else:
            pc.create_index(
                name=other, dimension=sample.DIMENSION, metric=metric, spec=ServerlessSpec("aws", "eu-west-1")
            )
        # By name: the client asks the control plane for the host.
        index = pc.Index(other)
        load(index, stored)
        query = sample.queries()[1]
        sample.check(ask(index, query), sample.nearest(query, stored, measure))
        pc.delete_index(other)


def main(address: str) -> None:
    refused(lambda: Pinecone(api_key="wrong", host=address).list_indexes(), status=401, says="API key")
    pc = Pinecone(host=address)
    name, stored = f"sdk-{MAJOR}-{uuid.uuid4().hex[:6]}", sample.vectors()
    told = control_plane(pc, name)
    host = f"{address}/indexes/{name}"
    assert told == host, (told, host)
    index = pc.Index(host=host)
    data_plane(index, stored)
    namespaces(index, stored)
    sparse = {"indices": [1], "values": [1.0]}
    refused(
        lambda: index.upsert(vectors=[{"id": "x", "values": stored[0].tolist(), "sparse_values": sparse}]),
        status=400,
        says="Sparse",
    )
    refused(lambda: index.query(vector=[1.0, 2.0], top_k=1), status=400, says="32")
    metrics(pc, name, stored)
    pc.delete_index(name)
    assert not pc.has_index(name)
    try:
        pc.describe_index(name)
    except NotFoundException:
        return
    raise AssertionError("a deleted index is described")


main(sys.argv[1])
