"""Scenarios of destruction, each with servers of its own: `python -m tests.chaos.driver kills`.

Prints what was done and the figures; ends with status 1 and the reason when something is not as it must be.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

SLOWEST_RESUME_SECONDS = 30.0
REPLICAS = 2


def say(text: str) -> None:
    print(f"{time.monotonic() - BEGAN:6.1f} s  {text}", flush=True)  # noqa: T201


BEGAN = time.monotonic()


class Scenario:
    """Several targets, each on the way from nothing to nothing, while things are killed."""

    def __init__(self, stack, chaos: Path, targets: int):
        from controlplane.models import Project

        self.stack, self.chaos = stack, chaos
        self.project = Project.objects.create(name="chaos")
        self.count = targets
        self.operations: list[str] = []
        self.longest_silence = 0.0

    # What is asked for

    def provision_all(self) -> None:
        from deployments.services import target_create

        self.targets = []
        for number in range(self.count):
            target, _, operation = target_create(
                project=self.project, name=f"t{number}", provider="local", created_by="chaos"
            )
            self.targets.append(target)
            self.operations.append(operation.pk)

    def roll_out_all(self, number: int, broken: bool = False) -> None:
        from deployments.services import rollout_start

        env = {"AINDUS_LOG_LEVEL": "NONE"} if broken else {"GENERATION": str(number)}
        for target in self.targets:
            _, operation = rollout_start(target=target, config={"env": env}, requested_by="chaos")
            self.operations.append(operation.pk)

    def index_all(self) -> None:
        """Have every target build an index of a collection that is made for it."""
        from deployments.collection_jobs import collection_job_start

        for target in self.targets:
            api = self._api(target)
            api.collection_create({"name": "docs", "dimension": 8, "auto_index": False})
            points = [{"id": str(n), "vector": [n % (k + 2) + 1 for k in range(8)]} for n in range(500)]
            api.call("POST", "collections/docs/points", {"points": points})
            operation = collection_job_start(
                target=target, collection="docs", job="index.build", requested_by="chaos"
            )
            self.operations.append(operation.pk)

    @staticmethod
    def _api(target):
        from deployments.target_api import TargetApi

        return TargetApi(target, subject="chaos")

    def check_indexed(self) -> None:
        """Each target did one job, whatever died meanwhile, and its index serves."""
        for target in self.targets:
            jobs = self._api(target).call("GET", "jobs")["items"]
            builds = [job["state"] for job in jobs if job["kind"] == "index.build"]
            assert builds == ["succeeded"], jobs
            assert self._api(target).index("docs")["state"] == "ready"

    def back_up_all(self) -> None:
        from deployments.backups.services import backup_start

        for target in self.targets:
            self.operations.append(backup_start(target=target, requested_by="chaos")[1].pk)

    def restore_all(self) -> None:
        from deployments.backups.models import Backup
        from deployments.backups.services import restore_start

        for backup in Backup.objects.order_by("pk").select_related("target__project", "target__release"):
            name = backup.target.name
            _, operation = restore_start(
                target=backup.target, backup=backup, mode="in_place", confirm=name, requested_by="chaos"
            )
            self.operations.append(operation.pk)

    def decide_all(self) -> None:
        """Half of the restores are undone, the others confirmed."""
        from deployments.backups.models import Restore
        from deployments.backups.services import restore_decide

        for number, restore in enumerate(Restore.objects.order_by("pk").select_related("target")):
            operation = restore_decide(
                restore=restore, undo=number % 2 == 0, confirm=restore.target.name, requested_by="chaos"
            )
            self.operations.append(operation.pk)

    def check_backups(self, kept: int) -> None:
        """A proven backup of each target, its two files, and beside its own database only what is kept."""
        from deployments.backups.models import Backup
        from deployments.providers.local.databases import LocalDatabases
        from deployments.providers.local.provider import LocalProvider
        from deployments.services import target_spec

        beside: LocalDatabases = LocalProvider().databases()
        for target in self.targets:
            backup = Backup.objects.get(target=target)
            assert (backup.status, backup.points) == ("proven", 500), (backup.status, backup.reason)
            files = sorted(path.name for path in Path(backup.place).parent.iterdir())
            assert files == [f"{backup.pk}.dump", f"{backup.pk}.dump.json"], files
            names = beside.names(target_spec(target))
            assert len(names) == kept, names
            assert self._api(target).collection("docs")["points"] == 500
        assert list((self.stack.layout.root / "tasks").iterdir()) == []

    def destroy_all(self) -> None:
        from deployments.services import target_destroy, target_update

        for target in self.targets:
            target_update(target=target, deletion_protection=False, requested_by="chaos")
            operation = target_destroy(target=target, confirm=target.name, requested_by="chaos")
            self.operations.append(operation.pk)

    def finish(self, what: str, status: str = "succeeded", code: str = "", seconds: float = 120) -> None:
        """Wait until all that was asked for has ended, and ended right."""
        from worker.models import FINISHED, Operation

        deadline = time.monotonic() + seconds
        while True:
            rows = self._rows(Operation.objects.filter(pk__in=self.operations))
            if rows is not None and all(row.status in FINISHED for row in rows):
                break
            if time.monotonic() > deadline:
                standing = [(row.kind, row.step, row.status, row.waiting_for) for row in rows or []]
                raise AssertionError(f"{what}: not ended within {seconds} s: {standing}")
            time.sleep(0.1)
        last = rows[-self.count :]
        for row in last:
            assert (row.status, row.error_code) == (status, code), (what, row, row.error)
        for target in self.targets:
            target.refresh_from_db()
        say(f"{what}: {len(last)} x {status} {code}".rstrip())

    @staticmethod
    def _rows(query):
        from django.db import DatabaseError, connection

        try:
            return list(query.order_by("pk"))
        except DatabaseError:
            connection.close()
            return None

    # What must hold

    def check_running(self) -> None:
        """Each target has its database, its replicas as rows and as processes, and nothing more."""
        from deployments.models import LIVE_REPLICA, Replica
        from deployments.providers.local.provider import object_name
        from deployments.runtimes.processes import ProcessRuntime

        expected = set()
        for target in self.targets:
            assert target.status == "ready", (target.status, target.status_reason)
            expected |= {f"{kind} {object_name(target.pk)}" for kind in ("database", "role")}
            rows = list(Replica.objects.filter(target=target, status__in=LIVE_REPLICA))
            assert [(r.status, r.release_id) for r in rows] == [("ready", target.release_id)] * REPLICAS, rows
        assert databases() == expected
        live = {r.pk for r in Replica.objects.filter(status__in=LIVE_REPLICA)}
        running = mains(self.stack.layout.root)
        assert set(running) == live, (running, live)
        assert all(len(pids) == 1 for pids in running.values()), running
        runtime = ProcessRuntime()
        ports = [runtime.state(replica_id).port for replica_id in live]
        assert len(set(ports)) == len(ports)

    def check_gone(self) -> None:
        assert databases() == set()
        assert mains(self.stack.layout.root) == {}
        assert processes(self.stack.layout.root) == []
        left = list((self.stack.layout.root / "replicas").iterdir())
        assert left == [], left

    def check_events(self) -> None:
        """Every operation's events are numbered without gaps, in order of time, with one end."""
        from worker.models import Operation

        for operation in Operation.objects.filter(pk__in=self.operations):
            events = list(operation.events.order_by("sequence"))
            assert [event.sequence for event in events] == list(range(1, len(events) + 1)), operation
            assert all(a.at <= b.at for a, b in pairwise(events)), operation
            outcomes = [event.outcome for event in events]
            assert outcomes[:2] == ["created", "started"], outcomes
            assert outcomes[-1] in ("succeeded", "failed", "cancelled"), outcomes
            assert sum(outcome in ("succeeded", "failed", "cancelled") for outcome in outcomes) == 1
            waits = [(b.at - a.at).total_seconds() for a, b in pairwise(events)]
            self.longest_silence = max(self.longest_silence, *waits)

    def check_resumed(self) -> list[float]:
        """How long it took, after each kill within a step, until another worker had the step again."""
        from worker.models import OperationEvent

        taken = []
        for kill in self.kills():
            if kill["moment"] == "committed":
                continue
            lost = OperationEvent.objects.filter(
                operation=kill["operation"], outcome="lost", at__gt=moment(kill["at"] - 0.001)
            ).order_by("sequence")
            first = lost.first()
            assert first, f"nobody took up {kill}"
            taken.append(first.at.timestamp() - kill["at"])
        assert max(taken) < SLOWEST_RESUME_SECONDS, max(taken)
        return taken

    def kills(self) -> list[dict]:
        return [json.loads(path.read_text()) for path in self.chaos.glob("kill *")]


