"""Full text and hybrid search: what matches, how it is scored and fused, and that k come back if k match."""

import random
import re

import pytest

from vectors import collections, declarations, hybrid, words

ENGLISH = {"text": {"language": "english"}}
WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]
DOCUMENTS = {
    "cats": "Cats are running after the mouse",
    "dogs": "A dog runs; two dogs run. Running dogs!",
    "long": "A dog " + "and some other words that say nothing " * 30,
    "fish": "Fish swim",
    "none": None,
    "empty": "",
}


def upsert(client, name, documents, namespace="", vectors=None, metadata=None):
    points = [
        {
            "id": point_id,
            "vector": (vectors or {}).get(point_id, [at + 1, 1, 0]),
            "content": content,
            "metadata": (metadata or {}).get(point_id, {}),
        }
        for at, (point_id, content) in enumerate(documents.items())
    ]
    answer = client.post(f"collections/{name}/points", {"points": points, "namespace": namespace})
    assert answer.status == 200, answer


def query(client, name, status=200, **body):
    answer = client.post(f"collections/{name}/query", body)
    assert answer.status == status, answer
    return answer.json


def ids(answer):
    return [match["id"] for match in answer["matches"]]


@pytest.fixture(params=["stored", "expression"])
def described(request, client, collection, monkeypatch):
    """The name of a collection whose words lie in a column, or in its index alone."""
    if request.param == "stored":
        name = collection(**ENGLISH)
    else:
        name = collection()
        # What no table is too small for: enabled as on one of any size.
        monkeypatch.setattr(declarations, "AT_ONCE_BYTES_MOST", -1)
        client.patch(f"collections/{name}", ENGLISH)
        request.getfixturevalue("runner")()
    found = collections.collection_load(name)
    assert (found.text_indexed, found.text_stored) == (True, request.param == "stored")
    upsert(client, name, DOCUMENTS)
    return name


def test_words_in_their_forms(client, described):
    answer = query(client, described, text="dog running")
    assert ids(answer) == ["dogs"]
    assert answer["plan"] == "text"
    assert (answer["ef"], answer["candidates"], answer["exhausted"]) == (None, 1, True)
    assert answer["next_cursor"] is None
    [match] = answer["matches"]
    assert match["scores"] == {"vector": None, "text": match["score"]}
    assert 0 < match["score"] < 1
    answer = query(client, described, text="dog")
    assert ids(answer) == ["dogs", "long"]
    assert answer["matches"][0]["score"] > answer["matches"][1]["score"]
    assert sorted(ids(query(client, described, text="fish or cat"))) == ["cats", "fish"]
    assert ids(query(client, described, text="run -cat")) == ["dogs"]
    assert ids(query(client, described, text='"two dogs"')) == ["dogs"]
    assert ids(query(client, described, text='"dogs two"')) == []


def test_parts_threshold_and_top_k(client, described):
    answer = query(client, described, text="dog", top_k=1, include=["content", "vector", "metadata"])
    [match] = answer["matches"]
    assert (match["id"], match["content"]) == ("dogs", DOCUMENTS["dogs"])
    assert match["vector"] == [2, 1, 0]
    assert match["metadata"] == {}
    assert (answer["candidates"], answer["exhausted"]) == (2, False)
    answer = query(client, described, text="dog", score_threshold=match["score"])
    assert (ids(answer), answer["exhausted"]) == (["dogs"], True)


def test_changes_are_found_at_once(client, described):
    path = f"collections/{described}"
    client.post(f"{path}/update", {"ids": ["fish"], "content": "A whale sings"})
    assert ids(query(client, described, text="whales")) == ["fish"]
    client.post(f"{path}/update", {"ids": ["fish"], "metadata": {"a": 1}})
    assert ids(query(client, described, text="whales")) == ["fish"]
    assert ids(query(client, described, text="swim")) == []
    client.post(f"{path}/update", {"ids": ["fish"], "content": None})
    assert ids(query(client, described, text="whales")) == []
    client.post(f"{path}/delete", {"ids": ["dogs"]})
    assert ids(query(client, described, text="dog")) == ["long"]


