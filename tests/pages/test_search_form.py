"""The search form: its parameters as a query's body, and the same call for other tools."""

import base64
import json
import struct
from urllib.parse import urlencode

import pytest
from django.http import QueryDict

from controlplane.errors import InvalidError
from deployments.pages.collection_form import body, given, shown
from deployments.pages.filters import filter_of
from deployments.pages.points import bars
from deployments.pages.search_form import calls, defaults, query_body


def asked(query: str) -> tuple[dict, dict]:
    return query_body(defaults(QueryDict(query)))


def test_a_vector_with_all_options():
    made, errors = asked(
        "by=vector&vector=1,2,3&filter=%7B%22a%22:1%7D&top_k=4&namespace=x&recall=0.99&score_threshold=0.5"
        "&include=vector&include=content&cursor=c"
    )
    assert errors == {}
    assert made == {
        "vector": [1, 2, 3],
        "top_k": 4,
        "namespace": "x",
        "filter": {"a": 1},
        "recall": 0.99,
        "score_threshold": 0.5,
        "include": ["content", "vector"],
        "cursor": "c",
    }


def test_a_packed_vector_is_the_vector():
    packed = base64.b64encode(struct.pack("<3f", 0.5, -1, 0.1)).decode()
    made, errors = asked(urlencode({"by": "vector", "vector_b64": packed}))
    assert (made["vector"], errors) == ([0.5, -1, 0.1], {})
    _, errors = asked("by=vector&vector_b64=%%")
    assert "vector" in errors


def test_words_alone_and_beside_a_vector():
    assert asked("by=text&text=net")[0] == {"text": "net", "top_k": 10, "include": []}
    made, _ = asked("by=id&id=a&text=net&fusion=rrf&rrf_k=20&recall=exact")
    assert (made["id"], made["text"], made["fusion"]) == ("a", "net", {"method": "rrf", "k": 20})
    assert made["recall"] == "exact"
    made, _ = asked("by=id&id=a&text=net&fusion=weighted&vector_weight=0.3")
    assert made["fusion"] == {"method": "weighted", "vector_weight": 0.3}


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("by=vector&vector=x&filter={&top_k=a", {"vector", "filter", "top_k"}),
        ("by=vector&vector=", {"vector"}),
        ("by=id&id=", {"id"}),
        ("by=text&text=", {"text"}),
        ("by=id&id=a&score_threshold=much&recall=most", {"score_threshold", "recall"}),
        ("by=id&id=a&filter=[1]", {"filter"}),
    ],
)
def test_what_is_wrong_is_told_at_its_field(query, fields):
    assert set(asked(query)[1]) == fields


def test_the_same_call():
    vector = [n / 10 for n in range(20)]
    body = {"vector": vector, "filter": {"who": "it's", "live": True, "gone": None}}
    shown = {one["key"]: one for one in calls("http://h:8000", "docs", "collections/a", "a", body)}
    assert "'\\''" in shown["curl"]["whole"]
    assert "http://h:8000/api/v1/targets/docs/vectors/collections/a/query" in shown["curl"]["whole"]
    compile(shown["python"]["whole"], "call", "exec")
    assert json.loads(shown["json"]["whole"]) == body
    assert "[0.0, 0.1, 0.2, 0.3, ...]" in shown["json"]["text"]


def test_filters():
    assert filter_of("  ") == {}
    assert filter_of('{"a": 1}') == {"filter": {"a": 1}}
    for wrong in ("{", "[1]", "3"):
        with pytest.raises(InvalidError):
            filter_of(wrong)


def test_body_of_a_new_collection():
    value = given(
        QueryDict(
            "name=docs&dimension=8&metric=l2&index=ivfflat&lists=20&precision=halfvec&auto=on&language=english"
            "&field_name=a.b&field_type=number&field_name=&field_type=keyword"
        )
    )
    made, errors = body(value)
    assert errors == {}
    assert made == {
        "name": "docs",
        "dimension": 8,
        "metric": "l2",
        "index": {"type": "ivfflat", "lists": 20, "precision": "halfvec"},
        "fields": [{"name": "a.b", "type": "number"}],
        "text": {"language": "english"},
    }
    _, errors = body(given(QueryDict("name=&dimension=many&index=hnsw&m=x&ef_construction=64")))
    assert set(errors) == {"name", "dimension", "m"}
    told = shown({"index.type": "a", "fields[2].name": "b", "text.language": "c", "text": "d", "new": "e"})
    assert told == {"index": "a", "fields": "b", "language": "c d", "form": "e"}


def test_bars_of_a_vector():
    drawn = bars([0.0, 1.0, -2.0])
    assert [bar["low"] for bar in drawn["bars"]] == [False, False, True]
    assert drawn["norm"] == pytest.approx(5**0.5)
    assert bars([])["bars"] == []