def moment(seconds: float):
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC)


def databases() -> set[str]:
    from django.conf import settings

    from tests.deployments.conftest import target_databases

    return target_databases(settings.DATABASE_URL)


def processes(data_dir: Path) -> list[int]:
    from tests.deployments.conftest import replica_processes

    return replica_processes(data_dir)


def mains(data_dir: Path) -> dict[str, list[int]]:
    """The API processes by replica id, read from /proc alone: {replica id: [pid]}."""
    found: dict[str, list[int]] = {}
    for pid in processes(data_dir):
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        shell = Path(f"/proc/{parent}/comm").read_text().strip() == "sh"
        if b"api" in command and shell:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            folder = next(e for e in environment if e.startswith(b"AINDUS_REPLICA_DIR="))
            found.setdefault(Path(folder.split(b"=", 1)[1].decode()).name, []).append(pid)
    return found


def kills(stack, chaos: Path) -> None:
    """SIGKILL at every step of every operation; every twelfth takes the whole worker."""
    (chaos / "armed").touch()
    scenario = Scenario(stack, chaos, targets=4)
    scenario.provision_all()
    scenario.finish("provision")
    scenario.check_running()
    scenario.index_all()
    scenario.finish("index build")
    scenario.check_indexed()
    scenario.roll_out_all(2)
    scenario.finish("rollout")
    scenario.check_running()
    scenario.roll_out_all(3, broken=True)
    scenario.finish("broken rollout", "failed", "rolled_back")
    scenario.check_running()
    scenario.destroy_all()
    scenario.finish("destroy")
    scenario.check_gone()
    scenario.check_events()
    taken = scenario.check_resumed()
    made = scenario.kills()
    say(f"{len(made)} kills, {sum(k['whole_worker'] for k in made)} of them of the whole worker")
    by_step = Counter(f"{k['kind']}.{k['step']}" for k in made)
    for step, count in sorted(by_step.items()):
        say(f"    {count:3} {step}")
    taken.sort()
    say(f"resumed after {taken[len(taken) // 2]:.1f} s (median), {taken[-1]:.1f} s (slowest)")
    say(f"longest silence of an operation {scenario.longest_silence:.1f} s")
    assert len(made) >= 100, len(made)


