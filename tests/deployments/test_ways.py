"""Which way to a pod a spec asks for: the API server, the pod's own address, or an endpoint of the target."""

import http.server
import json
import ssl
import threading
from contextlib import contextmanager

import pytest

from deployments import reaching
from deployments.models import Replica
from deployments.target_api import TargetApi, TargetUnreachableError
from tests.deployments import in_cluster
from tests.simulators.kubernetes import Cluster

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def cluster():
    with Cluster() as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def no_ways_known():
    reaching.forget()
    yield
    reaching.forget()


@contextmanager
def endpoint(cluster, folder):
    """(URL, what was asked) of an https server that the cluster's authority vouches for."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers["Authorization"], self.headers[reaching.TOKEN_HEADER]))
            body = json.dumps({"items": [{"name": "a"}], "next_cursor": None}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    certificate, key = cluster.authority.server()
    (folder / "server.pem").write_text(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def pod_of(target, **values) -> Replica:
    defaults = {"host": "10.1.2.3", "port": 8000, "status": "ready", "handle": {"pod": "api-1"}}
    return Replica.objects.create(target=target, release=target.release, pod_uid="u1", **defaults | values)


def made(project, cluster, **reach) -> Replica:
    account = in_cluster.make_account(project, cluster)
    release = in_cluster.make_release(project)
    return pod_of(in_cluster.make_target(account, release, spec={"reach": reach}))


def test_the_api_server_is_the_way_unless_another_is_asked_for(project, cluster, monkeypatch):
    row = made(project, cluster)
    way = reaching.way_of(row)
    assert way.url == f"{cluster.server}/api/v1/namespaces/remote/pods/api-1:8000/proxy"
    assert reaching.way_to_call(row) == way
    # A pod of the same cluster takes the pods' own addresses.
    host, _, port = cluster.server.removeprefix("https://").partition(":")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    reaching.forget()
    assert reaching.way_of(row) == reaching.Way("http://10.1.2.3:8000")
    row.host = "fd00::3"
    assert reaching.way_of(row).url == "http://[fd00::3]:8000"


def test_the_way_that_a_spec_names(project, cluster):
    row = made(project, cluster, mode="pods")
    assert reaching.way_of(row).url == "http://10.1.2.3:8000"
    row.host = ""
    assert reaching.way_of(row).problem == "its pod has no address yet"


def test_an_endpoint_takes_the_calls_but_not_the_probes(project, cluster, tmp_path):
    with endpoint(cluster, tmp_path) as (url, asked):
        row = made(project, cluster, endpoint=f"{url}/", endpoint_authority=cluster.certificate_authority)
        assert [one["name"] for one in TargetApi(row.target, subject="test").collections()] == ["a"]
        [(path, authorization, token)] = asked
        assert path.startswith("/api/v1/vectors/collections")
        # Nobody stands between, so the token goes where it belongs.
        assert authorization.startswith("Bearer ey") and token is None
        assert reaching.way_of(row).relay
        # Whom nobody vouches for is not called.
        row.target.spec["reach"]["endpoint_authority"] = ""
        row.target.save()
        reaching.forget()
        with pytest.raises(TargetUnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
            TargetApi(row.target, subject="test").collections()
        assert len(asked) == 1


def test_credentials_that_cannot_be_had_are_told(project, cluster):
    row = made(project, cluster)
    row.target.account.delete()
    reaching.forget()
    assert reaching.way_of(row).problem.startswith("the cluster's credentials cannot be had")
    with pytest.raises(TargetUnreachableError, match="api-1 does not answer"):
        TargetApi(row.target, subject="test").collections()
