"""Backups, their proof, restores and schedules of a target on this machine, with real databases and tasks."""

import os
import random
import signal
from pathlib import Path

import psycopg
import pytest

from controlplane.errors import ConflictError, InvalidError
from deployments.backups import schedules, services
from deployments.backups.models import Backup, BackupStatus, RestoreStatus
from deployments.backups.services import backup_start, restore_decide, restore_start
from deployments.models import Target
from deployments.providers.local.provider import object_name
from deployments.runtimes.processes import signals
from deployments.services import target_create, target_destroy, target_update
from deployments.target_api import TargetApi
from tests.deployments.conftest import target_databases, wait_until
from worker import engine
from worker.models import Operation, Status
from worker.services import operation_cancel

pytestmark = pytest.mark.django_db(transaction=True)


def databases(settings) -> list[str]:
    """The names of all databases of targets, and of those beside them."""
    with psycopg.connect(settings.DATABASE_URL) as connection:
        rows = connection.execute(
            "SELECT datname FROM pg_database WHERE datname LIKE 'aindus\\_%' ORDER BY 1"
        ).fetchall()
    return [row[0] for row in rows]


def tasks(machine: Path) -> list[str]:
    folder = machine / "tasks"
    return sorted(entry.name for entry in folder.iterdir()) if folder.exists() else []


