"""A target in a cluster as people meet it: account, plan, pages, REST, and manage.py render."""

import io
import json

import pytest
import yaml
from django.core.management import CommandError, call_command

from deployments.models import Account, AccountStatus, Plan, Target
from tests.api.conftest import admin, assert_problem, key_of, nobody_remembered, operator, viewer  # noqa: F401
from tests.kubernetes.shapes import SECRETS
from tests.kubernetes.test_access import kubeconfig
from tests.pages.conftest import members, project, signed_in  # noqa: F401
from worker import engine
from worker.models import Operation
from worker.services import operation_cancel

pytestmark = pytest.mark.django_db

URL = "postgresql://search:very-secret-word@10.0.0.7:5432/search"


def account(admin, cluster, name="berlin") -> dict:  # noqa: F811
    body = {"name": name, "provider": "kubernetes", "credentials": {"kubeconfig": cluster.kubeconfig()}}
    answer = admin.post("accounts", body)
    assert answer.status_code == 201, answer.content
    return json.loads(answer.content)


def test_an_account_is_kept_checked_and_never_shown(cluster, admin, operator, viewer):  # noqa: F811
    made = account(admin, cluster)
    assert made["status"] == "unchecked"
    assert made["details"]["server"] == cluster.server
    stored = Account.objects.get(pk=made["id"])
    assert stored.credentials["token"] == cluster.token
    checked = json.loads(operator.post("accounts/berlin/check").content)
    assert checked["status"] == "working"
    assert checked["checked_at"]
    for answer in (viewer.get("accounts"), viewer.get("accounts/berlin"), viewer.get("audit")):
        assert answer.status_code == 200
        assert cluster.token not in answer.content.decode()
        assert "BEGIN CERT" not in answer.content.decode()
    assert_problem(admin.post("accounts", {**made, "credentials": {}}), 422)
    body = {"name": "berlin", "provider": "kubernetes", "credentials": {"kubeconfig": cluster.kubeconfig()}}
    assert_problem(admin.post("accounts", body), 409, "name_taken")
    refused = {
        **body,
        "name": "x",
        "credentials": {"kubeconfig": kubeconfig(user={"exec": {"command": "a"}})},
    }
    told = assert_problem(admin.post("accounts", refused), 422, field="credentials")
    assert "`exec` of the user is refused" in told["detail"]
    assert_problem(admin.post("accounts", {**body, "name": "y", "provider": "local"}), 422)
    wrong = kubeconfig(cluster={"server": cluster.server, "certificate-authority-data": None})
    changed = admin.patch("accounts/berlin", {"name": "munich", "credentials": {"kubeconfig": wrong}})
    assert json.loads(changed.content)["status"] == "unchecked"
    failing = json.loads(operator.post("accounts/munich/check").content)
    assert failing["status"] == AccountStatus.FAILING
    assert failing["problems"][0]["code"] == "certificate_refused"
    assert failing["problems"][0]["remedy"]
    assert admin.delete("accounts/munich").status_code == 204
    assert_problem(viewer.get("accounts/munich"), 404)


@pytest.mark.django_db(transaction=True)
def test_a_plan_shows_every_object_and_no_secret(cluster, admin, operator):  # noqa: F811
    spec = {"namespace": "planned", "database": {"mode": "external", "url": URL}, "redis": {"mode": "none"}}
    body = {"name": "search", "provider": "kubernetes", "spec": spec}
    assert_problem(operator.post("targets?plan_only=true", body), 422, "account_missing", "account")
    account(admin, cluster)
    answer = operator.post("targets?plan_only=true", body)
    assert answer.status_code == 201, answer.content
    assert "very-secret-word" not in answer.content.decode()
    told = json.loads(answer.content)
    assert told["target"]["account"]["name"] == "berlin"
    assert "url" not in told["target"]["spec"]["database"]
    kinds = {(one["action"], one["kind"], one["name"]) for one in told["plan"]["changes"]}
    assert ("create", "Namespace", "planned") in kinds
    assert ("create", "Deployment", "aindusdb-api") in kinds
    assert ("create", "VirtualService", "aindusdb-api") in kinds, "the cluster has Istio"
    assert not any(one[1] == "StatefulSet" for one in kinds)
    assert not [one for one in told["plan"]["preflight"] if one["severity"] == "error"]
    plan = Plan.objects.get(pk=told["plan"]["id"])
    assert plan.secrets == {"database_url": URL}
    assert URL not in json.dumps([plan.spec, plan.changes, plan.problems])
    applied = operator.post(f"plans/{plan.pk}/apply")
    assert applied.status_code == 202, applied.content
    target = Target.objects.get()
    assert target.secrets == {"database_url": URL}
    # Cancelled before it served: what was made is forgotten, what was given is not.
    held = Operation.objects.get(pk=json.loads(applied.content)["id"])
    operation_cancel(operation=held, requested_by="test")
    engine.drain(held.subject, seconds=20)
    target.refresh_from_db()
    assert (target.status, target.secrets) == ("pending", {"database_url": URL})
    lacking = {**body, "name": "other", "spec": {**spec, "database": {"mode": "external"}}}
    told = json.loads(operator.post("targets?plan_only=true", lacking).content)
    assert "url_missing" in [one["code"] for one in told["plan"]["preflight"]]
    assert_problem(admin.delete("accounts/berlin"), 409, "account_used")


