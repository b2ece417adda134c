"""Import and export of NDJSON: uploads in parts, errors line by line, checksums, which files may be read."""

import json
import math
import uuid

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.vectors.conftest import b64
from vectors import streams

RAW = {"Content-Type": "application/octet-stream"}


def upload(client, name: str, raw: bytes, parts: int = 1, **more) -> str:
    """The id of an upload of these bytes, sent in so many requests."""
    made = client.post(f"collections/{name}/uploads", more)
    assert made.status == 201, made
    where, size = made.json["id"], max(1, -(-len(raw) // parts))
    for offset in range(0, len(raw), size):
        sent = client.call(
            "PUT", f"uploads/{where}?offset={offset}", raw=raw[offset : offset + size], headers=RAW
        )
        assert sent.status == 200, sent
    assert client.get(f"uploads/{where}").json["received_bytes"] == len(raw)
    return where


def imported(client, runner, name: str, **body) -> dict:
    """The job of an import that a runner has done."""
    started = client.post(f"collections/{name}/import", body)
    assert started.status == 202, started
    assert started.headers["location"] == f"/api/v1/vectors/jobs/{started.json['id']}"
    runner()
    return client.get(f"jobs/{started.json['id']}").json


def exported(client, name: str, parameters: str = "") -> tuple[list[dict], dict]:
    """(points, manifest) of an export."""
    answer = client.get(f"collections/{name}/export{parameters}")
    assert answer.status == 200, answer
    *found, last = [json.loads(line) for line in answer.body.splitlines()]
    return found, last["export"]


def checksum(client, name: str, parameters: str = "") -> tuple[int, str]:
    found = client.get(f"collections/{name}/checksum{parameters}").json
    return found["points"], found["checksum"]


def lines(points) -> bytes:
    return b"".join(json.dumps(point).encode() + b"\n" for point in points)


POINTS = [
    {"id": "a", "vector": [1, 2, 3]},
    {"id": "ü/\u2028 😀", "namespace": "ñ", "vector": [0.1, -0.0, 1e-30], "content": "",
     "metadata": {"n": 1.50}},
    {"id": "c", "namespace": "x", "vector_b64": b64([3, 2, 1]), "content": "tab\t\u0000".replace("\0", ""),
     "metadata": {"z": None, "a": [1, {"b": "\U0001f600"}], "long": "é" * 100}},
]  # fmt: skip


def test_export_then_import_elsewhere(client, runner, collection):
    """Equal counts, checksums and answers; the import knows that it has read all of the export."""
    here, there = collection(3, auto_index=False), collection(3, auto_index=False)
    more = [{"id": f"{at:05}", "vector": [at, 1, math.sin(at)], "content": f"{at}"} for at in range(2500)]
    job = imported(client, runner, here, upload=upload(client, here, lines(POINTS + more), parts=7))
    assert job["state"] == "succeeded", job
    assert (job["result"]["rows"], job["result"]["errors"], job["result"]["verified"]) == (2503, 0, 0)
    assert job["progress"]["bytes"] == job["progress"]["bytes_total"]
    assert set(job["progress"]) == {
        *("rows", "rows_total", "rows_per_second", "bytes", "bytes_total", "errors", "problems", "phase"),
    }
    raw = client.get(f"collections/{here}/export").body
    points, manifest = exported(client, here)
    assert len(points) == manifest["points"] == 2503
    assert checksum(client, here) == (2503, manifest["checksum"])
    job = imported(client, runner, there, upload=upload(client, there, raw), on_error="fail")
    assert (job["state"], job["result"]["verified"]) == ("succeeded", 1), job
    assert checksum(client, there) == checksum(client, here)
    for namespace in ("", "ñ", "x"):
        query = {"vector": [1, 2, 3], "namespace": namespace, "include": ["content", "metadata", "vector"]}
        answers = [client.post(f"collections/{name}/query", query).json["matches"] for name in (here, there)]
        assert answers[0] == answers[1]
    # A second time changes nothing, and an upload that has been used is gone.
    assert not client.get(f"collections/{there}/uploads").json["items"]
    imported(client, runner, there, upload=upload(client, there, raw))
    assert checksum(client, there) == checksum(client, here)
    assert sum(checksum(client, here, f"?namespace={space}")[0] for space in ("", "%C3%B1", "x")) == 2503


def test_an_export_goes_on_where_it_broke(client, runner, collection):
    name, other = collection(3), collection(3)
    client.post(
        f"collections/{name}/points", {"points": [{"id": f"{n:04}", "vector": [n, 1, 1]} for n in range(50)]}
    )
    whole = client.get(f"collections/{name}/export").body
    kept = b"".join(whole.splitlines(keepends=True)[:20])
    last = json.loads(kept.splitlines()[-1])
    rest = client.get(
        f"collections/{name}/export?after_namespace={last['namespace']}&after_id={last['id']}"
    ).body
    assert json.loads(rest.splitlines()[-1])["export"] | {"checksum": ""} == {
        "points": 30,
        "checksum": "",
        "after": ["", "0019"],
    }
    job = imported(client, runner, other, upload=upload(client, other, kept + rest))
    assert job["state"] == "succeeded"
    assert checksum(client, other) == checksum(client, name)


def test_what_an_export_may_leave_out(client, collection):
    name = collection(3)
    client.post(
        f"collections/{name}/points",
        {"points": [{"id": str(n), "vector": [n, 1, 1], "metadata": {"n": n}} for n in range(9)]},
    )
    points, manifest = exported(client, name, '?vectors=list&filter={"n":{"$gte":7}}')
    assert [(point["id"], point["vector"]) for point in points] == [("7", [7, 1, 1]), ("8", [8, 1, 1])]
    assert manifest["points"] == 2
    points, manifest = exported(client, name, "?vectors=none&namespace=")
    assert len(points) == 9 and "vector" not in points[0] and manifest["checksum"] is None
    assert exported(client, name, "?namespace=x") == ([], {"points": 0, "checksum": "0" * 16})
    for wrong in (
        "vectors=x",
        "format=csv",
        "filter=[]",
        "filter={",
        'filter={"$x":1}',
        "after_namespace=a",
        "colour=1",
    ):
        assert client.get(f"collections/{name}/export?{wrong}").status == 422, wrong


def test_a_changed_export_is_noticed(client, runner, collection):
    name, other = collection(3), collection(3)
    client.post(
        f"collections/{name}/points", {"points": [{"id": str(n), "vector": [n, 1, 1]} for n in range(9)]}
    )
    raw = client.get(f"collections/{name}/export").body
    _, *rest = raw.splitlines(keepends=True)
    for changed, word in (
        (b"".join(rest), "9 points"),
        (raw.replace(b'"id":"3"', b'"id":"333"'), "checksum"),
    ):
        job = imported(client, runner, other, upload=upload(client, other, changed))
        assert job["state"] == "failed"
        assert word in job["error"]
        assert job["progress"]["problems"][0]["code"] == "checksum_mismatch"
    # Exports may be put together.
    job = imported(client, runner, other, upload=upload(client, other, raw + raw))
    assert (job["state"], job["result"]["verified"]) == ("succeeded", 2)


WRONG = [
    (b"{", "line"),
    (b'{"id": "w"}', "vector"),
    (b'{"id": "w", "vector": [1, 2]}', "vector"),
    (b'{"id": "w", "vector": [1, 2, NaN]}', "line"),
    (b'{"id": "w", "vector": [1, 2, 1e999]}', "line"),
    (b'{"id": "w", "vector": [0, 0, 0]}', "vector"),
    (b'{"id": "w", "vector_b64": "' + b64([1, 2, math.nan]).encode() + b'"}', "vector"),
    (b'{"id": "w", "vector_b64": "%%%"}', "vector_b64"),
    (b'{"id": "", "vector": [1, 2, 3]}', "id"),
    (b'{"id": "w\\u0000", "vector": [1, 2, 3]}', "id"),
    (b'{"id": "w", "vector": [1, 2, 3], "metadata": [1]}', "metadata"),
    (b'{"id": "w", "vector": [1, 2, 3], "metadata": {"a": "\\u0000"}}', "metadata"),
    (b'{"id": "w", "vector": [1, 2, 3], "namespace": "\\u0000"}', "namespace"),
    (b'{"id": "w", "vector": [1, 2, 3], "colour": 1}', "colour"),
    (b'{"id": "w", "vector": [1, 2, 3], "content": "\xff"}', "line"),
    (b'{"id": "w", "vector": [1, 2, 3], "metadata": {"n": 1e200000}}', "metadata"),
    (b'{"id": "w", "vector": [1, 2, 3], "metadata": {"a": "\\ud800"}}', "line"),
]


def test_wrong_lines_are_told_with_their_numbers(client, runner, collection):
    name = collection(3)
    good = b'{"id": "%d", "vector": [1, 2, 3]}\n'
    raw = b"".join(good % at + line + b"\n" for at, (line, _) in enumerate(WRONG))
    job = imported(client, runner, name, upload=upload(client, name, raw), on_error="skip")
    assert job["state"] == "succeeded", job
    told = job["result"]["problems"]
    assert [problem["line"] for problem in told] == list(range(2, 2 * len(WRONG) + 1, 2))
    assert job["result"]["errors"] == len(WRONG)
    for problem, (line, field) in zip(told, WRONG, strict=True):
        assert field == "line" or problem["field"].startswith(field), (line, problem)
        assert problem["message"], line
    assert client.post(f"collections/{name}/count").json["count"] == len(WRONG)
    # With on_error=fail nothing of the batch is written, and the upload stays for another try.
    other = collection(3)
    where = upload(client, other, raw)
    job = imported(client, runner, other, upload=where)
    assert job["state"] == "failed"
    assert job["error"].startswith("Line 2: ")
    assert client.post(f"collections/{other}/count").json["count"] == 0
    assert imported(client, runner, other, upload=where, on_error="skip")["state"] == "succeeded"


def test_many_wrong_lines_are_counted_and_some_told(client, runner, collection):
    name = collection(3)
    job = imported(client, runner, name, upload=upload(client, name, b"{}\n" * 2500), on_error="skip")
    assert (job["result"]["errors"], len(job["result"]["problems"])) == (2500, 100)


def test_of_equal_ids_the_last_wins_in_each_namespace(client, runner, collection):
    name = collection(3)
    points = [{"id": "a", "namespace": space, "vector": [at, 1, 1]} for at, space in enumerate("xyxzy")]
    points.insert(2, {"id": "a", "namespace": "y", "vector": [0, 0, 0]})
    job = imported(client, runner, name, upload=upload(client, name, lines(points)), on_error="skip")
    assert (job["result"]["rows"], job["result"]["errors"]) == (5, 1)
    stored = client.post(f"collections/{name}/scroll", {"include": ["vector"]}).json["points"]
    assert {point["namespace"]: point["vector"][0] for point in stored} == {"x": 2, "y": 4, "z": 3}


def test_uploads_go_on_where_they_broke(client, collection, settings):
    name = collection(3)
    where = client.post(f"collections/{name}/uploads", {"size_bytes": 10}).json["id"]

    def put(offset, raw):
        return client.call("PUT", f"uploads/{where}?offset={offset}", raw=raw, headers=RAW)

    assert put(0, b"01234").json["received_bytes"] == 5
    for wrong in (0, 4, 6):
        refused = put(wrong, b"x")
        assert (refused.status, refused.json["code"], refused.json["received_bytes"]) == (
            409,
            "wrong_offset",
            5,
        )
    incomplete = client.post(f"collections/{name}/import", {"upload": where})
    assert (incomplete.status, incomplete.json["code"]) == (409, "incomplete")
    assert put(5, b"567890").status == 413
    assert put(5, b"56789").json["complete"] is True
    for query in ("", "?offset=", "?offset=-1", "?offset=x", "?offset=0&x=1"):
        assert client.call("PUT", f"uploads/{where}{query}", raw=b"").status == 422
    assert [item["id"] for item in client.get(f"collections/{name}/uploads").json["items"]] == [where]
    other = collection(3)
    assert client.post(f"collections/{other}/import", {"upload": where}).status == 404
    assert client.delete(f"uploads/{where}").status == 204
    for method in ("GET", "PUT", "DELETE"):
        assert (
            client.call(method, f"uploads/{where}?offset=0" if method == "PUT" else f"uploads/{where}").status
            == 404
        )
    assert client.get("uploads/nonsense").status == 404


def test_a_body_that_breaks_off_is_kept_as_far_as_it_came(client, collection):
    from vectors.transfer import uploads

    name = collection(3)
    where = client.post(f"collections/{name}/uploads").json["id"]
    pieces = [b"a" * 700_000, b"b" * 700_000]

    def read(size):
        if not pieces:
            raise OSError("the client has gone")
        piece, rest = pieces[0][:size], pieces[0][size:]
        pieces[:1] = [rest] if rest else []
        return piece

    with pytest.raises(Exception, match="ended before its end"):
        uploads.upload_write(where, offset=0, read=read)
    assert client.get(f"uploads/{where}").json["received_bytes"] == 1_400_000


def test_uploads_are_bounded_and_expire(client, collection, settings, pool):
    from vectors.transfer import uploads

    name = collection(3)
    settings.VECTORS = settings.VECTORS | {"upload_bytes": 100, "uploads_bytes": 10**9}
    assert client.post(f"collections/{name}/uploads", {"size_bytes": 101}).status == 422
    where = upload(client, name, b"x" * 100)
    refused = client.call("PUT", f"uploads/{where}?offset=100", raw=b"x", headers=RAW)
    assert refused.status == 413
    settings.VECTORS = settings.VECTORS | {"uploads_bytes": 10}
    second = client.post(f"collections/{name}/uploads").json["id"]
    refused = client.call("PUT", f"uploads/{second}?offset=0", raw=b"x" * 11, headers=RAW)
    assert (refused.status, refused.json["code"]) == (413, "uploads_full")
    with pool.connection() as connection:
        connection.db.execute("UPDATE vectors_upload SET updated_at = now() - interval '25 hours'")
        busy = upload(client, name, b"")
        uploads.uploads_expire(connection.db)
        left = connection.db.execute("SELECT count(*) FROM vectors_upload_part").fetchone()[0]
    assert left == 0
    assert [item["id"] for item in client.get(f"collections/{name}/uploads").json["items"]] == [busy]


def test_a_place_for_all_that_takes_its_time(client, collection):
    """Uploads, exports and loads take the same few places, and give them back."""
    name = collection(3)
    where = client.post(f"collections/{name}/uploads").json["id"]
    places, taken = streams.place(), 0

    def asked() -> list[int]:
        sent = client.call("PUT", f"uploads/{where}?offset=0", raw=b"", headers=RAW)
        return [sent.status, client.get(f"collections/{name}/export").status]

    while places.acquire(blocking=False):
        taken += 1
    assert asked() == [429, 429]
    for _ in range(taken):
        places.release()
    for _ in range(taken + 1):
        assert asked() == [200, 200]


def test_an_upload_in_use_is_left_alone(client, runner, collection):
    name = collection(3)
    where = upload(client, name, lines(POINTS))
    job = client.post(f"collections/{name}/import", {"upload": where}).json
    for answer in (
        client.delete(f"uploads/{where}"),
        client.call(
            "PUT",
            f"uploads/{where}?offset={client.get(f'uploads/{where}').json['received_bytes']}",
            raw=b"x",
            headers=RAW,
        ),
        client.post(f"collections/{name}/import", {"upload": where}),
    ):
        assert (answer.status, answer.json["code"]) == (409, "in_use")
    # Imports of other uploads may wait beside it.
    second = client.post(f"collections/{name}/import", {"upload": upload(client, name, b"")})
    assert second.status == 202
    assert client.post(f"jobs/{job['id']}/cancel").json["state"] == "cancelled"
    runner()
    assert client.post(f"collections/{name}/count").json["count"] == 0
    assert client.delete(f"uploads/{where}").status == 204


def test_paths_are_only_those_allowed(client, runner, collection, settings, tmp_path):
    name = collection(3)
    allowed, outside = tmp_path / "allowed", tmp_path / "outside"
    for folder in (allowed, outside):
        folder.mkdir()
        (folder / "points.ndjson").write_bytes(lines(POINTS))
    (allowed / "link").symlink_to(outside)
    (allowed / "link.ndjson").symlink_to(outside / "points.ndjson")

    def start(path):
        return client.post(f"collections/{name}/import", {"path": str(path)})

    assert start(allowed / "points.ndjson").json["code"] == "place_not_allowed"
    settings.VECTORS = settings.VECTORS | {"transfer_paths": [str(allowed)]}
    for wrong in (
        outside / "points.ndjson",
        allowed / "link" / "points.ndjson",
        allowed / "link.ndjson",
        f"{allowed}/../outside/points.ndjson",
        allowed,
        f"{allowed}x/points.ndjson",
    ):
        refused = start(wrong)
        assert (refused.status, refused.json["code"]) == (403, "place_not_allowed"), wrong
    assert start("points.ndjson").status == 422
    assert imported(client, runner, name, path=str(allowed / "points.ndjson"))["result"]["rows"] == 3
    assert "cannot be read" in imported(client, runner, name, path=str(allowed / "none"))["error"]
    # What was allowed when it was asked for is looked at again when it is read.
    job = start(allowed / "points.ndjson").json
    (allowed / "points.ndjson").unlink()
    (allowed / "points.ndjson").symlink_to(outside / "points.ndjson")
    runner()
    assert client.get(f"jobs/{job['id']}").json["state"] == "failed"


def test_what_is_wrong_with_the_call(client, collection):
    name = collection(3)
    for body in (
        {},
        {"upload": "x", "url": "y"},
        {"upload": "x", "format": "csv"},
        {"path": "/x", "on_error": "y"},
    ):
        assert client.post(f"collections/{name}/import", body).status == 422, body
    assert client.post(f"collections/{name}/import", {"upload": "upl_x"}).status == 404
    for method, path in (("POST", "import"), ("POST", "uploads"), ("GET", "export"), ("GET", "checksum")):
        body = {"upload": "upl_" + "0" * 26} if path == "import" else {}
        assert client.call(method, f"collections/none/{path}", body).status == 404


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    points=st.lists(
        st.fixed_dictionaries(
            {
                "id": st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8),
                "vector": st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=2),
            },
            optional={
                "namespace": st.sampled_from(["", "n", "é"]),
                "content": st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=9),
                "metadata": st.dictionaries(
                    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=3),
                    st.one_of(
                        st.none(),
                        st.booleans(),
                        st.integers(-(2**60), 2**60),
                        st.floats(allow_nan=False, allow_infinity=False),
                    ),
                    max_size=3,
                ),
            },
        ),
        max_size=8,
    ),
    how=st.sampled_from(["b64", "list"]),
)
def test_whatever_is_stored_goes_round(client, runner, points, how):
    """The database and the export agree on the checksum, and an import restores it, whatever the values."""
    names = [f"t-{uuid.uuid4().hex[:10]}" for _ in range(2)]
    try:
        for name in names:
            client.post("collections", {"name": name, "dimension": 2, "metric": "l2", "auto_index": False})
        raw = "".join(json.dumps(point) + "\n" for point in points).encode()
        assert (
            imported(client, runner, names[0], upload=upload(client, names[0], raw))["state"] == "succeeded"
        )
        whole = client.get(f"collections/{names[0]}/export?vectors={how}").body
        job = imported(client, runner, names[1], upload=upload(client, names[1], whole))
        assert job["result"]["verified"] == 1, job
        assert checksum(client, names[0]) == checksum(client, names[1])
    finally:
        for name in names:
            client.delete(f"collections/{name}")
