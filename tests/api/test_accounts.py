"""Tokens, projects, members, API keys and the audit log."""

from datetime import timedelta

import jwt
import pytest
from django.test import Client
from django.utils import timezone

from controlplane import actors, throttle
from controlplane.models import ApiKey, AuditEntry, Membership, Project, Role, User
from tests.api.conftest import PASSWORD, Api, assert_problem
from vectors import database

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def counted_here_alone(monkeypatch):
    """Tries are counted in this process, so that tests do not count for one another."""

    def away(timeout_seconds=1.0):
        raise OSError("no Redis")

    monkeypatch.setattr(throttle, "redis_client", away)


def sign_in(api, **values):
    return api.post("tokens", {"username": "ada", "password": PASSWORD} | values)


def test_a_token_is_good_for_its_user(anonymous, user, project):
    answer = sign_in(anonymous, lifetime_seconds=60)
    assert answer.status_code == 201
    assert answer["Cache-Control"] == "no-store"
    body = answer.json()
    assert (body["token_type"], body["role"], body["project"]["name"]) == ("Bearer", "admin", "default")
    ada = Api(body["token"])
    assert ada.post("api-keys", {"name": "ci", "role": "viewer"}).json()["created_by"] == "user:ada"
    # The role is that of now, not that of when the token was made.
    Membership.objects.update(role=Role.VIEWER)
    actors.forget()
    assert_problem(ada.post("api-keys", {"name": "ci2", "role": "viewer"}), 403)
    User.objects.update(is_active=False)
    actors.forget()
    assert_problem(ada.get("targets"), 401, "invalid_token")


def test_tokens_that_are_not_ours(user, project, settings):
    def told(claims, key=None, algorithm="HS256"):
        claims = {"sub": user.pk, "prj": project.pk, "aud": actors.AUDIENCE, "exp": 9999999999} | claims
        key = actors._signing_key(settings.SECRET_KEY) if key is None else key
        return Api(jwt.encode(claims, key, algorithm=algorithm)).get("targets")

    assert told({}).status_code == 200
    assert_problem(told({"exp": 1}), 401, "expired_token")
    assert_problem(told({"aud": "else"}), 401, "invalid_token")
    assert_problem(told({"sub": "usr_" + "0" * 26}), 401, "invalid_token")
    assert_problem(told({"sub": "x"}), 401, "invalid_token")
    assert_problem(told({}, key="another key of enough length........"), 401, "invalid_token")
    assert_problem(told({}, key="", algorithm="none"), 401, "invalid_token")


def test_wrong_passwords_are_limited(anonymous, user):
    for _ in range(10):
        assert_problem(sign_in(anonymous, password="wrong"), 401, "wrong_credentials")
    assert_problem(sign_in(anonymous, password="wrong"), 429, "too_many_requests")
    assert_problem(sign_in(anonymous), 429)
    assert_problem(sign_in(anonymous, username="bob"), 401, "wrong_credentials")


def test_a_project_one_is_no_member_of(anonymous, user):
    Project.objects.create(name="other")
    assert_problem(sign_in(anonymous, project="other"), 403)
    assert sign_in(anonymous, project="default").status_code == 201
    assert_problem(anonymous.post("tokens", {"username": "ada"}), 422, field="password")


def test_projects(viewer, project, anonymous, user):
    other = Project.objects.create(name="other")
    assert [item["name"] for item in viewer.get("projects").json()["items"]] == ["default"]
    assert viewer.get(f"projects/{project.pk}").json()["id"] == project.pk
    assert_problem(viewer.get("projects/other"), 404)
    Membership.objects.create(user=user, project=other, role=Role.VIEWER)
    ada = Api(sign_in(anonymous).json()["token"])
    assert [item["name"] for item in ada.get("projects").json()["items"]] == ["default", "other"]


def test_members(admin, user, project):
    added = admin.post("members", {"username": "bob", "role": "viewer", "password": "a long enough one"})
    assert added.status_code == 201
    assert admin.get("members/bob").json() == added.json()
    assert [m["username"] for m in admin.get("members?role=viewer").json()["items"]] == ["bob"]
    assert admin.patch("members/bob", {"role": "operator"}).json()["role"] == "operator"
    assert_problem(admin.patch("members/bob", {"role": "boss"}), 422, field="role")
    assert_problem(admin.post("members", {"username": "bob", "role": "viewer"}), 409, field="username")
    assert_problem(admin.post("members", {"username": "eve", "role": "viewer"}), 422, field="password")
    weak = {"username": "eve", "role": "viewer", "password": "12345"}
    assert_problem(admin.post("members", weak), 422, field="password")
    assert not User.objects.filter(username="eve").exists()
    assert_problem(admin.delete("members/ada"), 409, "last_admin")
    assert_problem(admin.patch("members/ada", {"role": "viewer"}), 409, "last_admin")
    assert admin.delete("members/bob").status_code == 204
    assert_problem(admin.delete("members/bob"), 404)
    # A user who exists is added without a password, and nobody's password is changed this way.
    with_password = {"username": "bob", "role": "viewer", "password": "another long one"}
    assert_problem(admin.post("members", with_password), 409, "name_taken")
    assert admin.post("members", {"username": "bob", "role": "viewer"}).status_code == 201


