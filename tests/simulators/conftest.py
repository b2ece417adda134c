"""Clients of the cluster that a module of tests starts."""

import json
import ssl

import pytest
import urllib3
from kubernetes import config
from kubernetes.dynamic import DynamicClient


@pytest.fixture(scope="module")
def api(cluster, tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "kubeconfig"
    cluster.kubeconfig(path, certificate=True)
    with config.new_client_from_config(str(path)) as made:
        yield made


@pytest.fixture(scope="module")
def dynamic(api):
    return DynamicClient(api)


@pytest.fixture(scope="module")
def raw(cluster):
    context = ssl.create_default_context(cadata=cluster.certificate_authority)
    with urllib3.PoolManager(ssl_context=context) as pool:

        def send(method, path, body=None, kind="application/json", token=cluster.token, **headers):
            given = {"Content-Type": kind, "User-Agent": "raw/1.0", **headers}
            if token:
                given["Authorization"] = f"Bearer {token}"
            answer = pool.request(
                method,
                cluster.server + path,
                body=json.dumps(body) if body else None,
                headers=given,
                retries=False,
            )
            return answer.status, answer.json() if "json" in answer.headers["Content-Type"] else answer.data

        yield send
