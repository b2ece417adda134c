"""Parquet in and out: types of columns, wrong rows, resumption, and files that exports write."""

import datetime
import decimal
import json
import math
import struct
import subprocess
import sys

import numpy
import pyarrow
import pyarrow.parquet
import pytest

from tests.vectors.conftest import ROOT, api_environment
from tests.vectors.test_transfer import POINTS, checksum, exported, imported, lines, upload


@pytest.fixture
def folder(settings, tmp_path):
    """A folder that imports may read and exports write."""
    settings.VECTORS = settings.VECTORS | {"transfer_paths": [str(tmp_path)]}
    return tmp_path


def written(folder, name="points.parquet", **columns) -> str:
    """The path of a file with these columns."""
    path = folder / name
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=10)
    return str(path)


def floats(rows, dimension=3, kind=None):
    return pyarrow.array(rows, pyarrow.list_(kind or pyarrow.float32(), dimension))


def stored(client, name) -> dict:
    body = {"include": ["vector", "content", "metadata"], "limit": 1000}
    points = client.post(f"collections/{name}/scroll", body).json["points"]
    return {(point.pop("namespace"), point.pop("id")): point for point in points}


def exported_to(client, runner, name: str, **body) -> dict:
    """The job of an export that a runner has done."""
    started = client.post(f"collections/{name}/export", body)
    assert started.status == 202, started
    runner()
    return client.get(f"jobs/{started.json['id']}").json


def test_an_export_goes_round(client, runner, collection, folder):
    """Written as Parquet and as lines, both read back: equal counts, checksums and points."""
    name = collection(3)
    more = [{"id": f"{at:05}", "vector": [at, 1, math.sin(at)], "content": f"{at}"} for at in range(2500)]
    imported(client, runner, name, upload=upload(client, name, lines(POINTS + more)))
    for format in ("parquet", "ndjson"):
        path = folder / f"points.{format}"
        job = exported_to(client, runner, name, path=str(path), format=format)
        assert job["state"] == "succeeded", job
        assert (job["result"]["points"], job["result"]["checksum"]) == checksum(client, name)
        assert job["result"]["bytes"] == path.stat().st_size
        assert [item.name for item in folder.iterdir() if item.name.startswith(".")] == []
        other = collection(3)
        job = imported(client, runner, other, path=str(path), format=format)
        assert (job["result"]["rows"], job["result"]["verified"]) == (2503, 1), job
        assert checksum(client, other) == checksum(client, name)
        assert stored(client, other) == stored(client, name)
    assert (folder / "points.ndjson").read_bytes() == client.get(f"collections/{name}/export").body
    file = pyarrow.parquet.ParquetFile(folder / "points.parquet")
    assert file.schema_arrow.field("vector").type == pyarrow.list_(pyarrow.float32(), 3)
    assert file.metadata.num_rows == 2503


def test_an_export_of_a_part(client, runner, collection, folder):
    name = collection(3)
    imported(client, runner, name, upload=upload(client, name, lines(POINTS)))
    for format in ("parquet", "ndjson"):
        path = str(folder / format)
        job = exported_to(client, runner, name, path=path, format=format, filter={"n": 1.5}, namespace="ñ")
        assert job["result"]["points"] == 1
    empty = collection(3)
    job = exported_to(client, runner, empty, path=str(folder / "empty"), format="parquet")
    assert job["result"]["checksum"] == "0" * 16
    job = imported(client, runner, empty, path=str(folder / "empty"), format="parquet")
    assert (job["result"]["rows"], job["result"]["verified"]) == (0, 1)


def test_types_of_columns(client, runner, collection, folder):
    name = collection(3)
    vectors = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    kinds = [
        pyarrow.array(vectors, pyarrow.list_(pyarrow.float64())),
        pyarrow.array(vectors, pyarrow.large_list(pyarrow.float32())),
        floats(vectors, kind=pyarrow.float16()),
        pyarrow.array([[1, 2, 3], [4, 5, 6]], pyarrow.list_(pyarrow.int32())),
    ]
    for at, column in enumerate(kinds):
        path = written(
            folder,
            key=pyarrow.array([7, 8], pyarrow.int64()),
            space=pyarrow.array([f"s{at}", f"s{at}"]).dictionary_encode(),
            embedding=column,
            text=pyarrow.array(["ü", None], pyarrow.large_string()),
            info=pyarrow.array([{"a": 1, "b": None}, None]),
            when=pyarrow.array([datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC), None]),
            price=pyarrow.array([decimal.Decimal("1.50"), None]),
        )
        names = {
            "id": "key",
            "namespace": "space",
            "vector": "embedding",
            "content": "text",
            "metadata": "info",
        }
        job = imported(
            client, runner, name, path=path, format="parquet", columns=names, other_columns="metadata"
        )
        assert job["state"] == "succeeded", job
        found = stored(client, name)
        assert found[f"s{at}", "7"] == {
            "vector": vectors[0],
            "content": "ü",
            "metadata": {"a": 1, "when": "2026-01-31T00:00:00+00:00", "price": 1.5},
        }
        assert found[f"s{at}", "8"] == {"vector": vectors[1], "content": None, "metadata": {}}


def test_metadata_as_text_or_map(client, runner, collection, folder):
    name = collection(3)
    texts = pyarrow.array(['{"a": [1, {"b": "é"}]}', None])
    maps = pyarrow.array([[("a", "1")], None], pyarrow.map_(pyarrow.string(), pyarrow.string()))
    for column, expected in ((texts, {"a": [1, {"b": "é"}]}), (maps, {"a": "1"})):
        path = written(folder, id=["x", "y"], vector=floats([[1, 2, 3]] * 2), metadata=column)
        assert imported(client, runner, name, path=path, format="parquet")["state"] == "succeeded"
        assert [point["metadata"] for point in stored(client, name).values()] == [expected, {}]


