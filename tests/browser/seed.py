"""Realistic content for a running installation: real targets, rollouts and data, and a past to look at.

`python -m tests.browser.seed` asks the services of the installation that AINDUS_DATA_DIR names, waits
for its worker, and prints as JSON the names of what it made. The past (metrics, health) is written as
rows, because nobody waits a month for a picture.
"""

import json
import math
import os
import random
import sys
import time
from contextlib import suppress

DIMENSION = 64
SUBJECTS = [
    "invoice",
    "password",
    "export",
    "webhook",
    "index",
    "backup",
    "region",
    "replica",
    "quota",
    "token",
]
VERBS = ["resetting", "creating", "downloading", "moving", "scheduling", "restoring", "deleting", "sharing"]
PLACES = ["on the web", "with the API", "for a team", "after an upgrade", "behind a proxy", "in a pipeline"]
SECTIONS = ["billing", "account", "data", "network", "api"]
MOST_WAIT_SECONDS = 90


def main(history: bool = True) -> dict:
    """Make everything; the facts that `crawl.pages` and the tests need."""
    from controlplane.members import member_add
    from controlplane.models import Project, Role, User
    from controlplane.services import api_key_create
    from deployments.models import Target

    project = Project.objects.get()
    who = f"user:{User.objects.first().username}"
    for name, role in (("ada", Role.ADMIN), ("grace", Role.OPERATOR), ("vera", Role.VIEWER)):
        if not User.objects.filter(username=name).exists():
            member_add(project=project, username=name, role=role, password="correct-horse-7", added_by=who)
    for name, role in (("ci-deploy", "operator"), ("search-service", "viewer")):
        api_key_create(project=project, name=name, role=role, created_by=who)
    main_target = _target(project, "docs-search", 2, "user:ada", role="primary")
    second = _target(project, "catalog", 1, "user:grace", role="secondary")
    wait_all()
    for target in Target.objects.all():
        if target.status != "ready":
            raise RuntimeError(f"{target.name} is {target.status}: {target.status_reason}")
    facts = {"target": main_target.name, "second": second.name, "collection": "articles"}
    facts |= _data(main_target, history)
    facts |= _backups(main_target)
    facts |= _rollouts(main_target, second)
    facts |= _pending(project)
    facts |= _fleet(project)
    if history:
        from tests.browser.history import write_history

        for target, incidents in ((main_target, 1), (second, 3)):
            write_history(Target.objects.get(pk=target.pk), incidents)
        for target in Target.objects.filter(name="local"):
            write_history(target, 0)
        from tests.browser.bills import write_bills

        facts |= write_bills(project, main_target, second)
    return facts


def _target(project, name: str, replicas: int, by: str, role: str):
    from deployments.services import target_create

    target, _, _ = target_create(
        project=project,
        name=name,
        provider="local",
        region="local",
        role=role,
        spec={"replicas": replicas},
        created_by=by,
    )
    return target


def wait_all(seconds: float = MOST_WAIT_SECONDS) -> None:
    """Until the worker has finished every operation."""
    from worker.models import Operation

    deadline = time.monotonic() + seconds
    while Operation.objects.unfinished().exists():
        if time.monotonic() > deadline:
            raise TimeoutError(list(Operation.objects.unfinished().values("kind", "step", "waiting_for")))
        time.sleep(0.2)


def embedding(text: str) -> list[float]:
    """Words as directions: texts that share words lie near each other."""
    vector = [0.0] * DIMENSION
    for word in text.lower().split():
        picked = random.Random(word)
        for _ in range(6):
            vector[picked.randrange(DIMENSION)] += picked.uniform(-1, 1)
    length = math.sqrt(sum(value * value for value in vector)) or 1.0
    return [round(value / length, 6) for value in vector]


def articles() -> list[dict]:
    """480 short help articles with metadata."""
    found = []
    for number, subject in enumerate(SUBJECTS):
        for verb in VERBS:
            for place in PLACES:
                text = f"{verb.capitalize()} an {subject} {place}: what to check first and how to undo it"
                found.append(
                    {
                        "id": f"{subject}-{verb}-{place.split()[-1]}",
                        "vector": embedding(text),
                        "content": text,
                        "metadata": {
                            "section": SECTIONS[number % len(SECTIONS)],
                            "language": "en",
                            "revision": len(found) % 7 + 1,
                            "length": len(text),
                        },
                    }
                )
    return found


def _data(target, history: bool) -> dict:
    from deployments.target_api import TargetApi
    from tests.browser.history import write_recall

    target.refresh_from_db()
    api = TargetApi(target, subject="user:ada")
    fields = [{"name": "section", "type": "keyword"}, {"name": "revision", "type": "number"}]
    for name, metric in (("articles", "cosine"), ("tickets", "cosine"), ("thumbnails", "l2")):
        declared = {"fields": fields, "text": {"language": "english"}} if name == "articles" else {}
        api.collection_create({"name": name, "dimension": DIMENSION, "metric": metric, **declared})
    points = articles()
    for at in range(0, len(points), 160):
        api.call("POST", "collections/articles/points", {"points": points[at : at + 160]})
    tickets = [{**point, "content": None} for point in points[:120]]
    api.call("POST", "collections/tickets/points", {"points": tickets, "namespace": "2026"})
    api.call("POST", "collections/articles/points", {"points": points[:40], "namespace": "drafts"})
    api.call("PUT", "aliases/articles-live", {"collection": "articles"})
    if history:
        # Before the build, after which the target may measure by itself.
        write_recall(target, "articles")
    _wait_for_job(api, api.index_build("articles", {"type": "hnsw"}))
    _measure_recall(api, "articles")
    for point in points[:30]:
        api.query("articles", {"id": point["id"], "top_k": 5})
    return {"point": points[0]["id"], "import": _import(target, api, points)}


