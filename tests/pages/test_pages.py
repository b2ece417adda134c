"""Every page by every role: it renders, in few queries, or says why not."""

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.pages.conftest import make_operation, make_target

ALL, OPERATORS, ADMINS = ("viewer", "operator", "admin"), ("operator", "admin"), ("admin",)
# address -> who sees it
PAGES = {
    "/": ALL,
    "/targets/": ALL,
    "/targets/?q=none&sort=-created&status=ready": ALL,
    "/targets/search/": ALL,
    "/targets/search/status/": ALL,
    "/targets/search/operations/": ALL,
    "/targets/search/rollouts/": ALL,
    "/targets/search/health/?replicas=1&range=7d": ALL,
    "/targets/search/logs/?q=x&level=ERROR": ALL,
    "/targets/search/metrics/?range=30d": ALL,
    "/targets/search/data/": ALL,
    "/targets/search/drift/": ALL,
    "/targets/search/drift/?show=resolved": ALL,
    "/targets/search/drift/{finding}/revert/": OPERATORS,
    "/targets/search/drift/{finding}/adopt/": OPERATORS,
    "/targets/search/drift/{finding}/ignore/": OPERATORS,
    "/targets/search/drift-decisions/{decision}/undo/": OPERATORS,
    "/targets/search/backups/?deleted=1&sort=-status": ALL,
    "/targets/search/backups/{backup}/": ALL,
    "/targets/search/backups/{backup}/restore/": OPERATORS,
    "/targets/search/backups/{backup}/delete/": ADMINS,
    "/targets/search/restores/{restore}/confirm/": ADMINS,
    "/targets/search/restores/{restore}/undo/": ADMINS,
    "/targets/search/back-up/": OPERATORS,
    "/targets/search/backup-schedule/": ALL,
    "/targets/search/infrastructure/": ALL,
    "/targets/search/settings/": ALL,
    "/targets/search/change/": OPERATORS,
    "/targets/search/roll-out/": OPERATORS,
    "/targets/search/roll-back/": OPERATORS,
    "/targets/search/scale/": OPERATORS,
    "/targets/search/restart/": OPERATORS,
    "/targets/search/rotate/": OPERATORS,
    "/targets/search/destroy/": ADMINS,
    "/targets/search/new-collection/": OPERATORS,
    "/new-target/": OPERATORS,
    "/new-target/summary/?name=x&spec.replicas=99": OPERATORS,
    "/operations/": ALL,
    "/operations/?status=failed&kind=target.rollout&q=search": ALL,
    "/operations/running/": ALL,
    "/operations/{failed}/": ALL,
    "/operations/{running}/": ALL,
    "/rollouts/{rollout}/": ALL,
    "/plans/{plan}/": ALL,
    "/fleets/?q=sea&sort=-created": ALL,
    "/fleets/?q=nothing": ALL,
    "/fleets/world/": ALL,
    "/fleets/world/edit/": OPERATORS,
    "/fleets/world/roll-out/": OPERATORS,
    "/fleets/world/delete/": OPERATORS,
    "/new-fleet/": OPERATORS,
    "/fleet-rollouts/{fleet_rollout}/": ALL,
    "/palette/?q=se": ALL,
    "/costs/": ALL,
    "/costs/?range=year&by=service&cost=list&cloud=AWS&currency=EUR": ALL,
    "/costs/sources/": ALL,
    "/costs/sources/new/?kind=blob": ADMINS,
    "/costs/imports/": ALL,
    "/costs/exchange-rates/": ALL,
    "/costs/estimates/?cloud=aws&region=us-east-1&preset=source": ALL,
    "/costs/estimates/kept/": ALL,
    "/costs/prices/?q=m6g": ALL,
    "/costs/budgets/": ALL,
    "/costs/budgets/new/": OPERATORS,
    "/costs/alert-channels/": OPERATORS,
    "/costs/recommendations/?status=dismissed": ALL,
    "/costs/units/?by=collection&days=90": ALL,
    "/settings/appearance/": ALL,
    "/settings/members/": ADMINS,
    "/settings/members/new/": ADMINS,
    "/settings/api-keys/": ADMINS,
}
DAY_TWO = ("backup", "restore", "finding", "decision")
MOST_QUERIES = 24
INLINE = re.compile(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)|\sstyle=|\son[a-z]+=", re.I)


def address(path: str, seeded) -> str:
    names = {
        name: getattr(seeded, name).pk
        for name in ("failed", "running", "rollout", "plan", "fleet_rollout", *DAY_TWO)
        if f"{{{name}}}" in path
    }
    return path.format(**names)


@pytest.mark.parametrize("role", ALL)
@pytest.mark.parametrize("path", PAGES)
def test_page_by_role(path, role, seeded, signed_in):
    client = signed_in(role)
    with CaptureQueriesContext(connection) as queries:
        answer = client.get(address(path, seeded))
    assert answer.status_code == (200 if role in PAGES[path] else 403), answer.content[-600:]
    text = answer.content.decode()
    assert not INLINE.search(text), INLINE.search(text)
    assert len(queries) <= MOST_QUERIES, "\n".join(query["sql"][:160] for query in queries)
    assert "https://" not in text.replace("https://www.w3.org", "")
    if answer.status_code == 200 and "<html" in text:
        assert "default-src 'none'" in answer["Content-Security-Policy"]
        assert answer["Cache-Control"] == "no-store"


