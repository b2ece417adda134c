"""Pods of the simulated cluster: how they fare by script, and as real processes."""

import contextlib
import socket
import ssl
import sys
import threading

import psutil
import pytest
import urllib3
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from tests.simulators.kubernetes import (
    Cluster,
    Served,
    crash_loop,
    evicted,
    out_of_memory,
    process,
    pull_error,
    ready,
    unready,
    unschedulable,
)

NAMESPACE = "default"


@pytest.fixture(scope="module")
def cluster():
    with Cluster(speed=20, crds=("metrics",)) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def api(cluster, tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "kubeconfig"
    cluster.kubeconfig(path)
    with config.new_client_from_config(str(path)) as made:
        yield made


def deployment(name, image, replicas=1, **container):
    labels = {"app": name}
    spec = {"name": "main", "image": image, "ports": [{"containerPort": 8000, "name": "http"}], **container}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [spec]}},
        },
    }


def get(cluster, path, headers):
    context = ssl.create_default_context(cadata=cluster.certificate_authority)
    with urllib3.PoolManager(ssl_context=context) as pool:
        headers = {"Authorization": f"Bearer {cluster.token}", **headers}
        return pool.request("GET", cluster.server + path, headers=headers)


def pods_of(cluster, name):
    return [pod for pod in cluster.objects("Pod") if pod["metadata"]["labels"].get("app") == name]


def replicas_ready(cluster, name):
    found = cluster.object("Deployment", name, NAMESPACE)
    return (found.get("status") or {}).get("readyReplicas", 0)


def waiting(cluster, name, reason):
    def found():
        for pod in pods_of(cluster, name):
            for status in (pod.get("status") or {}).get("containerStatuses", ()):
                if status["state"].get("waiting", {}).get("reason") == reason:
                    return status["state"]["waiting"]
        return None

    return cluster.wait(found, what=f"{name} waiting for {reason}")


def told(cluster, reason, text):
    return cluster.wait(
        lambda: [e for e in cluster.events if e["reason"] == reason and text in e["message"]],
        what=f"event {reason}: {text}",
    )


def test_pods_that_do_not_come_up_say_why(cluster, api):
    apps = client.AppsV1Api(api)
    for image, behaviour in (
        ("bad/pull:1", pull_error()),
        ("bad/crash:1", crash_loop(3, logs=("cannot start: FOO is missing",))),
        ("bad/memory:1", out_of_memory()),
        ("bad/sick:1", unready()),
        ("bad/room:1", unschedulable()),
        ("bad/node:1", evicted()),
    ):
        cluster.pods.behave(image, behaviour)
        apps.create_namespaced_deployment(NAMESPACE, deployment(image[4:-2], image))
    apps.create_namespaced_deployment(
        NAMESPACE,
        deployment(
            "secretive",
            "good/api:1",
            env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "nowhere", "key": "a"}}}],
        ),
    )
    apps.create_namespaced_deployment(
        NAMESPACE, deployment("large", "good/api:1", resources={"requests": {"cpu": "64"}})
    )
    assert "Back-off pulling image" in waiting(cluster, "pull", "ImagePullBackOff")["message"]
    assert "back-off 10s restarting failed" in waiting(cluster, "crash", "CrashLoopBackOff")["message"]
    assert (
        waiting(cluster, "secretive", "CreateContainerConfigError")["message"] == 'secret "nowhere" not found'
    )
    waiting(cluster, "memory", "CrashLoopBackOff")
    state = pods_of(cluster, "memory")[0]["status"]["containerStatuses"][0]
    assert state["lastState"]["terminated"] | {"startedAt": "", "finishedAt": "", "containerID": ""} == {
        "exitCode": 137,
        "reason": "OOMKilled",
        "startedAt": "",
        "finishedAt": "",
        "containerID": "",
    }
    told(cluster, "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503")
    told(cluster, "FailedScheduling", "0/3 nodes are available: 3 Insufficient cpu.")
    told(cluster, "BackOff", "Back-off restarting failed container main in pod crash-")
    told(cluster, "Evicted", "The node was low on resource: memory.")
    cluster.wait(lambda: [p for p in pods_of(cluster, "node") if not (p.get("status") or {}).get("reason")])
    core = client.CoreV1Api(api)
    with pytest.raises(ApiException) as answer:
        name = pods_of(cluster, "room")[0]["metadata"]["name"]
        core.connect_get_namespaced_pod_proxy(f"{name}:8000", NAMESPACE)
    assert answer.value.status == 400
    with pytest.raises(ApiException) as answer:
        name = pods_of(cluster, "sick")[0]["metadata"]["name"]
        core.connect_get_namespaced_pod_proxy(f"{name}:8000", NAMESPACE)
    assert answer.value.status == 503 and "connection refused" in answer.value.body
    name = pods_of(cluster, "crash")[0]["metadata"]["name"]
    assert "FOO is missing" in core.read_namespaced_pod_log(name, NAMESPACE, previous=True)
    # What is put right comes up by itself.
    cluster.pods.behave("bad/crash:1", ready())
    cluster.wait(lambda: replicas_ready(cluster, "crash") == 1)
    apps.delete_collection_namespaced_deployment(NAMESPACE, propagation_policy="Foreground")
    cluster.wait(lambda: not cluster.objects("Pod") and not cluster.objects("ReplicaSet"))


