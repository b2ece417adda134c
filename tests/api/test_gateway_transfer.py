"""Imports and exports through the gateway, to a replica that is a real process."""

import asyncio
import json
import time

import pytest
import pytest_asyncio

from tests.api.conftest import JWT_SECRET, make_replica
from tests.api.test_gateway import call, gateway, in_thread, target  # noqa: F401
from tests.vectors.conftest import token, vectors_url  # noqa: F401
from tests.vectors.test_process import Server
from tests.vectors.test_transfer import lines

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.asyncio]
COUNT = 3000


@pytest_asyncio.fixture
async def replica(target, vectors_url, tmp_path):  # noqa: F811
    """A replica of the target."""
    server = Server(vectors_url, tmp_path, JWT_SECRET_KEY=JWT_SECRET)
    server.headers["Authorization"] = f"Bearer {token(key=JWT_SECRET)}"
    await asyncio.to_thread(server.ready)
    await in_thread(make_replica)(target, server.port)
    yield server
    server.stop()


async def test_a_file_there_and_back(call, replica, monkeypatch):  # noqa: F811
    """Uploads and exports larger than what the gateway keeps go through it part by part."""
    monkeypatch.setattr("deployments.gateway.asgi.BUFFERED_BYTES", 100_000)
    names = [f"gated-{replica.port}-{at}" for at in range(2)]
    prefix = "alpha/vectors"

    async def asked(method, path, body=None, status=200):
        raw = b"" if body is None else json.dumps(body).encode()
        answer = await call(method, f"{prefix}/{path}", raw, headers=[(b"content-type", b"application/json")])
        assert answer.status_code == status, answer.content
        return answer.json() if answer.content else None

    async def sent(name, raw):
        upload = await asked("POST", f"collections/{name}/uploads", {"size_bytes": len(raw)}, 201)
        path = f"{prefix}/uploads/{upload['id']}"
        octets = [(b"content-type", b"application/octet-stream")]
        half = len(raw) // 2
        for offset, part in ((0, raw[:half]), (half, raw[half:])):
            query = f"offset={offset}".encode()
            answer = await call("PUT", path, part, query=query, part_bytes=64_000, headers=octets)
            assert answer.status_code == 200, answer.content
        job = await asked("POST", f"collections/{name}/import", {"upload": upload["id"]}, 202)
        deadline = time.monotonic() + 30
        while not job["finished_at"]:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
            job = await asked("GET", f"jobs/{job['id']}")
        assert job["state"] == "succeeded", job
        return job

    try:
        for name in names:
            await asked("POST", "collections", {"name": name, "dimension": 3, "auto_index": False}, 201)
        points = [{"id": f"{at:05}", "vector": [at, 1, 2], "content": "x" * 300} for at in range(COUNT)]
        assert (await sent(names[0], lines(points)))["result"]["rows"] == COUNT
        whole = await call("GET", f"{prefix}/collections/{names[0]}/export")
        assert whole.status_code == 200
        assert json.loads(whole.content.splitlines()[-1])["export"]["points"] == COUNT
        assert (await sent(names[1], whole.content))["result"]["verified"] == 1
        sums = [await asked("GET", f"collections/{name}/checksum") for name in names]
        assert sums[0]["checksum"] == sums[1]["checksum"]
        parquet = await call("GET", f"{prefix}/collections/{names[0]}/export", query=b"format=parquet")
        assert parquet.content[:4] == parquet.content[-4:] == b"PAR1"
    finally:
        for name in names:
            await asked("DELETE", f"collections/{name}", status=204)