def _import(target, api, points: list[dict]) -> str:
    """An import with two lines that are wrong, as the dashboard starts it; its operation's id."""
    from deployments.collection_jobs import collection_job_start

    wrong = {6: {"vector": [0.1]}, 93: {"id": ""}}
    lines = [json.dumps(point | wrong.get(number, {})) for number, point in enumerate(points[:200])]
    data = "\n".join(lines).encode()
    upload = api.call("POST", "collections/articles/uploads", {"size_bytes": len(data)})
    api.call("PUT", f"uploads/{upload['id']}", data, offset=0)
    body = {"upload": upload["id"], "format": "ndjson", "on_error": "skip"}
    operation = collection_job_start(
        target=target, collection="articles", job="points.import", body=body, requested_by="user:grace"
    )
    return operation.pk


def _wait_for_job(api, job: dict) -> None:
    deadline = time.monotonic() + MOST_WAIT_SECONDS
    while job["state"] in ("queued", "running"):
        if time.monotonic() > deadline:
            raise TimeoutError(job)
        time.sleep(0.2)
        job = api.call("GET", f"jobs/{job['id']}")
    if job["state"] != "succeeded":
        raise RuntimeError(job)


def _measure_recall(api, collection: str) -> None:
    """A first measurement; the target may have begun one by itself after the build."""
    from controlplane.errors import ConflictError

    with suppress(ConflictError):
        api.call("POST", f"collections/{collection}/recall", {"queries": 50})
    deadline = time.monotonic() + MOST_WAIT_SECONDS
    while not api.call("GET", f"collections/{collection}/recall", limit=1)["items"]:
        if time.monotonic() > deadline:
            raise TimeoutError(api.call("GET", "jobs"))
        time.sleep(0.2)


def _backups(target) -> dict:
    """A backup that is being made while the rest is seeded, and a schedule."""
    from deployments.backups.services import backup_start, schedule_set

    backup, _ = backup_start(target=target, requested_by="user:ada")
    schedule_set(target=target, cron="0 3 * * *", timezone="Europe/Paris", requested_by="user:ada")
    return {"backup": backup.pk}


def _rollouts(target, second) -> dict:
    """A canary that works, a rollout that rolls back by itself, and a restart that is seen running."""
    from deployments.services import rollout_start, target_scale

    good, operation = rollout_start(
        target=target,
        config={"env": {"AINDUS_LOG_LEVEL": "INFO"}, "workers": 1, "threads": 4},
        strategy="canary",
        steps=[{"weight": 25, "pause_seconds": 0}, {"weight": 50, "pause_seconds": 0}],
        gates={"p95_ratio": 2, "recall": {"max_drop": 0.05}, "inconclusive": "go_on"},
        note="Four threads for the morning peak",
        requested_by="user:grace",
    )
    target_scale(target=second, replicas=2, requested_by="user:grace")
    wait_all()
    bad, failed = rollout_start(
        target=second,
        config={"env": {"AINDUS_LOG_LEVEL": "VERBOSE"}},
        note="More logging while we look for slow queries",
        requested_by="user:grace",
    )
    wait_all()
    return {
        "rollout": good.pk,
        "operation": operation.pk,
        "failed_rollout": bad.pk,
        "failed_operation": failed.pk,
    }


def _pending(project) -> dict:
    from deployments.services import target_create

    target, plan, _ = target_create(
        project=project,
        name="staging",
        provider="local",
        region="local",
        role="tertiary",
        spec={"replicas": 1},
        plan_only=True,
        created_by="user:grace",
    )
    return {"pending": target.name, "plan": plan.pk}


def _fleet(project) -> dict:
    """Three targets, and a rollout over them that finds one already there and one that cannot take it."""
    from deployments.fleets.services import fleet_create, fleet_rollout_start
    from deployments.models import Target

    members = [{"target": name} for name in ("docs-search", "catalog", "staging")]
    fleet = fleet_create(project=project, name="search", members=members, created_by="user:ada")
    rollout, _ = fleet_rollout_start(
        fleet=fleet,
        release=Target.objects.get(name="docs-search").release,
        requested_by="user:grace",
    )
    wait_all()
    return {"fleet": fleet.name, "fleet_rollout": rollout.pk}


def make_busy(name: str = "docs-search") -> dict:
    """Something that runs while pictures are taken."""
    from deployments.models import Target
    from deployments.services import target_restart

    operation = target_restart(target=Target.objects.get(name=name), requested_by="user:ada")
    return {"running_operation": operation.pk}


if __name__ == "__main__":
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings")
    django.setup()
    if sys.argv[1:] == ["busy"]:
        made = make_busy()
    else:
        wait_all()
        made = main(history="--no-history" not in sys.argv)
    sys.stdout.write(json.dumps(made))