def sql(target, statement: str):
    """Run a statement on the target's database as its role."""
    with psycopg.connect(target.secrets["database_url"], autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else None


@pytest.fixture
def target(project, stand_in, run):
    """A target with a schema and no collections, whose replica is a stand-in."""
    target, _, operation = target_create(
        project=project, name="one", provider="local", spec={"replicas": 1}, created_by="test"
    )
    assert run(operation).status == Status.SUCCEEDED, operation.error
    target.refresh_from_db()
    return target


def test_backup_restore_in_place_and_undo_with_the_vector_api(project, machine, run, settings):
    target, _, operation = target_create(
        project=project, name="real", provider="local", spec={"replicas": 1}, created_by="test"
    )
    assert run(operation).status == Status.SUCCEEDED, operation.error
    target.refresh_from_db()
    api = TargetApi(target, subject="test")
    generator = random.Random(3)
    points = [{"id": str(n), "vector": [generator.gauss(0, 1) for _ in range(8)]} for n in range(400)]
    api.collection_create({"name": "docs", "dimension": 8, "auto_index": False})
    api.call("POST", "collections/docs/points", {"points": points})
    api.index_build("docs", {})
    wait_until(lambda: api.index("docs")["state"] == "ready")

    backup, operation = backup_start(target=target, requested_by="test")
    with pytest.raises(ConflictError):
        backup_start(target=target, requested_by="test")
    operation = run(operation)
    assert operation.status == Status.SUCCEEDED, operation.error
    backup.refresh_from_db()
    assert backup.status == BackupStatus.PROVEN and backup.stored
    assert backup.points == 400 and backup.proof["queries"] == 20 and backup.proof["recall"] > 0.8
    assert Path(backup.place).stat().st_size == backup.size_bytes
    assert databases(settings) == [object_name(target.pk)]
    assert tasks(machine) == []

    # What is written after the backup is gone after the restore, and back after it is undone.
    api.call("POST", "collections/docs/points", {"points": [{"id": "late", "vector": [1.0] * 8}]})
    with pytest.raises(InvalidError):
        restore_start(target=target, backup=backup, mode="in_place", requested_by="test")
    restore, operation = restore_start(
        target=target, backup=backup, mode="in_place", confirm="real", requested_by="test"
    )
    operation = run(operation)
    assert operation.status == Status.SUCCEEDED, operation.error
    restore.refresh_from_db()
    assert restore.can_be_undone and restore.proof["points"] == 400
    assert databases(settings) == [restore.kept_database, object_name(target.pk)]
    assert api.collection("docs")["points"] == 400
    assert len(api.query("docs", {"vector": points[0]["vector"], "top_k": 5})["matches"]) == 5
    with pytest.raises(ConflictError):
        restore_start(target=target, backup=backup, mode="in_place", confirm="real", requested_by="test")
    operation = run(restore_decide(restore=restore, undo=True, confirm="real", requested_by="test"))
    assert operation.status == Status.SUCCEEDED, operation.error
    restore.refresh_from_db()
    assert restore.status == RestoreStatus.UNDONE
    assert api.collection("docs")["points"] == 401
    assert databases(settings) == [object_name(target.pk)]

    # A new target, from the same backup.
    restore, operation = restore_start(
        target=target, backup=backup, mode="new_target", name="copy", requested_by="test"
    )
    operation = run(operation)
    assert operation.status == Status.SUCCEEDED, operation.error
    copy = Target.objects.get(name="copy")
    assert TargetApi(copy, subject="test").collection("docs")["points"] == 400
    assert sorted(databases(settings)) == sorted([object_name(target.pk), object_name(copy.pk)])
    assert tasks(machine) == []


def advance_to(operation, step: str) -> None:
    """Run the operation until it stands at a step and has run it once."""

    def there():
        operation.refresh_from_db()
        ran = engine.advance(operation.pk)
        assert not operation.is_finished, operation.error
        return ran and operation.step == step

    wait_until(there)


def run_twice(operation) -> list[str]:
    """Run an operation whose worker dies after each step, before it could say what came of it; the steps."""
    steps = []

    def ended():
        operation.refresh_from_db()
        if operation.is_finished:
            return True
        lease = engine.take_lease(operation.pk)
        if lease is not None:
            steps.append(operation.step)
            handler = engine.handler_for(operation.kind)(lease)
            getattr(handler, operation.step)()
            died = {"lease_token": None, "lease_expires_at": None, "run_after": engine.database_now()}
            Operation.objects.filter(pk=operation.pk).update(**died)
            engine.advance(operation.pk)
        return False

    wait_until(ended)
    return list(dict.fromkeys(steps))


def test_every_step_may_run_again(target, stand_in, settings):
    backup, operation = backup_start(target=target, requested_by="test")
    assert run_twice(operation) == ["begin", "dump", "make_scratch", "read_back", "prove", "finish"]
    assert operation.status == Status.SUCCEEDED, operation.error
    sql(target, "CREATE TABLE late (n int)")
    restore, operation = restore_start(
        target=target, backup=backup, mode="in_place", confirm="one", requested_by="test"
    )
    steps = run_twice(operation)
    assert steps[:4] == ["begin", "make_scratch", "read_back", "prove"]
    assert steps[4:] == ["migrate", "put_in_place", "serve", "finish"]
    assert operation.status == Status.SUCCEEDED, operation.error
    restore.refresh_from_db()
    assert databases(settings) == [restore.kept_database, object_name(target.pk)]
    assert sql(target, "SELECT to_regclass('late') IS NULL") == [(True,)]
    operation = restore_decide(restore=restore, undo=True, confirm="one", requested_by="test")
    assert run_twice(operation) == ["put_back", "serve", "finish"]
    assert databases(settings) == [object_name(target.pk)]
    assert sql(target, "SELECT to_regclass('late') IS NULL") == [(False,)]
    operation = services.backup_delete(backup=backup, requested_by="test")
    assert run_twice(operation) == ["delete", "finish"]
    assert not Path(backup.place).exists() and tasks(stand_in) == []


def test_what_dies_or_is_cancelled_leaves_nothing(target, run, stand_in, settings):
    own = [object_name(target.pk)]
    sql(target, "CREATE TABLE ballast AS SELECT md5(n::text) FROM generate_series(1, 20000) n")

    # A dump whose process is killed is made anew.
    backup, operation = backup_start(target=target, requested_by="test")
    with psycopg.connect(target.secrets["database_url"]) as connection:
        connection.execute("LOCK TABLE ballast IN ACCESS EXCLUSIVE MODE")
        advance_to(operation, "dump")
        [task] = tasks(stand_in)
        waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'ballast'::regclass"
        wait_until(lambda: connection.execute(waiting).fetchone())
        for pid in signals.members(stand_in / "tasks" / task):
            os.kill(pid, signal.SIGKILL)
    operation = run(operation)
    assert operation.status == Status.SUCCEEDED, operation.error
    retried = [event.message for event in operation.events.all() if "Another try" in event.message]
    assert len(retried) == 1 and "The process" in retried[0]
    assert databases(settings) == own and tasks(stand_in) == []

    # Cancelled while its copy is read back: no scratch, no file, no task.
    cancelled, operation = backup_start(target=target, requested_by="test")
    advance_to(operation, "read_back")
    assert len(databases(settings)) == 2
    operation_cancel(operation=operation, requested_by="test")
    operation = run(operation)
    assert operation.status == Status.CANCELLED, operation.error
    cancelled.refresh_from_db()
    assert (cancelled.status, cancelled.stored) == (BackupStatus.CANCELLED, False)
    assert databases(settings) == own and tasks(stand_in) == []
    files = sorted(path.name for path in Path(backup.place).parent.iterdir())
    assert files == [Path(backup.place).name, f"{Path(backup.place).name}.json"]

    # A backup whose bytes changed is not restored, and what was begun goes.
    content = bytearray(Path(backup.place).read_bytes())
    content[len(content) // 2] ^= 0xFF
    Path(backup.place).write_bytes(content)
    restore, operation = restore_start(
        target=target, backup=backup, mode="in_place", confirm="one", requested_by="test"
    )
    operation = run(operation)
    assert (operation.status, operation.error_code) == (Status.FAILED, "restore_failed")
    assert "damaged" in operation.error
    restore.refresh_from_db()
    assert (restore.status, restore.kept_database) == (RestoreStatus.FAILED, "")
    assert databases(settings) == own and tasks(stand_in) == []

    # What an operation that ended left behind, goes at the next look; what is not ours stays.
    number = operation.pk
    with psycopg.connect(settings.DATABASE_URL, autocommit=True) as connection:
        left = f"aindus_s_{services.ids.decode('op', number).hex}"
        connection.execute(f"CREATE DATABASE {left} OWNER {own[0]}")
        connection.execute(f"CREATE DATABASE aindus_s_{'0' * 32} OWNER {own[0]}")
    schedules.tick()
    assert databases(settings) == [f"aindus_s_{'0' * 32}", *own]

    # Destroying the target takes what lies beside its database with it.
    target_update(target=target, deletion_protection=False, requested_by="test")
    assert run(target_destroy(target=target, confirm="one", requested_by="test")).status == Status.SUCCEEDED
    assert target_databases(settings.DATABASE_URL) == set() and databases(settings) == []
    operation = run(services.backup_delete(backup=backup, requested_by="test"))
    assert operation.status == Status.SUCCEEDED, operation.error
    assert not Path(backup.place).exists()


def test_a_cancelled_restore_gives_the_place_back(target, run, stand_in, settings):
    """Cancelled just after the databases changed places, before that was written down."""
    backup, operation = backup_start(target=target, requested_by="test")
    assert run(operation).status == Status.SUCCEEDED
    sql(target, "CREATE TABLE late (n int)")
    restore, operation = restore_start(
        target=target,
        backup=Backup.objects.get(pk=backup.pk),
        mode="in_place",
        confirm="one",
        requested_by="test",
    )

    def at_the_swap():
        engine.advance(operation.pk)
        operation.refresh_from_db()
        return operation.step == "put_in_place"

    wait_until(at_the_swap)
    lease = engine.take_lease(operation.pk)
    handler = engine.handler_for(operation.kind)(lease)
    handler.put_in_place()
    assert handler.databases.identity(handler.spec, handler.kept)
    # The worker that did it is gone without a word.
    Operation.objects.filter(pk=operation.pk).update(lease_owner="gone:0:0:0")
    Operation.objects.filter(pk=operation.pk).update(lease_expires_at=engine.database_now())
    operation_cancel(operation=operation, requested_by="test")
    operation = run(operation)
    assert operation.status == Status.CANCELLED, operation.error
    assert databases(settings) == [object_name(target.pk)]
    assert sql(target, "SELECT to_regclass('late') IS NOT NULL") == [(True,)]
    restore.refresh_from_db()
    assert (restore.status, restore.can_be_undone) == (RestoreStatus.CANCELLED, False)