@pytest.mark.parametrize(
    "text",
    [
        *(
            "the",
            "!!!",
            "& | ! ( )",
            ":*",
            '"',
            '""',
            "-",
            "--",
            "or",
            "or or",
            "a:b",
            "<->",
            "\\",
            "'",
            "''",
        ),
        *("\U0001f600", "日本語", "\u202e", "a" * 4096, "x " * 2048, "-x " * 1300, '"a" ' * 1000, "x" * 3000),
    ],
)
def test_no_text_is_a_defect(client, described, text):
    answer = query(client, described, text=text)
    assert isinstance(answer["matches"], list)
    assert query(client, described, text=text, vector=[1, 0, 0], top_k=2)["plan"] == "hybrid"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"text": ""}, "text"),
        ({"text": " \n"}, "text"),
        ({"text": "a" * 4097}, "text"),
        ({"text": "a\0b"}, "text"),
        ({"text": 5}, "text"),
        ({"text": "dog", "cursor": "x"}, "cursor"),
        ({"text": "dog", "vector": [1, 0, 0], "cursor": "x"}, "cursor"),
        ({"text": "dog", "vector": [1, 0, 0], "id": "cats"}, "vector"),
        ({"text": "dog", "vector": [1, 0]}, "vector"),
        ({"text": "dog", "fusion": {}}, "fusion"),
        ({"vector": [1, 0, 0], "fusion": {}}, "fusion"),
        ({"text": "dog", "vector": [1, 0, 0], "fusion": {"method": "sum"}}, "fusion.method"),
        ({"text": "dog", "vector": [1, 0, 0], "fusion": {"k": 0}}, "fusion.k"),
        ({"text": "dog", "vector": [1, 0, 0], "fusion": {"vector_weight": 1.5}}, "fusion.vector_weight"),
        ({"text": "dog", "vector": [1, 0, 0], "group_by": "a"}, "text"),
        ({"text": "dog", "queries": [{"text": "dog"}]}, "text"),
        ({"queries": [{"text": "dog"}, {"text": ""}]}, "queries[1].text"),
        ({}, "vector"),
    ],
)
def test_what_cannot_be_asked(client, collection, body, field):
    name = collection(**ENGLISH)
    assert query(client, name, 422, **body)["errors"][0]["field"] == field


def test_a_collection_without_text_says_how_to_enable_it(client, collection):
    name = collection()
    for body in ({"text": "dog"}, {"text": "dog", "vector": [1, 0, 0]}):
        refused = query(client, name, 422, **body)
        assert (refused["code"], refused["errors"][0]["field"]) == ("text_disabled", "text")
    refused = query(client, name, 422, queries=[{"vector": [1, 0, 0]}, {"text": "dog"}])
    assert refused["errors"][0]["field"] == "queries[1].text"
    method, path, body = re.search(r"(PATCH) \S+/(collections/\S+) (\{.*\})\.", refused["detail"]).groups()
    assert client.call(method, path, raw=body.encode()).status == 200
    assert query(client, name, text="dog")["matches"] == []


def test_enabled_changed_and_ended(client, collection, runner):
    name = collection()
    path = f"collections/{name}"
    assert client.get(path).json["text"] is None
    upsert(client, name, DOCUMENTS)
    made = client.patch(path, ENGLISH).json
    assert made["text"] == {"language": "english", "indexed": True}
    assert collections.collection_load(name).text_stored
    assert ids(query(client, name, text="dogs running")) == ["dogs"]
    client.patch(path, {"text": {"language": "simple"}})
    assert ids(query(client, name, text="run")) == ["dogs"]
    # With a graph there, another column would have the graph built anew.
    client.post(f"{path}/index")
    runner()
    built = client.get(path).json["index"]["built"]
    client.patch(path, {"text": {"language": "german"}})
    found = collections.collection_load(name)
    assert (found.text_indexed, found.text_stored) == (True, False)
    assert client.get(path).json["index"]["built"] == built
    assert ids(query(client, name, text="swim")) == ["fish"]
    assert client.patch(path, {"text": None}).json["text"] is None
    assert query(client, name, 422, text="dog")["code"] == "text_disabled"
    assert client.patch(path, {"auto_index": True}).json["text"] is None


def test_a_large_table_is_searched_when_its_index_is_built(client, collection, runner, monkeypatch):
    name = collection()
    upsert(client, name, DOCUMENTS)
    monkeypatch.setattr(declarations, "AT_ONCE_BYTES_MOST", 0)
    assert client.patch(f"collections/{name}", ENGLISH).json["text"] == {
        "language": "english",
        "indexed": False,
    }
    assert query(client, name, 409, text="dog")["code"] == "building"
    runner()
    assert ids(query(client, name, text="dog")) == ["dogs", "long"]


