"""Jobs of a target's collections as operations of the control plane, with the vector API itself."""

import threading

import pytest

from controlplane.errors import ConflictError, InvalidError
from deployments.collection_jobs import collection_job_start
from deployments.models import Replica, Target
from deployments.operations.collection_job import CollectionJob
from deployments.services import target_create, target_destroy, target_update
from deployments.target_api import TargetApi
from tests.deployments.conftest import wait_until
from worker import engine, signals
from worker.models import Operation, Status
from worker.services import OperationInProgressError, operation_cancel, operation_retry

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def target(project, machine, run):
    """A target with the vector API and a collection `docs` of 400 points."""
    target, _, operation = target_create(
        project=project, name="real", provider="local", spec={"replicas": 1}, created_by="test"
    )
    assert run(operation).status == Status.SUCCEEDED, operation.error
    target.refresh_from_db()
    api = TargetApi(target, subject="test")
    api.collection_create({"name": "docs", "dimension": 4, "auto_index": False})
    points = [{"id": f"p{n}", "vector": [n, 1, n % 7, n % 3]} for n in range(400)]
    api.call("POST", "collections/docs/points", {"points": points})
    return target


def build(target, **body):
    return collection_job_start(
        target=target, collection="docs", job="index.build", body=body, requested_by="user:ada"
    )


def jobs(target):
    """The target's builds; what it does by itself, such as measuring recall after one, is its own affair."""
    found = TargetApi(target, subject="test").call("GET", "jobs")["items"]
    return [job for job in found if job["kind"] == "index.build"]


def test_index_build_is_followed_to_its_end(target, run):
    operation = build(target, m=8, ef_construction=32)
    with pytest.raises(OperationInProgressError, match=operation.pk):
        build(target)
    operation = run(operation)
    assert operation.status == Status.SUCCEEDED, operation.error
    assert operation.result["rows"] == 400
    assert operation.result["job"] == jobs(target)[0]["id"]
    assert (operation.percent, CollectionJob.title(operation)) == (100, "Index build of docs")
    index = TargetApi(target, subject="test").index("docs")
    assert (index["state"], index["built"]["m"]) == ("ready", 8)
    assert list(Operation.objects.about(target.subject).values_list("pk", flat=True))[-1] == operation.pk


def test_what_the_target_refuses_is_told(target, run):
    operation = run(build(target, m=1))
    assert (operation.status, operation.error_code) == (Status.FAILED, "invalid")
    assert "m is between 2 and 100" in operation.error
    gone = collection_job_start(target=target, collection="nope", job="index.build", requested_by="test")
    assert run(gone).error_code == "unknown_collection"
    with pytest.raises(InvalidError):
        collection_job_start(target=target, collection="docs", job="index.burn", requested_by="test")


class WorkerDied(BaseException):
    """Stands for SIGKILL: nothing of the engine runs after it."""


@pytest.mark.parametrize("moment", [signals.step_leased, signals.step_ran, signals.step_committed])
@pytest.mark.parametrize("step", ["start", "follow"])
def test_worker_killed_at_any_moment_starts_one_job(target, run, step, moment):
    operation = build(target)
    died = []

    def die(sender, **told):
        if told["step"] == step and not died:
            died.append(step)
            raise WorkerDied

    moment.connect(die)
    try:
        with pytest.raises(WorkerDied):
            run(operation)
    finally:
        moment.disconnect(die)
    # What a lease looks like after its owner's death: expired.
    now = engine.database_now()
    Operation.objects.filter(pk=operation.pk).update(run_after=now)
    Operation.objects.filter(pk=operation.pk, lease_token__isnull=False).update(lease_expires_at=now)
    operation = run(operation)
    assert operation.status == Status.SUCCEEDED, operation.error
    assert len(jobs(target)) == 1


def test_cancel_is_passed_on(target, run):
    """The runner is kept from its work by a lock on the table, so that the build is under way for certain."""
    import psycopg

    with psycopg.connect(target.secrets["database_url"]) as held:
        table = held.execute("SELECT 'vectors_data.p_' || replace(id::text, '-', '') FROM vectors_collection")
        held.execute(f"LOCK TABLE {table.fetchone()[0]} IN SHARE ROW EXCLUSIVE MODE")
        operation = build(target)
        assert engine.advance(operation.pk)
        wait_until(lambda: jobs(target)[0]["state"] == "running")
        engine.advance(operation.pk)
        operation_cancel(operation=operation, requested_by="user:ada")
        operation = run(operation)
    assert operation.status == Status.CANCELLED
    assert jobs(target)[0]["state"] == "cancelled"
    again = run(operation_retry(operation=operation, requested_by="user:ada"))
    assert again.status == Status.SUCCEEDED, again.error


def test_cancelled_before_anything_was_started(target, run):
    operation = build(target)
    operation_cancel(operation=operation, requested_by="user:ada")
    assert run(operation).status == Status.CANCELLED
    assert jobs(target) == []


def test_job_cancelled_on_the_target_is_told(target, run):
    operation = build(target)
    assert engine.advance(operation.pk)
    state = Operation.objects.get(pk=operation.pk).state
    done = threading.Event()
    try:
        TargetApi(target, subject="test").call("POST", f"jobs/{state['job']}/cancel")
    except ConflictError:
        done.set()
    operation = run(operation)
    assert operation.status == (Status.SUCCEEDED if done.is_set() else Status.CANCELLED)


def test_target_away_is_waited_for_and_target_gone_is_told(target, run):
    operation = build(target)
    assert engine.advance(operation.pk)
    Replica.objects.filter(target=target).update(status="unready")
    Operation.objects.filter(pk=operation.pk).update(run_after=engine.database_now())
    assert engine.advance(operation.pk)
    operation.refresh_from_db()
    assert operation.status == Status.WAITING
    assert "the target to answer again" in operation.waiting_for
    Replica.objects.filter(target=target).update(status="ready")
    target_update(target=target, deletion_protection=False, requested_by="test")
    run(target_destroy(target=target, confirm="real", requested_by="test"))
    Operation.objects.filter(pk=operation.pk).update(run_after=engine.database_now())
    operation = run(operation)
    assert (operation.status, operation.error_code) == (Status.FAILED, "target_gone")
    with pytest.raises(ConflictError, match="destroyed"):
        build(Target.objects.get(pk=target.pk))


def test_credentials_of_a_url_are_kept_and_not_shown(target, run):
    url = "https://me:secret@store.example/points.ndjson?sig=abc"
    operation = collection_job_start(
        target=target, collection="docs", job="points.import", body={"url": url}, requested_by="test"
    )
    assert operation.input["body"] == {"url": "https://store.example/points.ndjson?***"}
    failed = run(operation)
    assert failed.status == Status.FAILED
    again = operation_retry(operation=failed, requested_by="test")
    assert again.input == failed.input
    assert again.state["body"] == {"url": url}
    assert again.retry_of_id == failed.pk
    seen = [str(event.detail) + event.message for event in failed.events.all()]
    assert not any("secret" in text or "sig=" in text for text in [*seen, failed.error])
