"""Targets on this machine with real databases and processes; nothing may be left of them after a test."""

import sys
import time
from pathlib import Path

import psycopg
import pytest

from controlplane.models import Project
from deployments.runtimes.processes import signals, stop_all
from worker import engine

STAND_IN = Path(__file__).with_name("stand_in.py")


def replica_processes(data_dir: Path) -> list[int]:
    """Every live process that belongs to a replica below this data directory."""
    folder = data_dir / "replicas"
    if not folder.exists():
        return []
    return [pid for entry in folder.iterdir() for pid in signals.members(entry)]


def wait_until(condition, seconds: float = 60.0) -> None:
    """Poll until the condition holds; AssertionError at the deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def target_databases(admin_url: str) -> set[str]:
    """The names of all databases and roles that were made for targets."""
    with psycopg.connect(admin_url) as connection:
        rows = connection.execute(
            "SELECT 'database ' || datname FROM pg_database WHERE datname LIKE 'aindus\\_t\\_%'"
            " UNION ALL SELECT 'role ' || rolname FROM pg_roles WHERE rolname LIKE 'aindus\\_t\\_%'"
        ).fetchall()
    return {row[0] for row in rows}


def drop_target_databases(admin_url: str) -> None:
    with psycopg.connect(admin_url, autocommit=True) as connection:
        for entry in sorted(target_databases(admin_url)):
            kind, name = entry.split()
            force = " WITH (FORCE)" if kind == "database" else ""
            connection.execute(f'DROP {kind} "{name}"{force}')


@pytest.fixture
def machine(settings, tmp_path):
    """A data directory of its own, whose replicas and databases are gone after the test."""
    settings.DATA_DIR = tmp_path
    yield tmp_path
    stop_all(tmp_path, grace_seconds=2)
    assert replica_processes(tmp_path) == []
    drop_target_databases(settings.DATABASE_URL)


@pytest.fixture
def stand_in_command():
    return [sys.executable, "-S", "-E", str(STAND_IN)]


@pytest.fixture
def stand_in(settings, machine, stand_in_command):
    """Replicas are the stand-in, which starts in 50 ms, rather than the vector API."""
    settings.API_COMMAND = stand_in_command
    settings.REPLICA_READY_SECONDS = 4
    return machine


@pytest.fixture
def project(transactional_db):
    return Project.objects.create(name="default")


@pytest.fixture
def run():
    """Advance an operation in this process to its end, and give it back as stored."""

    def run(operation, seconds: float = 60.0):
        engine.drain(operation.subject, seconds=seconds)
        operation.refresh_from_db()
        return operation

    return run
