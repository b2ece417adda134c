import hashlib
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from controlplane.errors import ConflictError, InvalidError
from controlplane.models import ApiKey, AuditEntry, Project
from controlplane.services import api_key_create, api_key_revoke

pytestmark = pytest.mark.django_db


@pytest.fixture
def project():
    return Project.objects.create(name="default")


def create(project, **values):
    return api_key_create(
        project=project, **{"name": "ci", "role": "operator", "created_by": "system"} | values
    )


def test_only_the_digest_is_kept(project):
    key, text = create(project)
    assert text.startswith("ak_")
    assert len(text) >= 43
    assert key.prefix == text[:10]
    key.refresh_from_db()
    assert key.digest == hashlib.sha256(text.encode()).hexdigest()
    assert text not in str(ApiKey.objects.values())
    assert text not in str(AuditEntry.objects.values())


def test_a_name_is_free_again_after_revocation(project):
    key, _ = create(project)
    with pytest.raises(ConflictError) as caught:
        create(project)
    assert caught.value.errors[0]["field"] == "name"
    first = api_key_revoke(key=key, revoked_by="user:ada").revoked_at
    assert api_key_revoke(key=key, revoked_by="user:ada").revoked_at == first
    create(project)
    assert list(AuditEntry.objects.order_by("sequence").values_list("action", flat=True)) == [
        "api_key.create",
        "api_key.revoke",
        "api_key.create",
    ]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "n" * 101}, "name"),
        ({"role": "root"}, "role"),
        ({"expires_at": timezone.now() - timedelta(seconds=1)}, "expires_at"),
    ],
)
def test_bad_values_name_the_field(project, values, field):
    with pytest.raises(InvalidError) as caught:
        create(project, **values)
    assert caught.value.errors[0]["field"] == field


def test_the_command_prints_the_key_alone(project):
    out = StringIO()
    call_command("create_api_key", "ci", role="viewer", expires_in_days=30, stdout=out)
    text = out.getvalue()
    assert text == text.strip() + "\n"
    key = ApiKey.objects.get(digest=hashlib.sha256(text.strip().encode()).hexdigest())
    assert key.role == "viewer"
    assert timedelta(days=29) < key.expires_at - timezone.now() < timedelta(days=31)


def test_the_command_names_what_is_wrong(project):
    with pytest.raises(CommandError, match="no project named nowhere; known: default"):
        call_command("create_api_key", "ci", role="viewer", project="nowhere")
    call_command("create_api_key", "ci", role="viewer", stdout=StringIO())
    with pytest.raises(CommandError, match="revoke it or choose another"):
        call_command("create_api_key", "ci", role="viewer")
