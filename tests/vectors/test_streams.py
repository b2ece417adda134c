"""NDJSON upserts: a result for every line, whatever is in it, in bounded memory."""

import json
import uuid

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.vectors.test_bad_input import check_problem
from vectors import streams

NDJSON = {"Content-Type": "application/x-ndjson"}
GOOD = {"id": "a", "vector": [1, 2, 3]}


def load(client, name, raw, parameters=""):
    """(results by line, summary) of a load."""
    answer = client.post(f"collections/{name}/points{parameters}", raw=raw, headers=NDJSON)
    assert answer.status == 200, answer
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert "content-length" not in answer.headers
    *found, last = [json.loads(line) for line in answer.body.splitlines()]
    return {result["line"]: result for result in found if "line" in result}, last["summary"]


def lines(points) -> bytes:
    return b"".join(json.dumps(point).encode() + b"\n" for point in points)


IDS = st.sampled_from(["a", "b", "c", "\u00e9", "10"])
LINES = st.one_of(
    st.fixed_dictionaries(
        {"id": IDS, "vector": st.lists(st.sampled_from([0.5, 1, -2]), min_size=3, max_size=3)},
        optional={"namespace": st.sampled_from(["", "x"]), "metadata": st.sampled_from([{}, {"n": 1}])},
    ),
    st.sampled_from(
        [
            "",
            "{",
            {"id": "a", "vector": [1, 2]},
            {"id": "a", "vector": [0, 0, 0]},
            {"id": "a\0", "vector": [1, 2, 3]},
            {"id": "a", "vector": [1, 2, 3], "metadata": {"a": "\0"}},
            {"id": "a", "vector": [1, 2, 3], "metadata": 5},
            {"id": "a", "vector": [1, 2, 3], "namespace": "\0"},
            {"id": "a", "vector": [1, 2, 3], "extra": 1},
        ]
    ),
)


def is_good(line) -> bool:
    return (
        isinstance(line, dict)
        and len(line["vector"]) == 3
        and any(line["vector"])
        and "extra" not in line
        and "\0" not in line["id"] + line.get("namespace", "")
        and line.get("metadata", {}) in ({}, {"n": 1})
    )


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@example([GOOD, GOOD | {"vector": [0, 0, 0]}, GOOD, GOOD | {"vector": [1]}], 4, True)
@given(given_lines=st.lists(LINES, max_size=12), batch=st.integers(1, 5), end=st.booleans())
def test_every_line_has_its_result(client, given_lines, batch, end):
    name = f"s-{uuid.uuid4().hex[:10]}"
    client.post("collections", {"name": name, "dimension": 3, "auto_index": False})
    try:
        raw = b"\n".join(
            line.encode() if isinstance(line, str) else json.dumps(line).encode() for line in given_lines
        ) + (b"\n" if end else b"")
        results, summary = load(client, name, raw, f"?batch={batch}&namespace=y")
        stored = {}
        for number, line in enumerate(given_lines, 1):
            if line == "":
                assert number not in results
            elif is_good(line):
                assert results[number] == {"line": number, "id": line["id"], "status": "upserted"}
                stored[line.get("namespace", "y"), line["id"]] = line
            else:
                assert results[number]["error"]["message"], results[number]
        good = sum(map(is_good, given_lines))
        assert summary["upserted"] == good
        assert summary["failed"] == len([line for line in given_lines if line != ""]) - good
        assert "error" not in summary
        page = client.post(f"collections/{name}/scroll", {"include": ["vector", "metadata"]}).json
        assert {
            (point["namespace"], point["id"]): (point["vector"], point["metadata"])
            for point in page["points"]
        } == {key: (line["vector"], line.get("metadata", {})) for key, line in stored.items()}
    finally:
        client.delete(f"collections/{name}")