def test_needs_sign_in(client, seeded):
    for path in PAGES:
        answer = client.get(address(path, seeded))
        assert answer.status_code == 302
        assert answer["Location"].startswith("/sign-in/?next=")


POSTS = {
    "/targets/search/roll-out/": OPERATORS,
    "/targets/search/roll-back/": OPERATORS,
    "/targets/search/scale/": OPERATORS,
    "/targets/search/restart/": OPERATORS,
    "/targets/search/destroy/": ADMINS,
    "/targets/search/settings/": OPERATORS,
    "/targets/search/back-up/": OPERATORS,
    "/targets/search/backup-schedule/": OPERATORS,
    "/targets/search/backups/{backup}/restore/": OPERATORS,
    "/targets/search/backups/{backup}/delete/": ADMINS,
    "/targets/search/restores/{restore}/undo/": ADMINS,
    "/targets/search/drift/{finding}/ignore/": OPERATORS,
    "/targets/search/drift-decisions/{decision}/undo/": OPERATORS,
    "/operations/{running}/cancel/": OPERATORS,
    "/operations/{failed}/retry/": OPERATORS,
    "/plans/{plan}/": OPERATORS,
    "/new-target/": OPERATORS,
    "/new-fleet/": OPERATORS,
    "/fleets/world/edit/": OPERATORS,
    "/fleets/world/roll-out/": OPERATORS,
    "/fleets/world/delete/": OPERATORS,
    "/fleet-rollouts/{fleet_rollout}/abort/": OPERATORS,
    "/fleet-rollouts/{fleet_rollout}/pause/": OPERATORS,
    "/fleet-rollouts/{fleet_rollout}/resume/": OPERATORS,
    "/costs/exchange-rates/": OPERATORS,
    "/costs/sources/new/": ADMINS,
    "/costs/estimates/": OPERATORS,
    "/costs/prices/": OPERATORS,
    "/costs/prices/nodes/": OPERATORS,
    "/costs/budgets/new/": OPERATORS,
    "/costs/alert-channels/": ADMINS,
    "/costs/recommendations/": OPERATORS,
    "/settings/members/new/": ADMINS,
    "/settings/api-keys/": ADMINS,
}


@pytest.mark.parametrize("role", ALL)
@pytest.mark.parametrize("path", POSTS)
def test_post_by_role(path, role, seeded, signed_in):
    answer = signed_in(role).post(address(path, seeded))
    assert (answer.status_code == 403) == (role not in POSTS[path])


def test_buttons_follow_the_role(seeded, signed_in):
    texts = {role: signed_in(role).get("/targets/search/").content.decode() for role in ALL}
    assert "roll-out/" not in texts["viewer"]
    assert "destroy/" not in texts["viewer"]
    assert "roll-out/" in texts["operator"]
    assert "destroy/" not in texts["operator"]
    assert "destroy/" in texts["admin"]


def test_protection_is_for_administrators(seeded, signed_in):
    answer = signed_in("operator").post("/targets/search/settings/", {"protection": "off"})
    assert answer.status_code == 403
    seeded.target.refresh_from_db()
    assert seeded.target.deletion_protection
    assert signed_in("admin").post("/targets/search/settings/", {"protection": "off"}).status_code == 302
    seeded.target.refresh_from_db()
    assert not seeded.target.deletion_protection


@pytest.mark.parametrize("path", ["/", "/targets/", "/operations/"])
def test_queries_do_not_grow(path, project, seeded, signed_in):
    client = signed_in("viewer")
    client.get(path)
    with CaptureQueriesContext(connection) as few:
        client.get(path)
    for number in range(12):
        target = make_target(project, f"more-{number}", port=9200 + 10 * number)
        make_operation(target, status="waiting")
    with CaptureQueriesContext(connection) as many:
        client.get(path)
    assert len(many) <= len(few) + 1


def test_another_projects_things_are_not_found(seeded, members, client):
    from controlplane.models import Membership, Project, User

    other = User.objects.create_user(username="other", password="correct-horse-7")
    Membership.objects.create(user=other, project=Project.objects.create(name="other"), role="admin")
    client.force_login(other)
    for path in ("/targets/search/", f"/operations/{seeded.failed.pk}/", f"/plans/{seeded.plan.pk}/"):
        assert client.get(path).status_code == 404
    assert client.get(f"/operations/{seeded.failed.pk}/stream/").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/targets/nope/",
        "/operations/op_nope/",
        "/rollouts/x/",
        "/fleets/nope/",
        "/fleet-rollouts/frl_1/",
        "/plans/pln_1/",
        "/targets/tgt_1/",
        "/nowhere",
    ],
)
def test_unknown_addresses(path, seeded, signed_in):
    answer = signed_in("viewer").get(path)
    assert answer.status_code == 404
    assert answer["X-Request-Id"] in answer.content.decode()


def test_member_of_nothing_is_told(client, db):
    from controlplane.models import User

    client.force_login(User.objects.create_user(username="nobody", password="correct-horse-7"))
    answer = client.get("/")
    assert answer.status_code == 403
    assert b"member of no project" in answer.content


def test_empty_project_offers_the_first_step(signed_in):
    for path in ("/", "/targets/", "/operations/"):
        text = signed_in("operator").get(path).content.decode()
        assert "/new-target/" in text
        assert "yet" in text
