"""The vendors' official clients, unchanged and each in an environment of its own.

Against `manage.py api` with a key of the target, and against the control plane with one of its own.
"""

import os
import subprocess

import pytest

from tests.clients.planes import TARGET, ControlPlane
from tests.sdk.environments import HERE, python_of
from tests.vectors.conftest import vectors_url  # noqa: F401
from tests.vectors.test_process import Server

pytestmark = pytest.mark.sdk
LIMIT_SECONDS = 20


@pytest.fixture(scope="module")
def server(vectors_url, tmp_path_factory):  # noqa: F811
    """One running replica for all clients."""
    made = Server(vectors_url, tmp_path_factory.mktemp("api"))
    made.ready()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def key(server):
    """An API key of the target, as an application has one."""
    status, made, _ = server.call("POST", "api-keys", {"name": "sdk", "role": "operator"})
    assert status == 201
    return made["key"]


@pytest.fixture(scope="module")
def control_plane(server, tmp_path_factory):
    """A control plane whose target `alpha` that replica is."""
    made = ControlPlane(server.port, tmp_path_factory.mktemp("web"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def python(request):
    """The interpreter of the environment asked for; making one takes a while, once."""
    return python_of(request.param)


CLIENTS = pytest.mark.parametrize(
    ("python", "script", "dialect", "key_name"),
    [
        ("pinecone8", "run_pinecone.py", "pinecone", "PINECONE_API_KEY"),
        ("pinecone10", "run_pinecone.py", "pinecone", "PINECONE_API_KEY"),
        ("qdrant", "run_qdrant.py", "qdrant", "QDRANT_API_KEY"),
    ],
    indirect=["python"],
)


def run(python, script: str, address: str, environment: dict[str, str], log) -> None:
    """Run a client's script to its end; AssertionError with what it and the server said."""
    proxies = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    done = subprocess.run(
        [python, HERE / script, address],
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")} | proxies | environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{log.read_text()[-4000:]}"


@pytest.mark.parametrize("mount", ["", "/api/v1/vectors"])
@CLIENTS
def test_official_client(server, key, python, script, dialect, key_name, mount):
    run(python, script, f"http://127.0.0.1:{server.port}{mount}/{dialect}", {key_name: key}, server.log)


@CLIENTS
def test_official_client_through_the_control_plane(server, control_plane, python, script, dialect, key_name):
    address = f"{control_plane.url}/api/v1/targets/{TARGET}/vectors/{dialect}"
    run(python, script, address, {key_name: control_plane.keys["operator"]}, control_plane.log)
