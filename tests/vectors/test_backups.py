"""`vectors_backup`: a dump is read back and proven, and whatever is not as it was is told."""

import contextlib
import json
import random
import subprocess
import sys
import uuid
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.vectors.conftest import ROOT, api_environment, server_url

POINTS = 1500


def command(url: str, *arguments: str, **environment: str) -> dict:
    """The last line that the command told."""
    done = subprocess.run(
        [sys.executable, "manage.py", "vectors_backup", *arguments],
        cwd=ROOT,
        env=api_environment(url) | environment,
        capture_output=True,
        text=True,
    )
    assert done.stdout, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode == 0) == (told["state"] == "succeeded"), done.stderr
    return told


@contextlib.contextmanager
def scratch():
    """An empty database with the extension alone."""
    name = f"vectors_scratch_{uuid.uuid4().hex[:12]}"
    server = make_conninfo(server_url(), dbname="postgres")
    with psycopg.connect(server, autocommit=True) as db:
        db.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    url = make_conninfo(server_url(), dbname=name)
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("CREATE EXTENSION vector")
    try:
        yield url
    finally:
        with psycopg.connect(server, autocommit=True) as db:
            db.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def filled(client, collection, runner):
    """A collection with an index and points behind it, and one of bits in namespaces."""
    generator = random.Random(7)
    docs = collection(8, "l2", auto_index=False, fields=[{"name": "n", "type": "number"}])

    def upsert(first, last):
        points = [
            {"id": str(n), "vector": [generator.gauss(0, 1) for _ in range(8)], "metadata": {"n": n}}
            for n in range(first, last)
        ]
        assert client.post(f"collections/{docs}/points", {"points": points}).status == 200

    upsert(0, POINTS - 100)
    client.post(f"collections/{docs}/index")
    runner()
    upsert(POINTS - 100, POINTS)
    flags = collection(16, "hamming", auto_index=False)
    bits = [{"id": f"é{n}", "vector": [n >> k & 1 for k in range(16)]} for n in range(50)]
    assert client.post(f"collections/{flags}/points", {"namespace": "a", "points": bits}).status == 200
    return docs, flags


def test_a_backup_is_read_back_and_what_differs_is_told(filled, vectors_url, tmp_path):
    docs, flags = filled
    place = str(tmp_path / "deep" / "one.dump")
    told = command(vectors_url, "dump", "--at", place)
    assert told["state"] == "succeeded", told
    made = told["result"]
    assert Path(place).stat().st_size == made["size_bytes"] > 1000
    assert sorted(path.name for path in Path(place).parent.iterdir()) == ["one.dump", "one.dump.json"]
    known = {one["name"]: one for one in made["collections"]}
    assert (known[docs]["points"], known[flags]["points"]) == (POINTS, 50)
    assert known[docs]["recall"] > 0.9 and known[flags]["recall"] is None

    with scratch() as url:
        told = command(url, "restore", "--at", place)
        assert told["state"] == "succeeded", told
        told = command(url, "prove", "--at", place)
        assert told["state"] == "succeeded", told
        proof = told["result"]
        assert proof["points"] == sum(one["points"] for one in made["collections"])
        assert proof["recall"] > 0.85 and proof["queries"] >= 40
        # Each kind of difference is found, one at a time.
        table = "vectors_data.p_" + _hex(url, docs)
        for change, reason in (
            (f"UPDATE {table} SET metadata = '{{\"n\": -1}}' WHERE id = '3'", "checksum of its points"),
            (f"DELETE FROM {table} WHERE id = '5'", f"holds {POINTS - 1} points instead of {POINTS}"),
            (
                "INSERT INTO vectors_alias (name, created_at, updated_at, collection_id)"
                " SELECT 'x', now(), now(), id FROM vectors_collection LIMIT 1",
                "alias",
            ),
            (f"UPDATE vectors_collection SET name = 'other' WHERE name = '{docs}'", f"{docs} is missing"),
        ):
            with psycopg.connect(url, autocommit=True) as db:
                db.execute(change)
            told = command(url, "prove", "--at", place)
            assert told["state"] == "failed" and reason in told["error"], (told, reason)

    damaged = bytearray(Path(place).read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    Path(place).write_bytes(damaged)
    with scratch() as url:
        told = command(url, "restore", "--at", place)
    assert told["state"] == "failed" and "damaged" in told["error"], told
    assert command(vectors_url, "delete", "--at", place)["state"] == "succeeded"
    assert command(vectors_url, "delete", "--at", place)["state"] == "succeeded", "absence is fine"
    assert list(Path(place).parent.iterdir()) == []
    told = command(vectors_url, "restore", "--at", place)
    assert told["state"] == "failed" and "cannot be read" in told["error"]


def test_a_database_that_is_not_there_is_told(vectors_url, tmp_path):
    url = make_conninfo(vectors_url, dbname="nowhere")
    told = command(url, "dump", "--at", str(tmp_path / "one.dump"))
    assert told["state"] == "failed" and '"nowhere" does not exist' in told["error"]
    assert list(tmp_path.iterdir()) == []


def _hex(url: str, name: str) -> str:
    with psycopg.connect(url) as db:
        return db.execute("SELECT id FROM vectors_collection WHERE name = %s", [name]).fetchone()[0].hex
