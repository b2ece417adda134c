"""The page of a canary: its steps, its gates' readings, and what people may do to it."""

import pytest
from django.conf import settings
from django.utils import timezone

from deployments.models import Analysis, Release, Rollout
from tests.pages.conftest import make_operation, make_target

pytestmark = pytest.mark.django_db

READING = {"gate": "p95_ratio", "verdict": "failed", "value": 2.5, "limit": 1.5, "stable": 1.0}


@pytest.fixture
def canary(project):
    target = make_target(project, "search", port=9100)
    release = Release.objects.create(
        project=project, number=2, image="aindusdb/api:2", digest="e" * 64, created_by="user:ada"
    )
    operation = make_operation(target, "target.rollout", status="waiting")
    rollout = Rollout.objects.create(
        target=target,
        release=release,
        previous=target.release,
        strategy="canary",
        steps=[{"weight": 10, "pause_seconds": 60}, {"weight": 50, "pause_seconds": None}],
        gates={"p95_ratio": 1.5, "min_requests": 30, "readiness": True},
        step=1,
        step_since=timezone.now(),
        weight=50,
        hold="somebody to promote it beyond 50 %",
        operation=operation.pk,
        created_by="user:ada",
    )
    for verdict in ("passed", "failed"):
        Analysis.objects.create(
            rollout=rollout,
            at=timezone.now(),
            step=1,
            weight=50,
            verdict=verdict,
            readings=[
                READING | {"requests": 40, "text": f"p95 is {verdict}.", "detail": {}, "verdict": verdict}
            ],
        )
    return rollout


def test_a_canary_is_shown(canary, signed_in):
    text = signed_in("viewer").get(f"/rollouts/{canary.pk}/").content.decode()
    for words in (
        "somebody to promote it beyond 50 %",
        "p95 against stable",
        "2.50 x",
        "at most 1.50 x",
        "p95 is failed.",
        "until promoted",
        'aria-current="step"',
        "All readings",
    ):
        assert words in text, words
    assert "Promote fully" not in text, "a viewer only looks"


def test_a_canary_is_controlled(canary, signed_in):
    operator = signed_in("operator")
    page = f"/rollouts/{canary.pk}/"
    text = operator.get(page).content.decode()
    assert all(words in text for words in ("Pause", "Promote fully", "Abort"))
    assert signed_in("viewer").post(f"{page}abort/").status_code == 403
    for verb, state in (
        ("pause", {"paused": True}),
        ("resume", {"paused": False}),
        ("promote", {"command": "promote"}),
    ):
        answer = operator.post(f"{page}{verb}/", follow=True)
        assert answer.redirect_chain == [(page, 302)]
        assert Rollout.objects.filter(pk=canary.pk, **state).exists(), verb
    operator.post(f"{page}promote/", {"full": "1"})
    assert Rollout.objects.filter(pk=canary.pk, command="full").exists()
    operator.post(f"{page}abort/")
    text = operator.post(f"{page}promote/", follow=True).content.decode()
    assert "is going back, which nothing stops" in text
    assert "Aborting" in text
    assert operator.get(f"{page}abort/").status_code == 405


def test_a_canary_is_asked_for(project, signed_in):
    target = make_target(project, "search", port=9100)
    operator = signed_in("operator")
    page = "/targets/search/roll-out/"
    text = operator.get(page).content.decode()
    assert 'value="10, 25, 50, 100"' in text and "p95, at most times stable" in text
    form = {"release": "new", "image": settings.API_IMAGE, "env_name": "A", "env_value": "1"}
    form |= {"strategy": "canary", "weights": "20, 60 %", "pause_seconds": "30", "min_requests": "50"}
    form |= {"error_percent": "0.5", "p95_ratio": "fast", "recall_drop": "0,01", "inconclusive": "abort"}
    refused = operator.post(page, form)
    assert refused.status_code == 422
    text = refused.content.decode()
    assert "is not of type" in text and 'value="20, 60 %"' in text, "what was typed is kept"
    assert "each a weight of 1 to 100" in operator.post(page, form | {"weights": "ten"}).content.decode()
    answer = operator.post(page, form | {"p95_ratio": "1.3"})
    assert answer.status_code == 302, answer.content
    made = Rollout.objects.get(target=target)
    assert made.steps == [{"weight": 20, "pause_seconds": 30}, {"weight": 60, "pause_seconds": 30}]
    assert made.gates == {
        "error_rate": 0.005,
        "p95_ratio": 1.3,
        "recall": {"max_drop": 0.01, "queries": 20, "k": 10},
        "min_requests": 50,
        "inconclusive": "abort",
        "readiness": True,
    }
    text = operator.get(f"/rollouts/{made.pk}/").content.decode()
    assert "Nothing was read yet" in text
