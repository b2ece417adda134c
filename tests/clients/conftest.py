"""A running replica, a control plane in front of it, and the Python client of each."""

import contextlib
import uuid

import pytest

from aindusdb_client import Client, NotFoundError
from tests.clients.planes import TARGET, ControlPlane
from tests.vectors.conftest import token, vectors_url  # noqa: F401
from tests.vectors.test_process import Server


@pytest.fixture(scope="session")
def server(vectors_url, tmp_path_factory):  # noqa: F811
    """A running replica for all tests of this folder."""
    made = Server(vectors_url, tmp_path_factory.mktemp("api"))
    try:
        made.ready()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="session")
def control_plane(server, tmp_path_factory):
    """A running control plane whose target `alpha` is that replica."""
    made = ControlPlane(server.port, tmp_path_factory.mktemp("web"))
    yield made
    made.stop()


@pytest.fixture(params=["target", "control plane"])
def client(request, server):
    """The client at the replica itself, and through the control plane."""
    if request.param == "target":
        made = Client(f"http://127.0.0.1:{server.port}", token())
    else:
        plane = request.getfixturevalue("control_plane")
        made = Client(plane.url, plane.keys["admin"], target=TARGET)
    with made:
        yield made


@pytest.fixture
def name(client):
    """A name for a collection, which is gone at the end."""
    found = f"client-{uuid.uuid4().hex[:10]}"
    yield found
    with contextlib.suppress(NotFoundError):
        client.collection(found).drop()


@pytest.fixture
def docs(client, name):
    """An empty collection of four dimensions."""
    return client.collection_create(name, 4, metric="l2", auto_index=False)
