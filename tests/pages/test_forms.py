"""Forms: what was typed stays when it is refused, and what is right is done."""

import uuid

import pytest
from django.test import Client

from controlplane.models import ApiKey, Membership
from deployments.models import Plan, Target
from deployments.pages.schema_form import form_fields, spec_from_form
from tests.pages.conftest import PASSWORD
from worker.models import Operation


def test_sign_in_and_out(members):
    client = Client()
    wrong = client.post("/sign-in/", {"username": "the-admin", "password": "no"})
    assert wrong.status_code == 422
    assert b"do not match" in wrong.content
    assert b'value="the-admin"' in wrong.content
    right = client.post("/sign-in/", {"username": "the-admin", "password": PASSWORD, "next": "/targets/"})
    assert right["Location"] == "/targets/"
    assert client.post("/sign-out/")["Location"] == "/sign-in/"
    assert client.get("/").status_code == 302


def test_foreign_next_is_not_followed(members):
    answer = Client().post(
        "/sign-in/", {"username": "the-admin", "password": PASSWORD, "next": "https://elsewhere.example/"}
    )
    assert answer["Location"] == "/"


def test_csrf_failure_is_a_page(members):
    client = Client(enforce_csrf_checks=True)
    client.force_login(members["admin"])
    answer = client.post("/settings/appearance/", {"theme": "dark"})
    assert answer.status_code == 403
    assert b"older than your session" in answer.content


def test_new_target_by_plan_and_apply(signed_in, project):
    client = signed_in("operator")
    data = {
        "name": "Bad Name",
        "provider": "local",
        "role": "primary",
        "region": "local",
        "spec.replicas": "3",
    }
    refused = client.post("/new-target/", data)
    assert refused.status_code == 422
    assert b'value="Bad Name"' in refused.content
    assert b"lower-case letters" in refused.content
    assert not Target.objects.exists()
    made = client.post("/new-target/", data | {"name": "good"})
    plan = Plan.objects.get()
    assert made["Location"] == f"/plans/{plan.pk}/"
    assert plan.spec["replicas"] == 3
    assert b"Apply" in client.get(f"/plans/{plan.pk}/").content
    applied = client.post(f"/plans/{plan.pk}/")
    operation = Operation.objects.get()
    assert applied["Location"] == f"/operations/{operation.pk}/"
    again = client.post(f"/plans/{plan.pk}/")
    assert again.status_code == 422


def test_spec_out_of_range_is_told_at_its_field(signed_in, project):
    answer = signed_in("operator").post(
        "/new-target/", {"name": "a", "provider": "local", "spec.replicas": "99"}
    )
    text = answer.content.decode()
    assert answer.status_code == 422
    assert 'id="field-spec-replicas-error"' in text
    assert 'value="99"' in text


def test_dialog_keeps_its_input(seeded, signed_in):
    answer = signed_in("operator").post(
        "/targets/search/roll-out/",
        {
            "release": "new",
            "image": "x:latest",
            "env_name": ["GREETING"],
            "env_value": ["hello"],
            "note": "why",
        },
        headers={"HX-Request": "true"},
    )
    text = answer.content.decode()
    assert answer.status_code == 422
    assert "<html" not in text
    for kept in ("x:latest", "GREETING", "hello", "why"):
        assert kept in text


def test_destroy_needs_the_name(seeded, signed_in):
    client = signed_in("admin")
    Operation.objects.filter(pk=seeded.running.pk).delete()
    Target.objects.update(deletion_protection=False)
    assert client.post("/targets/search/destroy/", {"confirm": "wrong"}).status_code == 422
    done = client.post("/targets/search/destroy/", {"confirm": "search"}, headers={"HX-Request": "true"})
    assert done.status_code == 204
    assert done["HX-Redirect"].startswith("/operations/op_")


def test_key_is_shown_once(signed_in, project):
    client = signed_in("admin")
    made = client.post("/settings/api-keys/", {"name": "ci", "role": "viewer", "days": "30"})
    key = ApiKey.objects.get()
    assert key.prefix.encode() in made.content
    assert b"not shown again" in made.content
    assert b"not shown again" not in client.get("/settings/api-keys/").content
    client.post(f"/settings/api-keys/{key.pk}/revoke/")
    key.refresh_from_db()
    assert key.revoked_at


def test_last_administrator_stays(signed_in, members, project):
    held = Membership.objects.get(user=members["admin"])
    answer = signed_in("admin").post(f"/settings/members/{held.pk}/", {"role": "viewer"}, follow=True)
    held.refresh_from_db()
    assert held.role == "admin"
    assert b"at least one administrator" in answer.content


def test_theme_is_kept(signed_in, members):
    client = signed_in("viewer")
    client.post("/settings/appearance/", {"theme": "dark"})
    assert b'data-theme="dark"' in client.get("/settings/appearance/").content


SCHEMA = {
    "type": "object",
    "required": ["zone"],
    "properties": {
        "zone": {"type": "string", "title": "Zone"},
        "nodes": {"type": "integer", "minimum": 1, "maximum": 9, "default": 3},
        "tier": {"enum": ["small", "large"], "default": "small"},
        "tls": {"type": "boolean", "default": True},
        "subnets": {"type": "array", "items": {"type": "string"}},
        "pool": {"type": "object", "properties": {"most": {"type": "integer", "default": 5}}},
    },
}


def test_form_of_a_schema():
    fields = {field.name: field for field in form_fields(SCHEMA, {"nodes": 4})}
    assert fields["spec.zone"].required
    assert (fields["spec.nodes"].value, fields["spec.nodes"].help) == (4, "1 to 9.")
    assert fields["spec.tier"].choices == [("small", "small"), ("large", "large")]
    assert fields["spec.pool"].fields[0].name == "spec.pool.most"


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ({"spec.zone": "a", "spec.nodes": "5"}, {"zone": "a", "nodes": 5}),
        ({"spec.zone": "", "spec.nodes": ""}, {"zone": ""}),
        ({"spec.nodes": "many"}, {"nodes": "many"}),
        ({"spec.tls:sent": "1"}, {"tls": False}),
        ({"spec.tls:sent": "1", "spec.tls": "on"}, {"tls": True}),
        ({"spec.subnets": "a, b,"}, {"subnets": ["a", "b"]}),
        ({"spec.pool.most": "7"}, {"pool": {"most": 7}}),
    ],
)
def test_spec_of_a_form(sent, meant):
    assert spec_from_form(SCHEMA, sent) == meant


def test_guessing_a_password_is_slowed_down(client, db):
    user = f"guessed-{uuid.uuid4().hex}"
    answers = [client.post("/sign-in/", {"username": user, "password": "no"}) for _ in range(25)]
    assert answers[0].status_code == 422
    # The window may turn over once in between, which starts the count anew.
    limited = [answer for answer in answers if answer.status_code == 429]
    assert limited
    assert b"Too many tries" in limited[0].content