def test_more_than_a_body_may_hold(client, application, collection):
    """Twice the limit of other bodies; only errors are answered when so asked for."""
    name = collection(3)
    text = "x" * 1000
    count = 2 * application.max_body // 1000
    raw = b"".join(
        b'{"id":"%d","vector":[1,2,%d],"content":"%s"}\n' % (at, at, text.encode()) for at in range(count)
    )
    results, summary = load(client, name, raw + b"{}\n", "?results=errors")
    assert list(results) == [count + 1]
    assert (summary["lines"], summary["upserted"], summary["failed"]) == (count + 1, count, 1)
    assert client.post(f"collections/{name}/count").json == {"count": count}


def test_a_line_too_long_is_left_out(client, collection):
    name = collection(3)
    long = {"id": "b", "vector": [1, 2, 3], "content": "x" * (streams.LINE_BYTES_MOST + 5)}
    results, summary = load(client, name, lines([GOOD, long, GOOD | {"id": "c"}]))
    assert results[2]["error"]["code"] == "too_large"
    assert summary["upserted"] == 2
    results, _ = load(client, name, lines([GOOD, long])[:-1])
    assert results[2]["error"]["code"] == "too_large"


def test_what_is_wrong_with_the_call(client, collection):
    name = collection(3)
    path = f"collections/{name}/points"
    for parameters, field in (
        ("?batch=0", "batch"),
        ("?batch=x", "batch"),
        ("?results=some", "results"),
        ("?namespace=%00", "namespace"),
        (f"?namespace={'n' * 129}", "namespace"),
        ("?names=x", "names"),
    ):
        check_problem(client.post(path + parameters, raw=lines([GOOD]), headers=NDJSON), 422, field)
    check_problem(client.post("collections/nope/points", raw=b"", headers=NDJSON), 404)
    assert client.as_role("viewer").post(path, raw=b"", headers=NDJSON).status == 403
    # Only points are taken line by line.
    check_problem(client.post(f"collections/{name}/query", raw=lines([GOOD]), headers=NDJSON))


def test_places_are_given_back(client, collection, monkeypatch):
    name = collection(3)
    for _ in range(4):
        load(client, name, lines([GOOD]))
    places = streams.place()
    taken = []
    while places.acquire(blocking=False):
        taken.append(places)
    answer = client.post(f"collections/{name}/points", raw=lines([GOOD]), headers=NDJSON)
    check_problem(answer, 429)
    assert answer.headers["retry-after"]
    for one in taken:
        one.release()
    load(client, name, lines([GOOD]))


def test_a_database_that_goes_away_is_told_at_the_end(client, collection, monkeypatch):
    from controlplane.errors import UnavailableError
    from vectors import upserts

    name = collection(3)
    calls = []
    upsert = upserts.points_upsert

    def fail_later(*arguments, **options):
        calls.append(1)
        if len(calls) > 2:
            raise UnavailableError(retry_after_seconds=1)
        return upsert(*arguments, **options)

    monkeypatch.setattr(upserts, "points_upsert", fail_later)
    raw = lines([GOOD | {"id": str(at)} for at in range(10)])
    results, summary = load(client, name, raw, "?batch=3")
    assert sorted(results) == [1, 2, 3, 4, 5, 6]
    assert summary["error"]["status"] == 503
    assert client.post(f"collections/{name}/count").json == {"count": 6}


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_lines_however_they_are_cut(monkeypatch, size):
    monkeypatch.setattr(streams, "LINE_BYTES_MOST", 10)
    whole = b"a\n\nbb\n" + b"x" * 50 + b"\ncc\n" + b"1234567890\n12345678901\nlast"
    rest = [whole[at : at + size] for at in range(0, len(whole), size)]
    found = list(streams.lines_of(lambda _: rest.pop(0) if rest else b""))
    assert [line for line, _ in found] == [b"a", b"", b"bb", None, b"cc", b"1234567890", None, b"last"]
    assert [end for _, end in found] == [2, 3, 6, 57, 60, 71, 83, 87]