def test_render_prints_what_would_be_applied(cluster, admin, operator):  # noqa: F811
    account(admin, cluster)
    spec = {"namespace": "rendered", "database": {"mode": "in_cluster"}}
    operator.post("targets?plan_only=true", {"name": "search", "provider": "kubernetes", "spec": spec})

    def rendered(*options) -> tuple[str, list[dict]]:
        out = io.StringIO()
        call_command("render", "--target", "search", *options, stdout=out)
        return out.getvalue(), list(yaml.safe_load_all(out.getvalue()))

    text, documents = rendered()
    kinds = [one["kind"] for one in documents]
    assert kinds[0] == "Namespace"
    assert kinds.count("Namespace") == 1
    assert {"StatefulSet", "Deployment", "NetworkPolicy", "HorizontalPodAutoscaler"} <= set(kinds)
    secrets = [one for one in documents if one["kind"] == "Secret"]
    assert secrets
    assert {value for one in secrets for value in one["data"].values()} == {"***"}
    again, _ = rendered()
    assert text == again
    with pytest.raises(CommandError, match="no secrets yet"):
        rendered("--with-secrets")
    target = Target.objects.get()
    target.secrets = SECRETS
    target.save()
    _, whole = rendered("--with-secrets")
    assert all(value != "***" for one in whole if one["kind"] == "Secret" for value in one["data"].values())
    with pytest.raises(CommandError, match="no target"):
        call_command("render", "--target", "nothing")


def test_the_pages_of_accounts(cluster, project, signed_in):  # noqa: F811
    ada, vera = signed_in("admin"), signed_in("viewer")
    empty = ada.get("/accounts/").content.decode()
    assert "No account yet" in empty
    form = ada.get("/accounts/new/").content.decode()
    assert "credentials.kubeconfig" in form
    sent = {"name": "berlin", "provider": "kubernetes", "credentials.kubeconfig": "kind: Pod"}
    refused = ada.post("/accounts/new/", sent)
    assert refused.status_code == 422
    assert "This is not a kubeconfig" in refused.content.decode()
    assert "kind: Pod" not in refused.content.decode()
    made = ada.post("/accounts/new/", {**sent, "credentials.kubeconfig": cluster.kubeconfig()}, follow=True)
    text = made.content.decode()
    assert "It works." in text
    assert cluster.server in text
    assert cluster.token not in text
    held = Account.objects.get(name="berlin")
    assert "berlin" in vera.get("/accounts/").content.decode()
    assert vera.get(f"/accounts/{held.pk}/").status_code == 200
    assert vera.get("/accounts/new/").status_code == 403
    assert vera.post(f"/accounts/{held.pk}/check/").status_code == 403
    renamed = ada.post(f"/accounts/{held.pk}/change/", {"name": "munich"}, follow=True)
    assert "munich is changed. It works." in renamed.content.decode()
    held.refresh_from_db()
    assert held.credentials["token"] == cluster.token
    page = ada.get("/new-target/?provider=kubernetes").content.decode()
    assert "munich (works)" in page
    assert 'type="password" id="field-spec-database-url"' in page
    assert "spec.database.url" in page.partition('hx-params="')[2].partition('"')[0]
    summary = ada.get("/new-target/summary/?provider=kubernetes&name=x&account=munich")
    assert "StatefulSet" in summary.content.decode()
    planned = ada.post(
        "/new-target/",
        {"name": "search", "provider": "kubernetes", "account": "munich", "spec.namespace": "paged"},
        follow=True,
    )
    assert "aindusdb-api" in planned.content.decode()
    assert Target.objects.get(name="search").account == held
    assert ada.get(f"/accounts/{held.pk}/delete/").status_code == 200
    kept = ada.post(f"/accounts/{held.pk}/delete/", follow=True).content.decode()
    assert "is used by search" in kept
    Target.objects.all().delete()
    gone = ada.post(f"/accounts/{held.pk}/delete/", follow=True).content.decode()
    assert "munich is deleted" in gone
