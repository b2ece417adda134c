"""What the tests of costs share: a project, a target, and operations run to their end."""

import pytest

from controlplane.models import Project
from deployments.models import Target
from tests.costs.receivers import http_receiver, smtp_receiver
from worker import engine
from worker.models import FINISHED, Operation


@pytest.fixture
def project(db):
    return Project.objects.create(name="acme")


@pytest.fixture
def target(project):
    return Target.objects.create(
        project=project,
        name="search",
        provider="local",
        region="local",
        spec={"replicas": 2},
        status="ready",
        created_by="test",
    )


def run(operation: Operation, steps: int = 50) -> Operation:
    """Run an operation's steps, each as soon as the last one ended, whatever pause it asked for."""
    for _ in range(steps):
        Operation.objects.filter(pk=operation.pk).update(run_after=engine.database_now())
        engine.advance(operation.pk)
        operation.refresh_from_db()
        if operation.status in FINISHED:
            return operation
    raise AssertionError(f"{operation} does not end: {operation.waiting_for}")


@pytest.fixture
def inbox():
    with http_receiver() as made:
        yield made


@pytest.fixture
def mailbox():
    with smtp_receiver() as made:
        yield made
