"""Idempotency-Key: once, alike, and safe against crashes and concurrency."""

import threading
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.utils import timezone

from controlplane.api.idempotency import forget_old_answers
from controlplane.models import ApiKey, RememberedAnswer
from deployments import services
from deployments.models import Release
from tests.api.conftest import Api, assert_problem

BODY = {"image": "aindusdb/api:1.0", "note": "first"}


@pytest.mark.django_db
def test_the_same_request_is_carried_out_once(admin):
    body = {"name": "ci", "role": "viewer"}
    first = admin.post("api-keys", body, Idempotency_Key="k1")
    again = admin.post("api-keys", {"role": "viewer", "name": "ci"}, Idempotency_Key="k1")
    assert first.status_code == again.status_code == 201
    assert first.json() == again.json()
    assert again["Location"] == first["Location"]
    assert again["Idempotent-Replayed"] == "true" and "Idempotent-Replayed" not in first
    assert ApiKey.objects.filter(name="ci").count() == 1


@pytest.mark.django_db
def test_a_secret_in_an_answer_is_not_kept_in_the_clear(admin):
    key = admin.post("api-keys", {"name": "ci", "role": "viewer"}, Idempotency_Key="k1").json()["key"]
    kept = RememberedAnswer.objects.get()
    assert key.encode() not in bytes(kept.body)


@pytest.mark.django_db
def test_another_request_with_the_key_is_refused(operator, viewer):
    assert operator.post("releases", BODY, Idempotency_Key="k1").status_code == 201
    changed = operator.post("releases", BODY | {"note": "second"}, Idempotency_Key="k1")
    assert_problem(changed, 409, "idempotency_key_reused")
    other_path = operator.post(
        "targets?plan_only=true", {"name": "a", "provider": "local"}, Idempotency_Key="k1"
    )
    assert_problem(other_path, 409, "idempotency_key_reused")


@pytest.mark.django_db
def test_keys_are_each_actors_own(operator, admin):
    assert operator.post("releases", BODY, Idempotency_Key="k1").status_code == 201
    other = admin.post("releases", BODY | {"note": "other"}, Idempotency_Key="k1")
    assert other.status_code == 201 and "Idempotent-Replayed" not in other


@pytest.mark.django_db
def test_an_answer_that_changed_nothing_is_not_remembered(operator):
    wrong = {"image": "aindusdb/api:latest"}
    assert_problem(operator.post("releases", wrong, Idempotency_Key="k1"), 422, field="image")
    assert operator.post("releases", BODY, Idempotency_Key="k1").status_code == 201


@pytest.mark.django_db
@pytest.mark.parametrize("key", ["", "x" * 201, "a\tb"])
def test_keys_that_are_none(operator, key):
    assert_problem(operator.post("releases", BODY, Idempotency_Key=key), 422, field="Idempotency-Key")


@pytest.mark.django_db
def test_a_failure_in_the_middle_leaves_nothing(operator, monkeypatch):
    made = services.release_create

    def fails_after(**values):
        made(**values)
        raise RuntimeError("killed")

    monkeypatch.setattr(services, "release_create", fails_after)
    assert_problem(operator.post("releases", BODY, Idempotency_Key="k1"), 500)
    assert not Release.objects.exists() and not RememberedAnswer.objects.exists()
    monkeypatch.undo()
    assert operator.post("releases", BODY, Idempotency_Key="k1").status_code == 201


@pytest.mark.django_db
def test_old_answers_are_forgotten(operator):
    operator.post("releases", BODY, Idempotency_Key="k1")
    assert forget_old_answers() == 0
    RememberedAnswer.objects.update(created_at=timezone.now() - timedelta(hours=25))
    fresh = operator.post("releases", BODY | {"note": "later"}, Idempotency_Key="k1")
    assert fresh.status_code == 201 and "Idempotent-Replayed" not in fresh
    RememberedAnswer.objects.update(created_at=timezone.now() - timedelta(hours=25))
    assert forget_old_answers() == 1


@pytest.mark.django_db(transaction=True)
def test_many_at_once_make_one(key_of):
    token = key_of("operator")
    gate = threading.Barrier(8)
    answers = []

    def send():
        try:
            gate.wait()
            answers.append(Api(token).post("releases", BODY, Idempotency_Key="k1"))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Release.objects.count() == 1
    done = [answer for answer in answers if answer.status_code == 201]
    assert done and len({answer.content for answer in done}) == 1
    for answer in answers:
        if answer.status_code != 201:
            assert_problem(answer, 409, "idempotency_key_in_flight")
            assert answer["Retry-After"] == "1"


@pytest.mark.django_db(transaction=True)
def test_while_the_first_runs_the_second_is_told_so(key_of, monkeypatch):
    token = key_of("operator")
    inside, go_on = threading.Event(), threading.Event()
    made = services.release_create

    def slow(**values):
        inside.set()
        assert go_on.wait(10)
        return made(**values)

    monkeypatch.setattr(services, "release_create", slow)
    answers = []

    def send():
        answers.append(Api(token).post("releases", BODY, Idempotency_Key="k1"))
        connection.close()

    thread = threading.Thread(target=send)
    thread.start()
    assert inside.wait(10)
    answer = Api(token).post("releases", BODY, Idempotency_Key="k1")
    assert_problem(answer, 409, "idempotency_key_in_flight")
    assert answer["Retry-After"] == "1"
    go_on.set()
    thread.join()
    assert answers[0].status_code == 201
    assert Api(token).post("releases", BODY, Idempotency_Key="k1")["Idempotent-Replayed"] == "true"