def test_scripted_answers_come_by_way_of_the_proxy(cluster, api):
    seen = []

    def serve(request):
        seen.append(request)
        return Served(
            418, {"path": request.path, "query": request.query}, {"X-Pod": request.pod["metadata"]["name"]}
        )

    cluster.pods.behave("app=web", ready(serve=serve))
    client.AppsV1Api(api).create_namespaced_deployment(NAMESPACE, deployment("web", "good/web:1"))
    core = client.CoreV1Api(api)
    service = {
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]},
    }
    core.create_namespaced_service(NAMESPACE, service)
    cluster.wait(
        lambda: cluster.objects("EndpointSlice") and cluster.objects("EndpointSlice")[-1].get("endpoints")
    )
    name = pods_of(cluster, "web")[0]["metadata"]["name"]
    for path in (f"pods/{name}:8000", f"pods/http:{name}:http", "services/web:80", "services/web"):
        answer = get(cluster, f"/api/v1/namespaces/{NAMESPACE}/{path}/proxy/a/b?c=d", {"X-Mine": "1"})
        assert answer.status == 418 and answer.headers["X-Pod"] == name
    assert {(request.path, request.query, request.port) for request in seen} == {("/a/b", "c=d", 8000)}
    assert all("authorization" not in r.headers and r.headers["x-mine"] == "1" for r in seen)


def test_a_container_may_be_a_real_process(cluster, api):
    core, apps = client.CoreV1Api(api), client.AppsV1Api(api)
    core.create_namespaced_secret(
        NAMESPACE, {"metadata": {"name": "words"}, "stringData": {"word": "swordfish"}}
    )
    script = (
        "import http.server, os, sys\n"
        "class H(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        words = [os.environ['WORD'], os.environ['POD'], str(self.headers.get('Authorization'))]\n"
        "        self.send_response(200)\n"
        "        self.send_header('Content-Type', 'text/plain')\n"
        "        self.end_headers()\n"
        "        self.wfile.write(' '.join(words).encode())\n"
        "        if self.path == '/exit': os._exit(7)\n"
        "    def log_message(self, *a): print('asked', self.path, flush=True)\n"
        "print('serving', flush=True)\n"
        "http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), H).serve_forever()\n"
    )
    cluster.pods.behave(
        "good/real:1", process(command=lambda container, env, port: [sys.executable, "-c", script, str(port)])
    )
    body = deployment(
        "real",
        "good/real:1",
        env=[
            {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "words", "key": "word"}}},
            {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
        readinessProbe={"httpGet": {"path": "/ready", "port": "http"}},
    )
    apps.create_namespaced_deployment(NAMESPACE, body)
    cluster.wait(lambda: replicas_ready(cluster, "real") == 1)
    name = pods_of(cluster, "real")[0]["metadata"]["name"]
    answer = core.connect_get_namespaced_pod_proxy_with_path(f"{name}:8000", NAMESPACE, "hello")
    assert answer == f"swordfish {name} None"
    cluster.wait(lambda: "Z asked /hello" in core.read_namespaced_pod_log(name, NAMESPACE, timestamps=True))
    metrics = client.CustomObjectsApi(api)
    used = metrics.get_namespaced_custom_object("metrics.k8s.io", "v1beta1", NAMESPACE, "pods", name)
    assert int(used["containers"][0]["usage"]["memory"].removesuffix("Ki")) > 4096
    core.connect_get_namespaced_pod_proxy_with_path(f"{name}:8000", NAMESPACE, "exit")
    cluster.wait(lambda: (pods_of(cluster, "real")[0]["status"]["containerStatuses"][0]["restartCount"]) == 1)
    assert "asked /exit" in core.read_namespaced_pod_log(name, NAMESPACE, previous=True)
    apps.delete_namespaced_deployment("real", NAMESPACE)
    cluster.wait(lambda: not pods_of(cluster, "real"))


def test_nothing_is_left_of_a_cluster_that_ended():
    def threads():
        return sum(thread.name.startswith("kubernetes-") for thread in threading.enumerate())

    def sleepers():
        found = []
        for one in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "sleep 61" in " ".join(one.cmdline()):
                    found.append(one)
        return found

    # Servers of the run come and go beside it; these are its own.
    before = threads()
    with Cluster() as cluster:
        cluster.pods.behave("*", process(command=lambda *_: ["/bin/sh", "-c", "sleep 61 & sleep 61"]))
        cluster.create(deployment("left", "good/left:1", replicas=2))
        cluster.wait(lambda: len(sleepers()) >= 4)
        assert threads() > before
        port = int(cluster.server.rpartition(":")[2])
    assert (threads(), sleepers()) == (before, [])
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