def test_api_keys(admin, project):
    made = admin.post("api-keys", {"name": "ci", "role": "operator"})
    text = made.json()["key"]
    assert made["Location"] == f"/api/v1/api-keys/{made.json()['id']}"
    assert "key" not in admin.get("api-keys/ci").json()
    assert text not in admin.get("api-keys").content.decode()
    ci = Api(text)
    assert ci.get("targets").status_code == 200
    assert_problem(admin.post("api-keys", {"name": "ci", "role": "viewer"}), 409, "name_taken", "name")
    assert_problem(admin.post("api-keys", {"name": "x", "role": "boss"}), 422, field="role")
    past = {"name": "x", "role": "viewer", "expires_at": "2001-01-01T00:00:00Z"}
    assert_problem(admin.post("api-keys", past), 422, field="expires_at")
    assert admin.delete("api-keys/ci").status_code == 204
    assert_problem(ci.get("targets"), 401, "invalid_token")
    assert admin.delete(f"api-keys/{made.json()['id']}").status_code == 204
    assert_problem(admin.delete("api-keys/ci"), 404)
    assert [k["name"] for k in admin.get("api-keys?revoked=true").json()["items"]] == ["ci"]
    assert "ci" not in [k["name"] for k in admin.get("api-keys?revoked=false").json()["items"]]


def test_keys_expire(admin):
    soon = (timezone.now() + timedelta(hours=1)).isoformat()
    text = admin.post("api-keys", {"name": "brief", "role": "viewer", "expires_at": soon}).json()["key"]
    assert Api(text).get("targets").status_code == 200
    ApiKey.objects.filter(name="brief").update(expires_at=timezone.now() - timedelta(seconds=1))
    actors.forget()
    assert_problem(Api(text).get("targets"), 401, "invalid_token")


def test_last_use_is_noted_once_a_minute(viewer, django_assert_num_queries):
    viewer.get("providers")
    key = ApiKey.objects.get()
    first = key.last_used_at
    assert timezone.now() - first < timedelta(seconds=10)
    with django_assert_num_queries(0):
        viewer.get("providers")
    actors.forget()
    viewer.get("providers")
    key.refresh_from_db()
    assert key.last_used_at == first
    ApiKey.objects.update(last_used_at=first - timedelta(seconds=61))
    actors.forget()
    viewer.get("providers")
    key.refresh_from_db()
    assert key.last_used_at > first


def test_audit(admin, viewer, stranger):
    admin.post("api-keys", {"name": "ci", "role": "viewer"})
    admin.delete("api-keys/ci")
    entries = viewer.get("audit?actor=key:key-admin").json()["items"]
    assert [entry["action"] for entry in entries] == ["api_key.revoke", "api_key.create"]
    assert entries[0]["previous_hash"] == entries[1]["hash"]
    assert [e["action"] for e in viewer.get("audit?action=api_key.revoke").json()["items"]] == [
        "api_key.revoke"
    ]
    since = AuditEntry.objects.order_by("-sequence")[0].at.isoformat().replace("+00:00", "Z")
    assert len(viewer.get(f"audit?since={since}").json()["items"]) == 1
    page = viewer.get("audit?limit=1&sort=at").json()
    assert len(page["items"]) == 1 and page["next_cursor"]
    assert not [e for e in stranger.get("audit").json()["items"] if e["actor"] == "key:key-admin"]


def test_the_session_is_for_the_dashboard_and_needs_csrf(user):
    browser = Client(enforce_csrf_checks=True, raise_request_exception=False)
    browser.force_login(user)
    assert browser.get("/api/v1/targets").status_code == 200
    body, kind = '{"name": "x", "role": "viewer"}', "application/json"
    assert_problem(browser.post("/api/v1/api-keys", body, content_type=kind), 403, "csrf_failed")
    browser.cookies["csrftoken"] = "a" * 32
    answer = browser.post("/api/v1/api-keys", body, content_type=kind, headers={"X-CSRFToken": "a" * 32})
    assert answer.status_code == 201
    Membership.objects.all().delete()
    assert_problem(browser.get("/api/v1/targets"), 403)


def test_this_installations_own_vectors_take_the_same_callers(viewer, anonymous, user):
    try:
        assert viewer.get("vectors/collections").status_code == 200
    finally:
        database.pool().close()
    assert viewer.post("vectors/collections", {"name": "c", "dimension": 2}).status_code == 403
    assert anonymous.get("vectors/collections").status_code == 401
