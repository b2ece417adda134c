"""The client's uploads, imports, exports and checksums: with real servers, and with one that breaks off."""

import base64
import io
import json

import numpy as np
import pytest

from aindusdb_client import (
    Client,
    ConflictError,
    Exported,
    JobFailedError,
    NoAnswerError,
    NotFoundError,
    PermissionDeniedError,
    Point,
    RateLimitedError,
)
from tests.clients.failing import INFO, Failing, ok, problem
from tests.clients.test_retries import Noted

ROWS = np.random.default_rng(5).normal(size=(1200, 4)).astype(np.float32)


@pytest.fixture
def filled(docs):
    docs.upsert(
        Point(f"{at:04}", row, f"tåxt {at}" if at % 3 else None, {"n": at}, "" if at % 2 else "odd")
        for at, row in enumerate(ROWS)
    )
    return docs


def test_export_and_import_elsewhere(client, filled, tmp_path):
    told = []
    done = filled.export_to(tmp_path / "all.ndjson", progress=told.append, total=1200)
    about = filled.checksum()
    assert done == Exported(1200, about.checksum) and about.points == 1200
    assert told[-1].ended and told[-1].rows == 1200 and told[-1].share == 1.0
    other = client.collection_create(f"{filled.name}-2", 4, metric="l2", auto_index=False)
    try:
        job = other.import_file(tmp_path / "all.ndjson", part_bytes=30_000, progress=told.append)
        assert job.kind == "points.import"
        assert told[-1].bytes == told[-1].bytes_total == (tmp_path / "all.ndjson").stat().st_size
        result = client.job_wait(job, timeout=60).result
        assert result["verified"] == 1
        assert other.checksum().checksum == about.checksum
        assert [match.id for match in other.query(ROWS[5])] == [match.id for match in filled.query(ROWS[5])]
    finally:
        other.drop()


def test_exports_as_points(filled):
    found = list(filled.export(namespace="odd", filter={"n": {"$lt": 20}}))
    assert [point.id for point in found] == [f"{at:04}" for at in range(0, 20, 2)]
    assert found[3].vector == ROWS[6].tolist() and found[3].metadata == {"n": 6}
    assert (found[1].content, found[3].content, found[3].namespace) == ("tåxt 2", None, "odd")
    assert next(filled.export(vectors="none")).vector is None
    assert np.float32(next(filled.export(vectors="list")).vector).tolist() == ROWS[1].tolist()
    rest = list(filled.export(after=("odd", "1190")))
    assert [point.id for point in rest] == ["1192", "1194", "1196", "1198"]
    buffer = io.BytesIO()
    assert filled.export_to(buffer, after=("odd", "1190")).points == 4
    assert len(buffer.getvalue().splitlines()) == 4


def test_vectors_of_bits(client, name):
    """Given and exported as packed bytes, fetched as lists."""
    docs = client.collection_create(name, 12, metric="hamming", auto_index=False)
    rows = np.random.default_rng(1).integers(0, 2, (20, 12))
    packed = [np.packbits(row).tobytes() for row in rows]
    docs.upsert((f"{at:02}", vector) for at, vector in enumerate(packed))
    assert docs.fetch(["03"]).points[0].vector == rows[3].tolist()
    assert docs.query(packed[5], top_k=1).matches[0].score == 0
    assert [point.vector for point in docs.export()] == packed
    assert next(docs.export(vectors="list")).vector == rows[0].tolist()


def test_places_of_the_server_s_own(filled):
    """What the server may not read or write it refuses, and says so."""
    with pytest.raises(PermissionDeniedError) as refused:
        filled.export_start(path="/nowhere/x.ndjson")
    assert refused.value.code == "place_not_allowed"
    with pytest.raises(PermissionDeniedError):
        filled.import_start(path="/nowhere/x.ndjson")


def test_parquet(client, filled, tmp_path):
    filled.export_to(tmp_path / "all.parquet", format="parquet")
    other = client.collection_create(f"{filled.name}-2", 4, metric="l2", auto_index=False)
    try:
        client.job_wait(other.import_file(tmp_path / "all.parquet"), timeout=60)
        assert other.checksum().checksum == filled.checksum().checksum
    finally:
        other.drop()


