import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction

from controlplane import audit
from controlplane.models import AuditEntry, Project

pytestmark = pytest.mark.django_db


@pytest.fixture
def project():
    return Project.objects.create(name="default")


def entry(project, **values):
    fields = {"actor": "user:ada", "action": "target.create", "subject": "tgt_1", "detail": {}}
    return audit.record(project=project, **fields | values)


def test_the_chain_verifies_whatever_the_detail_holds(project):
    entry(project, detail={"b": 1, "a": [1.5, 2.0, 1e20, 1e-7, -0.0, float("nan")], "ü\x00": "\ud800"})
    entry(None, actor="system\x00", request_id="r" * 100)
    entry(project, detail={"nested": {"none": None, "true": True}})
    assert audit.verify() == (3, None, "")


@pytest.mark.parametrize(
    "statement",
    ["UPDATE controlplane_auditentry SET actor = 'eve'", "DELETE FROM controlplane_auditentry"],
)
def test_entries_cannot_be_changed(project, statement):
    entry(project)
    with (
        pytest.raises(DatabaseError, match="append-only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE controlplane_auditentry SET detail = '{\"n\": 9}' WHERE detail = '{\"n\": 1}'",
        "DELETE FROM controlplane_auditentry WHERE detail = '{\"n\": 1}'",
        "DELETE FROM controlplane_auditentry WHERE detail = '{\"n\": 0}'",
    ],
)
def test_a_change_past_the_trigger_is_found(project, statement):
    for number in range(3):
        entry(project, detail={"n": number})
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE controlplane_auditentry DISABLE TRIGGER USER")
        cursor.execute(statement)
        cursor.execute("ALTER TABLE controlplane_auditentry ENABLE TRIGGER USER")
    assert audit.verify().broken_at in set(AuditEntry.objects.values_list("sequence", flat=True))
    with pytest.raises(CommandError, match="broken at entry"):
        call_command("verify_audit")


@pytest.mark.django_db(transaction=True)
def test_writers_at_the_same_time_make_one_chain():
    from concurrent.futures import ThreadPoolExecutor

    project = Project.objects.create(name="default")

    def write(number):
        try:
            entry(project, detail={"n": number})
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(40)))
    assert audit.verify() == (40, None, "")