def test_a_process_that_remembers_the_column_finds_it_gone(client, collection):
    name = collection(**ENGLISH)
    upsert(client, name, DOCUMENTS)
    query(client, name, text="dog")
    kept = collections.collection_get(name)
    client.patch(f"collections/{name}", {"text": None})
    collections._cache[name] = kept
    assert query(client, name, 422, text="dog")["code"] == "text_disabled"
    client.patch(f"collections/{name}", {"text": {"language": "simple"}})
    collections._cache[name] = kept
    assert ids(query(client, name, text="runs")) == ["dogs"]


def test_languages(client, collection):
    for language in ("klingon", "", "english'", "pg_catalog.english"):
        body = {"name": "never", "dimension": 2, "text": {"language": language}}
        refused = client.post("collections", body)
        assert (refused.status, refused.json["errors"][0]["field"]) == (422, "text.language")
        assert "english" in refused.json["detail"] and "german" in refused.json["detail"]
    name = collection(text={"language": "german"})
    upsert(client, name, {"a": "Die Häuser am Bach"})
    assert ids(query(client, name, text="Haus")) == ["a"]
    assert client.patch(f"collections/{name}", {"text": {"language": "no"}}).status == 422


def test_content_of_any_size_is_taken(client, collection):
    """A text vector holds a megabyte at most; what is beyond is kept, and only not searched."""
    name = collection(**ENGLISH)
    letters = "abcdefghijklmnopqrstuvwxyz"
    many = " ".join(
        a + b + c + d for a in letters for b in letters[:12] for c in letters for d in letters[:20]
    )
    wide = " ".join(chr(0x10000 + at) * 2 for at in range(60_000))
    hyphens = " ".join(f"{a}{b}-{b}{c}-{c}{a}" for a in letters for b in letters for c in letters)
    contents = {
        "many": many,
        "wide": wide,
        "hyphens": hyphens,
        "one": "x" * 1_000_000,
        "last": "a " * 99_999 + "zebra",
    }
    upsert(client, name, contents)
    assert ids(query(client, name, text="aaaa")) == ["many"]
    assert words.CONTENT_MOST == 100_000
    assert ids(query(client, name, text="zebra")) == []
    fetched = client.post(f"collections/{name}/fetch", {"ids": ["last"]}).json["points"][0]
    assert fetched["content"] == contents["last"]


@pytest.fixture(params=["cosine", "l2"])
def mixed(request, client, collection):
    """A collection of documents of random words, and those documents."""
    name = collection(2, request.param, text={"language": "simple"})
    choose = random.Random(3)
    documents = {
        f"{at:03d}": " ".join(choose.choices(WORDS, weights=range(1, 11), k=choose.randint(1, 8)))
        for at in range(400)
    }
    vectors = {point_id: [choose.gauss(0, 1), choose.gauss(0, 1)] for point_id in documents}
    metadata = {point_id: {"n": at % 10, "half": at % 2 == 0} for at, point_id in enumerate(documents)}
    upsert(client, name, documents, "x", vectors, metadata)
    upsert(client, name, {"elsewhere": "alpha beta"}, "y", {"elsewhere": [1, 1]})
    return name, documents, metadata


def fused(lists, fusion, nearest_first_is_least):
    """The same fusion computed plainly from the two lists of (id, score)."""
    scores = {}
    if fusion.get("method", "rrf") == "rrf":
        for one in lists:
            for rank, (point_id, _) in enumerate(one, 1):
                scores[point_id] = scores.get(point_id, 0) + 1 / (fusion.get("k", 60) + rank)
        return scores
    weight = fusion.get("vector_weight", 0.5)
    for one, share, turned in ((lists[0], weight, nearest_first_is_least), (lists[1], 1 - weight, False)):
        values = [-score if turned else score for _, score in one]
        for (point_id, _), value in zip(one, values, strict=True):
            spread = max(values) - min(values)
            scaled = (value - min(values)) / spread if spread else 1
            scores[point_id] = scores.get(point_id, 0) + share * scaled
    return scores