def test_uploads_one_by_one(client, docs):
    lines = b"".join(
        json.dumps({"id": str(at), "vector": [at, 0, 0, 0]}).encode() + b"\n" for at in range(50)
    )
    begun = docs.upload_create(size_bytes=len(lines))
    assert docs.upload_write(begun.id, lines[:100], offset=0).received_bytes == 100
    with pytest.raises(ConflictError) as refused:
        docs.upload_write(begun.id, lines[:100], offset=50)
    assert refused.value.code == "wrong_offset" and refused.value.body["received_bytes"] == 100
    # Gone on with from a source that is read from its beginning.
    done = docs.upload(io.BytesIO(lines), resume=begun.id, part_bytes=333)
    assert done.complete and done.received_bytes == len(lines)
    assert begun.id in [one.id for one in docs.uploads()]
    with pytest.raises(ValueError, match="only 10"):
        docs.upload(b"x" * 10, resume=done)
    client.job_wait(docs.import_start(upload=done, namespace="n"), timeout=60)
    assert docs.count(namespace="n").count == 50
    other = docs.upload(b"wrong\n")
    with pytest.raises(JobFailedError) as failed:
        client.job_wait(docs.import_start(upload=other.id, on_error="fail"), timeout=60)
    assert failed.value.job.state == "failed"
    docs.upload_delete(docs.upload(b"").id)
    with pytest.raises(NotFoundError):
        docs.upload_get("upl_nothing")


@pytest.fixture
def failing():
    made = Failing()
    yield made
    made.close()


@pytest.fixture
def away(failing):
    with Client(failing.url, retry=Noted()) as made:
        yield made.collection("docs")


def upload(received: int):
    return ok(
        {
            "id": "upl_1",
            "collection": "docs",
            "size_bytes": 20,
            "received_bytes": received,
            "complete": received == 20,
            "created_at": "2026-01-31T12:00:00Z",
            "updated_at": "2026-01-31T12:00:00Z",
            "expires_at": "2026-01-31T12:00:00Z",
        }
    )


def test_a_part_that_is_lost_goes_on_where_the_server_stopped(failing, away):
    failing.script = [
        upload(0),
        "reset",
        problem(409, "wrong_offset", received_bytes=3),
        upload(8),
        problem(503, "timeout"),
        problem(409, "wrong_offset", received_bytes=16),
        problem(429),
        upload(20),
        upload(20),
    ]
    assert away.upload(b"0123456789abcdefghij", part_bytes=8).complete
    sent = [(path.partition("=")[2], body) for method, path, body in failing.asked if method == "PUT"]
    assert sent == [
        ("0", b"01234567"),
        ("0", b"01234567"),
        ("3", b"34567"),
        ("8", b"89abcdef"),
        ("8", b"89abcdef"),
        ("16", b"ghij"),
        ("16", b"ghij"),
    ]


def test_an_upload_that_somebody_else_writes_is_told(failing, away):
    failing.script = [upload(0), problem(409, "wrong_offset", received_bytes=15)]
    with pytest.raises(ConflictError):
        away.upload(b"0123456789abcdefghij", part_bytes=8)


def line(at: int) -> bytes:
    vector = base64.b64encode(np.float32([at, 1]).tobytes()).decode()
    return json.dumps({"id": str(at), "namespace": "å", "vector_b64": vector}).encode() + b"\n"


def summary(**values) -> bytes:
    return b'{"export":' + json.dumps(values).encode() + b"}\n"


def test_an_export_that_breaks_off_is_gone_on_with(failing, away):
    broken = {"status": 503, "code": "timeout", "detail": "Slow."}
    script = [
        problem(429),
        (200, line(1) + line(2), {}),
        (200, line(3) + summary(points=1, checksum=None, error=broken), {}),
        "reset",
        (200, line(4) + summary(points=1, checksum="0" * 16, after=["å", "3"]), {}),
    ]
    failing.script = [ok(INFO), *script]
    assert [point.id for point in away.export()] == ["1", "2", "3", "4"]
    after = [path.partition("after_id=")[2] for _, path, _ in failing.asked]
    assert after == ["", "", "", "2", "3", "3"]
    assert "after_namespace=%C3%A5" in failing.asked[3][1]
    failing.script, buffer = list(script), io.BytesIO()
    assert away.export_to(buffer) == Exported(4, None)
    assert buffer.getvalue() == b"".join(map(line, range(1, 5)))
    failing.script = [(200, line(1) + summary(points=1, checksum="a" * 16), {})]
    whole = io.BytesIO()
    assert away.export_to(whole) == Exported(1, "a" * 16)
    assert whole.getvalue() == line(1) + b'{"export":{"points":1,"checksum":"' + b"a" * 16 + b'"}}\n'


def test_an_export_that_gets_nowhere_ends(failing, away):
    failing.script = ["cut"] * 9
    with pytest.raises(NoAnswerError):
        list(away.export(vectors="none"))
    assert len(failing.asked) == 5
    failing.script = [problem(429)] * 9
    with pytest.raises(RateLimitedError):
        away.export_to(io.BytesIO(), format="parquet")
    failing.script = [problem(429), (200, b"PAR1", {})]
    file = io.BytesIO()
    assert away.export_to(file, format="parquet").checksum is None
    assert file.getvalue() == b"PAR1"
