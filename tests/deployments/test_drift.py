"""Drift of a target on this machine: found, kept, and each way it can be decided."""

import psycopg
import pytest

from controlplane.errors import ConflictError, InvalidError
from controlplane.models import AuditEntry
from deployments.drift.models import DriftFinding
from deployments.drift.services import (
    check_all,
    drift_adopt,
    drift_check,
    drift_ignore,
    drift_revert,
    drift_undo,
)
from deployments.providers.local.provider import LocalProvider, object_name
from tests.api.conftest import make_target
from worker.models import Status

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def target(project, machine):
    """A target with its role and database, and no replicas."""
    from deployments.services import target_spec

    spec = {"replicas": 1, "connection_limit": -1}
    target = make_target(project, region="local", spec=spec, desired_replicas=1)
    provider = LocalProvider()
    target.secrets = dict(provider.prepare(target_spec(target)).values) | {"jwt_secret": "x" * 40}
    provider.apply(target_spec(target), "test")
    target.save()
    return target


@pytest.fixture
def admin(settings, target):
    """Runs a statement about the target's role or database, `{0}`, as somebody else would."""

    def run(statement: str) -> None:
        with psycopg.connect(settings.DATABASE_URL, autocommit=True) as connection:
            connection.execute(statement.format(object_name(target.pk)))

    return run


def found(target) -> dict:
    return {one.field: one for one in drift_check(target=target)}


def test_what_is_found_and_decided(target, admin, run, settings):
    assert drift_check(target=target) == []
    admin("ALTER ROLE {0} CONNECTION LIMIT 10")
    admin("GRANT CONNECT ON DATABASE {0} TO PUBLIC")
    check_all()
    first = found(target)
    assert set(first) == {"connection_limit", "connect_by_public"}
    assert (first["connection_limit"].expected, first["connection_limit"].actual) == (-1, 10)
    again = found(target)
    assert again["connection_limit"].pk == first["connection_limit"].pk
    assert again["connection_limit"].last_seen_at > first["connection_limit"].first_seen_at

    # Ignored until it changes again, and that can be taken back.
    limit = first["connection_limit"]
    with pytest.raises(InvalidError):
        drift_ignore(finding=limit, reason=" ", requested_by="test")
    decision = drift_ignore(finding=limit, reason="A load test", requested_by="ada")
    assert found(target)["connection_limit"].state == "ignored"
    with pytest.raises(ConflictError):
        drift_ignore(finding=limit, reason="Twice", requested_by="ada")
    drift_undo(decision=decision, requested_by="grace")
    assert found(target)["connection_limit"].state == "open"
    drift_ignore(finding=limit, reason="A load test", requested_by="ada")
    admin("ALTER ROLE {0} CONNECTION LIMIT 12")
    assert found(target)["connection_limit"].state == "open"

    # Reverting one leaves the other as it is.
    public = first["connect_by_public"]
    _, operation = drift_revert(finding=public, reason="Nobody else may", requested_by="ada")
    operation = run(operation)
    assert operation.status == Status.SUCCEEDED, operation.error
    public.refresh_from_db()
    assert public.state == "resolved"
    assert set(found(target)) == {"connection_limit"}
    with pytest.raises(ConflictError, match="as it was made by now"):
        drift_revert(finding=public, reason="Again", requested_by="ada")

    # Adopted into the spec, and back.
    decision = drift_adopt(finding=limit, reason="It works well", requested_by="ada")
    target.refresh_from_db()
    assert target.spec["connection_limit"] == 12
    assert found(target) == {}
    drift_undo(decision=decision, requested_by="ada")
    target.refresh_from_db()
    assert target.spec["connection_limit"] == -1
    assert found(target)["connection_limit"].pk != limit.pk, "it was resolved meanwhile"
    with pytest.raises(ConflictError, match="undone already"):
        drift_undo(decision=decision, requested_by="ada")

    # What no field of the spec says is not adopted, and the reason is told.
    admin("ALTER ROLE {0} NOLOGIN")
    with pytest.raises(ConflictError, match="no matter of the spec"):
        drift_adopt(finding=found(target)["login"], reason="Why not", requested_by="ada")
    actions = set(AuditEntry.objects.values_list("action", flat=True))
    assert {"drift.ignore", "drift.undo", "drift.revert", "drift.adopt"} <= actions

    # A server that does not answer changes nothing of what is known.
    known = DriftFinding.objects.filter(resolved_at=None).count()
    server, settings.DATABASE_URL = settings.DATABASE_URL, "postgresql://nobody@127.0.0.1:1/none"
    check_all()
    settings.DATABASE_URL = server
    assert DriftFinding.objects.filter(resolved_at=None).count() == known
