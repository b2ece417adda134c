"""The same operations with the vector API itself in the replicas."""

import http.client
import json
import threading
import time

import jwt
import pytest

from deployments.models import Replica, ReplicaStatus, TargetStatus
from deployments.reconciliation import reconcile_all
from deployments.runtimes.processes import ProcessRuntime, stop_all
from deployments.services import rollout_start, target_create, target_destroy, target_update
from tests.deployments.conftest import replica_processes, target_databases
from worker.models import Operation, Status

pytestmark = pytest.mark.django_db(transaction=True)


class Client:
    """Calls the target as the gateway does: a ready replica, read anew every second, three tries."""

    def __init__(self, target):
        self.target = target
        self.ports: list[int] = []
        self.read_at = 0.0
        self.turn = 0

    def token(self):
        claims = {"sub": "test", "role": "operator", "exp": time.time() + 60}
        return jwt.encode(claims, self.target.secrets["jwt_secret"], algorithm="HS256")

    def call(self, method, path, body=None):
        if time.monotonic() - self.read_at > 1.0 or not self.ports:
            ready = Replica.objects.filter(target=self.target, status=ReplicaStatus.READY)
            self.ports = list(ready.values_list("port", flat=True))
            self.read_at = time.monotonic()
        self.turn += 1
        port = self.ports[self.turn % len(self.ports)]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        headers = {"Authorization": f"Bearer {self.token()}", "Content-Type": "application/json"}
        try:
            connection.request(method, f"/api/v1/vectors/{path}", body and json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or "null")
        finally:
            connection.close()


def test_provision_query_roll_out_and_destroy(project, machine, run, settings):
    started = time.monotonic()
    target, _, operation = target_create(project=project, name="real", provider="local", created_by="test")
    operation = run(operation)
    assert operation.status == Status.SUCCEEDED, operation.error
    assert time.monotonic() - started < 20
    target.refresh_from_db()
    client = Client(target)
    status, body = client.call("POST", "collections", {"name": "a", "dimension": 2, "metric": "l2"})
    assert status in (200, 201), body
    status, body = client.call("POST", "collections/a/points", {"points": [{"id": "x", "vector": [1, 2]}]})
    assert status == 200, body

    # A rollout under load answers every request.
    failures, answers, stop = [], [], threading.Event()

    def load():
        from django.db import connection

        mine = Client(target)
        while not stop.is_set():
            try:
                status, body = mine.call("POST", "collections/a/query", {"vector": [1, 2], "top_k": 1})
                (answers if status == 200 and body["matches"] else failures).append((status, body))
            except OSError as error:
                failures.append(repr(error))
        connection.close()

    thread = threading.Thread(target=load)
    thread.start()
    _, operation = rollout_start(target=target, config={"threads": 3}, requested_by="test")
    operation = run(operation)
    stop.set()
    thread.join()
    assert operation.status == Status.SUCCEEDED, operation.error
    assert failures == []
    assert len(answers) > 100

    _, operation = rollout_start(
        target=target, config={"env": {"AINDUS_LOG_LEVEL": "LOUD"}}, requested_by="test"
    )
    operation = run(operation)
    assert operation.error_code == "rolled_back"
    assert "AINDUS_LOG_LEVEL='LOUD': use one of" in operation.error
    for secret in target.secrets.values():
        assert secret not in operation.error

    # The control plane stops and starts: the replicas come back by themselves.
    assert stop_all(machine) == 2
    started = time.monotonic()
    reconcile_all()
    assert run(Operation.objects.get(kind="target.heal")).status == Status.SUCCEEDED
    assert time.monotonic() - started < 8
    assert client.call("GET", "collections")[0] == 200

    lines = [line for r in Replica.objects.filter(status="ready") for line in ProcessRuntime().logs(r.pk)]
    assert lines
    target_update(target=target, deletion_protection=False, requested_by="test")
    assert run(target_destroy(target=target, confirm="real", requested_by="test")).status == Status.SUCCEEDED
    target.refresh_from_db()
    assert target.status == TargetStatus.DESTROYED
    assert replica_processes(machine) == []
    assert target_databases(settings.DATABASE_URL) == set()
