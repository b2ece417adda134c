"""Backups, their proof, restores and schedules of a target on this machine, with real databases and tasks."""

import json
import os
import random
import signal
from pathlib import Path

import psycopg
import pytest

from controlplane.errors import ConflictError, InvalidError
from deployments.backups import schedules, services
from deployments.backups.models import Backup, BackupSchedule, BackupStatus, Restore, RestoreStatus
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
