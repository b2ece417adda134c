"""A new key for JWTs while requests go on, with the vector API itself in the replicas."""

import threading
import time

import jwt
import pytest

from controlplane.errors import ProblemError
from deployments.models import Replica, ReplicaStatus, Target
from deployments.rotating import target_rotate
from deployments.services import target_create
from deployments.target_api import TargetApi
from tests.deployments.conftest import wait_until
from worker import engine
from worker.models import Status
from worker.services import operation_cancel

pytestmark = pytest.mark.django_db(transaction=True)


def accepts(target, key: str) -> bool:
    """Whether the target's replicas take a token of this key."""
    api = TargetApi(target, subject="test")
    claims = {"sub": "test", "role": "viewer", "exp": time.time() + 600, "iat": time.time()}
    api._token = lambda: jwt.encode(claims, key, algorithm="HS256")
    try:
        api.call("GET", "collections")
    except ProblemError as error:
        assert error.status == 503 or error.code in ("target_unreachable", "invalid_token"), error
        return False
    return True


def test_no_request_fails_while_the_key_is_changed(project, machine, run):
    target, _, operation = target_create(
        project=project, name="keys", provider="local", spec={"replicas": 1}, created_by="test"
    )
    assert run(operation).status == Status.SUCCEEDED, operation.error
    target.refresh_from_db()
    old = target.secrets["jwt_secret"]

    # Cancelled before the new key signs: nothing of it is left.
    operation = target_rotate(target=target, requested_by="test")

    def is_generated():
        engine.advance(operation.pk)
        target.refresh_from_db()
        return "jwt_secret_previous" in target.secrets

    wait_until(is_generated)
    operation_cancel(operation=operation, requested_by="test")
    assert run(operation).status == Status.CANCELLED
    target.refresh_from_db()
    assert (target.secrets["jwt_secret"], "jwt_secret_previous" in target.secrets) == (old, False)

    failures, answers, stop = [], [], threading.Event()

    def load():
        from django.db import connection

        while not stop.is_set():
            try:
                TargetApi(Target.objects.get(pk=target.pk), subject="load").call("GET", "collections")
                answers.append(1)
            except ProblemError as error:
                failures.append(error)
        connection.close()

    thread = threading.Thread(target=load)
    thread.start()
    operation = run(target_rotate(target=target, requested_by="test"))
    stop.set()
    thread.join()
    assert operation.status == Status.SUCCEEDED, operation.error
    assert failures == [] and len(answers) > 20
    target.refresh_from_db()
    new = target.secrets["jwt_secret"]
    assert new != old and "jwt_secret_previous" not in target.secrets
    assert accepts(target, new) and not accepts(target, old)
    assert Replica.objects.filter(target=target, status=ReplicaStatus.READY).count() == 1
    told = " ".join(event.message for event in operation.events.all())
    assert old not in told and new not in told