def _course(scenario: Scenario, strike) -> None:
    """Provision, rollout and destroy, with a strike in the middle of each."""
    scenario.provision_all()
    time.sleep(1.5)
    strike()
    scenario.finish("provision")
    scenario.check_running()
    scenario.roll_out_all(2)
    time.sleep(2)
    strike()
    scenario.finish("rollout")
    scenario.check_running()
    scenario.destroy_all()
    time.sleep(0.3)
    strike()
    scenario.finish("destroy")
    scenario.check_gone()
    scenario.check_events()
    say(f"longest silence of an operation {scenario.longest_silence:.1f} s")
    assert scenario.longest_silence < SLOWEST_RESUME_SECONDS


def backups(stack, chaos: Path) -> None:
    """SIGKILL at every step of backups, restores in place, and what is decided about them."""
    scenario = Scenario(stack, chaos, targets=4)
    scenario.provision_all()
    scenario.finish("provision")
    scenario.index_all()
    scenario.finish("index build")
    (chaos / "armed").touch()
    scenario.back_up_all()
    scenario.finish("backup", seconds=300)
    scenario.check_backups(kept=0)
    scenario.restore_all()
    scenario.finish("restore", seconds=300)
    scenario.check_backups(kept=1)
    scenario.decide_all()
    scenario.finish("decision")
    scenario.check_backups(kept=0)
    scenario.check_running()
    scenario.check_events()
    scenario.check_resumed()
    for step, count in sorted(Counter(f"{k['kind']}.{k['step']}" for k in scenario.kills()).items()):
        say(f"    {count:3} {step}")


def redis(stack, chaos: Path) -> None:
    """Redis killed and started empty in the middle, then emptied while it runs."""
    from controlplane.broker import redis_client

    def strike():
        stack.stop_redis()
        say("Redis killed")
        time.sleep(3)
        stack.start_redis()
        say("Redis started, empty")
        time.sleep(1)
        redis_client().flushall()
        say("Redis emptied")

    _course(Scenario(stack, chaos, targets=3), strike)


def postgresql(stack, chaos: Path) -> None:
    """PostgreSQL shut down at once in the middle, and started again."""
    from django.db import connection

    def strike():
        stack.stop_postgres()
        connection.close()
        say("PostgreSQL stopped")
        time.sleep(2)
        stack.start_postgres()
        from controlplane import embedded
        from tests.chaos.stack import wait_for

        wait_for(lambda: embedded.ensure_database(stack.layout) is None, 30, "PostgreSQL")
        say("PostgreSQL started")

    _course(Scenario(stack, chaos, targets=3), strike)


SCENARIOS = {"kills": kills, "backups": backups, "redis": redis, "postgresql": postgresql}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("--keep", action="store_true", help="keep the folder with logs")
    arguments = parser.parse_args()

    root = Path(tempfile.mkdtemp(prefix="aindus-chaos-"))
    root.chmod(0o711)
    for name in ("DATABASE_URL", "REDIS_URL"):
        os.environ.pop(name, None)
    os.environ["AINDUS_DATA_DIR"] = str(root)
    os.environ["DJANGO_SETTINGS_MODULE"] = "controlplane.settings"
    chaos = root / "chaos"
    chaos.mkdir()

    import django

    django.setup()
    from django.core.management import call_command

    from controlplane import embedded
    from deployments.runtimes.processes import stop_all
    from tests.chaos.stack import Stack

    stack = Stack(embedded.Layout(root), chaos)
    good = False
    try:
        stack.start_servers()
        call_command("migrate", verbosity=0)
        stack.start_workers()
        say("PostgreSQL, Redis, worker and beat are started")
        SCENARIOS[arguments.scenario](stack, chaos)
        good = True
    except (AssertionError, TimeoutError) as error:
        say(f"FAILED: {error}")
        for name in ("worker", "beat"):
            lines = (root / "logs" / f"{name}.log").read_text(errors="replace").splitlines()
            say(f"the last lines of {name}.log:")
            for line in lines[-40:]:
                say(f"    {line}")
    finally:
        stack.stop_workers()
        stop_all(root, grace_seconds=2)
        stack.stop()
        if not arguments.keep and good:
            shutil.rmtree(root, ignore_errors=True)
        else:
            say(f"logs: {root}/logs")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