def test_wrong_rows_are_told_with_their_numbers(client, runner, collection, folder):
    name = collection(3)
    good = [1.0, 2.0, 3.0]
    rows = [
        good,
        good,
        None,
        [1.0, None, 3.0],
        [1.0, 2.0],
        [math.nan] * 3,
        [1e300, 0, 0],
        [0, 0, 0],
        good,
        good,
    ]
    path = written(
        folder,
        id=["a", "", "c", "d", "e", "f", "g", "h", "i", None],
        vector=pyarrow.array(rows, pyarrow.list_(pyarrow.float64())),
        metadata=["{}", None, None, None, None, None, None, None, "[1]", None],
    )
    job = imported(client, runner, name, path=path, format="parquet", on_error="skip")
    told = [(problem["line"], problem["field"]) for problem in job["result"]["problems"]]
    wrong = [(2, "id"), *((line, "vector") for line in range(3, 9)), (9, "metadata"), (10, "id")]
    assert told == wrong
    assert list(stored(client, name)) == [("", "a")]
    assert imported(client, runner, name, path=path, format="parquet")["error"].startswith("Line 2: id: ")


def test_files_that_cannot_be_read(client, runner, collection, folder):
    name = collection(3)
    (folder / "no").write_bytes(b"PAR1 no PAR1")
    good = written(folder, id=["a"], vector=floats([[1, 2, 3]]))
    cut = folder / "cut"
    cut.write_bytes((folder / "points.parquet").read_bytes()[:-20])
    for path, more, word in [
        (str(folder / "no"), {}, "no Parquet file"),
        (str(cut), {}, "no Parquet file"),
        (good, {"columns": {"id": "key"}}, "no column 'key'"),
        (good, {"columns": {"vector": "id"}}, "of type string"),
        (written(folder, "v", key=["a"], vector=floats([[1, 2, 3]])), {}, "no column 'id'"),
        (written(folder, "w", id=[b"\xff"], vector=floats([[1, 2, 3]])), {}, "no text"),
    ]:
        job = imported(client, runner, name, path=path, format="parquet", **more)
        assert job["state"] == "failed"
        assert word in job["error"]


def test_it_goes_on_in_the_middle_of_a_row_group(client, runner, collection, folder, monkeypatch, pool):
    """From every place that a chunk can end at, the rest gives the whole."""
    monkeypatch.setattr("vectors.transfer.parquet.CHUNK_ROWS", 4)
    name = collection(3)
    vectors = numpy.arange(75, dtype="f4").reshape(25, 3).tolist()
    path = written(folder, id=[f"{at:02}" for at in range(25)], vector=floats(vectors))
    from vectors import collections
    from vectors.transfer import parquet, sources

    def read(at):
        with sources.open_source({"path": path}, None) as source:
            reader = parquet.Reader(
                source, {"namespace": "", "columns": {}}, collections.collection_get(name)
            )
            return [(chunk.at, [row.id for row in chunk.rows]) for chunk in reader.chunks(at)]

    whole = read({})
    ids = [point_id for _, found in whole for point_id in found]
    assert ids == [f"{at:02}" for at in range(25)]
    assert max(len(found) for _, found in whole) == 4
    for at, _ in whole:
        assert [i for _, found in read(at) for i in found] == ids[at["line"] :]


def test_a_stream_of_parquet(vectors_url, client, runner, collection, tmp_path):
    """What `export?format=parquet` is made of, as a process."""
    name = collection(3)
    imported(client, runner, name, upload=upload(client, name, lines(POINTS)))
    command = [sys.executable, "manage.py", "vectors_export"]
    environment = api_environment(vectors_url)
    done = subprocess.run([*command, name], cwd=ROOT, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    (tmp_path / "x.parquet").write_bytes(done.stdout)
    table = pyarrow.parquet.read_table(tmp_path / "x.parquet")
    by_id = {row["id"]: row for row in table.to_pylist()}
    assert by_id["c"]["vector"] == [3, 2, 1]
    assert by_id["c"]["namespace"] == "x"
    assert json.loads(by_id["c"]["metadata"])["a"] == [1, {"b": "\U0001f600"}]
    assert struct.pack("<f", by_id[POINTS[1]["id"]]["vector"][1]) == struct.pack("<f", -0.0)
    points, manifest = exported(client, name)
    kept = json.loads(pyarrow.parquet.read_metadata(tmp_path / "x.parquet").metadata[b"aindusdb.export"])
    assert kept == manifest
    assert len(points) == table.num_rows
    lost = subprocess.run([*command, "none"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert lost.returncode == 1
    assert "no collection" in lost.stderr


def test_where_an_export_may_write(client, runner, collection, folder):
    name = collection(3)
    for body in (
        {},
        {"url": "x", "path": "y"},
        {"path": "/x", "format": "csv"},
        {"path": "/x", "filter": {"$x": 1}},
    ):
        assert client.post(f"collections/{name}/export", body).status == 422, body
    assert client.post(f"collections/{name}/export", {"path": "/etc/x"}).json["code"] == "place_not_allowed"
    assert "cannot be written" in exported_to(client, runner, name, path=str(folder / "none" / "x"))["error"]
    for query in ("format=parquet&vectors=list", "format=parquet&after_id=x"):
        assert client.get(f"collections/{name}/export?{query}").status == 422
