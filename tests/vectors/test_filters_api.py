"""Filters through the API: what a count, a scroll, a query and an update select is what the evaluator says.

Once over a plain collection and once over one with declared fields, whose indexes must change no answer.
"""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.vectors.model import exactly, matches
from tests.vectors.test_filters import FILTERS, METADATA

DECLARED = [
    {"name": "a", "type": "number"},
    {"name": "b", "type": "keyword"},
    {"name": "å", "type": "boolean"},
    {"name": "a.b", "type": "datetime"},
]


@pytest.mark.parametrize("declared", [[], DECLARED], ids=["plain", "declared"])
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    filters=st.lists(FILTERS, min_size=1, max_size=6), documents=st.lists(METADATA, min_size=1, max_size=20)
)
def test_every_call_selects_alike(client, shared, declared, filters, documents):
    path = shared(declared)
    points = [{"id": f"{at:02}", "vector": [at + 1, 1], "metadata": one} for at, one in enumerate(documents)]
    # What an example that failed has left.
    client.post(f"{path}/delete", {"all": True})
    assert client.post(f"{path}/points", {"points": points}).json["upserted"] == len(points)
    for filter in filters:
        expected = [point["id"] for point in points if matches(filter, point["metadata"])]
        where = json.dumps(filter)
        answer = client.post(f"{path}/scroll", {"filter": filter, "include": ["metadata"]})
        # Python's own reader, which keeps integers of any size.
        scrolled = json.loads(answer.body)["points"]
        assert [point["id"] for point in scrolled] == expected, where
        for point in scrolled:
            # Kept to the last digit, as it was written.
            assert exactly(point["metadata"]) == exactly(documents[int(point["id"])])
        for exact in (True, False):
            asked = {"vector": [1, 0], "top_k": len(points) + 1, "filter": filter, "exact": exact}
            found = client.post(f"{path}/query", asked).json
            assert sorted(match["id"] for match in found["matches"]) == expected, where
            assert found["exhausted"] is True
        counted = client.post(f"{path}/count", {"filter": filter}).json["count"]
        assert counted == len(expected), where
        updated = client.post(f"{path}/update", {"filter": filter, "content": where}).json["updated"]
        assert updated == len(expected), where
    gone = client.post(f"{path}/delete", {"filter": filters[0]}).json["deleted"]
    assert gone == sum(matches(filters[0], one) for one in documents)


@pytest.fixture
def shared(client, collection):
    """A function: the path of the collection with these declared fields, made once for a test's examples."""
    made = {}

    def path(declared) -> str:
        key = len(declared)
        if key not in made:
            more = {"fields": declared} if declared else {}
            made[key] = f"collections/{collection(2, 'l2', auto_index=False, **more)}"
        return made[key]

    return path
