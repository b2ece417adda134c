"""Use cases that run at the same moment wait for each other and never deadlock."""

import threading

import pytest
from django.db import connections

from controlplane.models import Project
from controlplane.services import api_key_create
from deployments.services import release_create, target_create

pytestmark = pytest.mark.django_db(transaction=True)


def test_keys_releases_and_targets_are_made_side_by_side():
    project = Project.objects.create(name="busy")
    failures = []

    def work(make):
        try:
            for turn in range(15):
                make(turn)
        except Exception as error:
            failures.append(error)
        finally:
            connections.close_all()

    def key(turn):
        name = f"{threading.get_ident()}-{turn}"
        api_key_create(project=project, name=name, role="viewer", created_by="test")

    def release(turn):
        env = {"TURN": f"{threading.get_ident()}-{turn}"}
        release_create(project=project, config={"env": env}, created_by="test")

    def target(turn):
        name = f"t-{threading.get_ident()}-{turn}"
        target_create(project=project, name=name, provider="local", plan_only=True, created_by="test")

    threads = [threading.Thread(target=work, args=[make]) for make in (key, release, target) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
