import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.db import connection

from controlplane import crypto, rotation
from controlplane.models import Project
from deployments.models import Target

pytestmark = pytest.mark.django_db


@pytest.fixture
def target():
    project = Project.objects.create(name="default")
    return Target.objects.create(
        project=project, name="one", provider="local", region="local", secrets={"password": "hunter2"}
    )


def stored(target) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT secrets FROM deployments_target")
        return cursor.fetchone()[0]


def test_a_secret_is_stored_encrypted_and_never_shown(target):
    assert "hunter2" not in stored(target)
    target.refresh_from_db()
    assert target.secrets["password"] == "hunter2"
    assert "hunter2" not in f"{target.secrets} {target.secrets!r}"


def test_rotation_writes_all_under_the_newest_key(target, settings, capsys):
    old = stored(target)
    settings.ENCRYPTION_KEYS = [Fernet.generate_key().decode(), *settings.ENCRYPTION_KEYS]
    assert not crypto.is_current(old)
    assert rotation.rotate_stored_secrets() == (1, 0)
    assert crypto.is_current(stored(target))
    assert rotation.rotate_stored_secrets() == (0, 1)
    settings.ENCRYPTION_KEYS = settings.ENCRYPTION_KEYS[:1]
    target.refresh_from_db()
    assert target.secrets == {"password": "hunter2"}


def test_a_lost_key_is_told(target, settings):
    settings.ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    with pytest.raises(CommandError, match="put the key that wrote it back"):
        call_command("rotate_secrets")
