"""A vector API that runs, as the only replica of a target of the pages' project."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from django.utils import timezone

from deployments.target_api import TargetApi
from tests.pages.conftest import make_target
from tests.vectors.conftest import JWT_KEY, ROOT, api_environment, vectors_url

__all__ = ["api", "data_target", "docs", "replica_port", "vectors_url"]

START_SECONDS = 60


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def replica_port(vectors_url, tmp_path_factory):
    """The port of a process in role `api`, with its runner."""
    port = free_port()
    folder = tmp_path_factory.mktemp("api")
    environment = api_environment(
        vectors_url, AINDUS_UPLOAD_DIR=str(folder), AINDUS_AUTO_INDEX_PAUSE_SECONDS="3600"
    )
    log = (folder / "log").open("w")
    process = subprocess.Popen(
        [sys.executable, "manage.py", "api", "--port", str(port), "--workers", "1", "--threads", "3"],
        cwd=ROOT,
        env=environment,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=2):
                break
        except OSError:
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, "the vector API did not become ready"
            time.sleep(0.05)
    yield port
    process.terminate()
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    log.close()


@pytest.fixture
def data_target(project, replica_port):
    """A target `plane` whose only ready replica is that process."""
    target = make_target(project, "plane", port=9700, secrets={"jwt_secret": JWT_KEY})
    target.replicas.update(status="stopped", stopped_at=timezone.now())
    first = target.replicas.order_by("pk").first()
    target.replicas.filter(pk=first.pk).update(status="ready", port=replica_port, stopped_at=None)
    return target


@pytest.fixture
def api(data_target):
    return TargetApi(data_target, subject="user:test")


@pytest.fixture
def docs(api):
    """A collection `docs` of 40 points of two dimensions, the last ten in namespace `b`."""
    api.collection_create({"name": "docs", "dimension": 2, "metric": "cosine", "auto_index": False})
    points = [
        {
            "id": f"p{number:02}",
            "vector": [1, number],
            "content": f"text number {number}",
            "metadata": {"section": "net" if number % 2 else "admin", "year": 2000 + number},
        }
        for number in range(40)
    ]
    api.call("POST", "collections/docs/points", {"points": points[:30]})
    api.call("POST", "collections/docs/points", {"points": points[30:], "namespace": "b"})
    yield "docs"
    for name in [one["name"] for one in api.collections()]:
        api.collection_delete(name)