@pytest.mark.parametrize(
    "fusion",
    [
        {},
        {"k": 1},
        {"method": "weighted"},
        {"method": "weighted", "vector_weight": 0.9},
        {"method": "weighted", "vector_weight": 0},
    ],
)
def test_hybrid_is_the_fusion_of_both_lists(client, mixed, fusion):
    name, _, _ = mixed
    metric = client.get(f"collections/{name}").json["metric"]
    scope = {"namespace": "x", "include": ["content"]}
    for vector in ([1, 0], [-0.3, 0.8]):
        for text in ("alpha", "kappa or iota", "alpha beta gamma", "nowhere"):
            for more in ({}, {"filter": {"n": {"$lt": 4}}}):
                deep = scope | more | {"top_k": 400, "exact": True}
                near = query(client, name, vector=vector, **deep)["matches"]
                said = query(client, name, text=text, **deep)["matches"]
                asked = {"vector": vector, "text": text, "top_k": 20, "fusion": fusion}
                answer = query(client, name, **asked, **scope, **more)
                depth = max(hybrid.DEPTH_LEAST, fusion.get("k", 60) + 40)
                lists = [[(match["id"], match["score"]) for match in one[:depth]] for one in (near, said)]
                expected = fused(lists, fusion, metric == "l2")
                best = sorted(expected, key=lambda point_id: (-expected[point_id], point_id))[:20]
                assert ids(answer) == best
                for match in answer["matches"]:
                    assert match["score"] == pytest.approx(expected[match["id"]])
                    assert match["scores"] == {
                        "vector": pytest.approx(dict(lists[0])[match["id"]])
                        if match["id"] in dict(lists[0])
                        else None,
                        "text": pytest.approx(dict(lists[1])[match["id"]])
                        if match["id"] in dict(lists[1])
                        else None,
                    }
                    assert match["content"]
                assert (answer["plan"], answer["exhausted"]) == ("hybrid", False)


def test_text_is_complete_and_as_plainly_searched(client, mixed):
    name, documents, metadata = mixed
    for wanted in (["alpha"], ["kappa"], ["alpha", "kappa"], ["alpha", "beta", "gamma"]):
        for filter in (None, {"half": True}, {"n": {"$in": [1, 2]}}):
            kept = {
                point_id
                for point_id, content in documents.items()
                if set(wanted) <= set(content.split())
                and (
                    filter is None
                    or (metadata[point_id]["half"] if "half" in filter else metadata[point_id]["n"] in (1, 2))
                )
            }
            for top_k in (5, 400):
                asked = {"text": " ".join(wanted), "top_k": top_k, "namespace": "x", "filter": filter}
                answer = query(client, name, **asked)
                assert len(ids(answer)) == min(top_k, len(kept))
                assert set(ids(answer)) <= kept
                assert answer["candidates"] == len(kept)
                assert answer["exhausted"] is (len(kept) < top_k)
                scores = [match["score"] for match in answer["matches"]]
                assert scores == sorted(scores, reverse=True)


def test_hybrid_gives_k_whenever_k_match(client, mixed, runner):
    name, _, metadata = mixed
    for indexed in (False, True):
        if indexed:
            client.post(f"collections/{name}/index")
            runner()
        for filter, matching in (({"n": 3}, 40), ({"half": True}, 200), (None, 400), ({"n": 99}, 0)):
            for top_k in (1, 40, 200, 401):
                answer = query(
                    client,
                    name,
                    **{"vector": [1, 1], "text": "alpha", "namespace": "x", "top_k": top_k, "filter": filter},
                )
                assert len(set(ids(answer))) == len(ids(answer)) == min(top_k, matching)
                assert answer["exhausted"] is (matching < top_k)
                assert all(match["metadata"] == metadata[match["id"]] for match in answer["matches"])


def test_by_a_stored_point_and_several_of_all_kinds(client, described):
    answer = query(client, described, id="fish", text="dog", include=[])
    assert answer["plan"] == "hybrid"
    assert set(answer["matches"][0]) == {"id", "score", "scores"}
    assert query(client, described, 404, id="no-such", text="dog")["code"] == "unknown_point"
    several = query(
        client,
        described,
        queries=[
            {"vector": [1, 0, 0], "top_k": 1},
            {"text": "fish"},
            {"id": "cats", "text": "dog", "top_k": 2},
        ],
    )["answers"]
    assert [one["plan"] for one in several] == ["exact", "text", "hybrid"]
    assert [len(one["matches"]) for one in several] == [1, 1, 2]
    assert "scores" not in several[0]["matches"][0]
    threshold = answer["matches"][1]["score"]
    kept = query(client, described, id="fish", text="dog", score_threshold=threshold)
    assert (len(kept["matches"]), kept["exhausted"]) == (2, True)
