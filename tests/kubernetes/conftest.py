"""A simulated cluster for the module, and workloads in namespaces of their own in it."""

import secrets
from dataclasses import replace

import pytest

from controlplane import ids
from deployments.providers.base import ClusterAccess, Secret
from deployments.runtimes.base import runtime_for
from deployments.runtimes.kubernetes.client import ClusterClient
from deployments.runtimes.kubernetes.kinds import kind_named
from deployments.runtimes.kubernetes.manifests import whole
from deployments.runtimes.kubernetes.preflight import capabilities
from tests.deployments.conftest import wait_until
from tests.kubernetes.shapes import workload
from tests.simulators.kubernetes import Cluster


@pytest.fixture(scope="module")
def cluster():
    with Cluster(crds=("istio", "gateway", "prometheus", "metrics"), speed=20) as made:
        yield made


@pytest.fixture
def runtime():
    return runtime_for("kubernetes")


def access_to(cluster, token: str = "") -> ClusterAccess:
    return ClusterAccess(
        cluster.server, cluster.certificate_authority, Secret({"token": token or cluster.token})
    )


def client_of(made) -> ClusterClient:
    return ClusterClient(made.access)


@pytest.fixture
def make(cluster):
    """`make(shape, *revisions, **spec)`: a workload in a namespace of its own, nothing applied yet."""
    spaces = []

    def make(name="standard", *revisions, token="", **spec):
        made = workload(name, *revisions)
        space = f"n{secrets.token_hex(4)}"
        spaces.append(space)
        made = replace(made, target_id=ids.new("tgt"), access=access_to(cluster, token))
        told = {**made.spec, "namespace": space, **spec}
        made = replace(made, spec=told)
        found = capabilities(ClusterClient(made.access), whole.place_of(made))
        return replace(made, spec={**told, "capabilities": found})

    yield make
    # The nodes' room is the next test's.
    cluster.pods.forget()
    client = ClusterClient(access_to(cluster))
    for space in spaces:
        client.delete(kind_named("Namespace"), space)
    wait_until(lambda: not any(cluster.objects("Pod", space) for space in spaces))


def settle(runtime, made, seconds: float = 20):
    """Wait until every revision is settled; gives the status."""
    found = []

    def done() -> bool:
        found.append(runtime.status(made))
        return bool(found[-1].revisions) and all(one.settled for one in found[-1].revisions)

    wait_until(done, seconds)
    return found[-1]


def ended(call, seconds: float = 20):
    """Call until the answer is pending no more; gives it."""
    found = []
    wait_until(lambda: found.append(call()) or found[-1].state != "pending", seconds)
    return found[-1]
