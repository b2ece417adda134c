"""The main job, step by step, against a running control plane."""

import base64
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg

from controlplane.ids import decode
from deployments.first_light.client import Api, ApiError, QueryLoad
from deployments.first_light.documents import Documents
from deployments.runtimes.processes.folder import ReplicaFolder

BATCH = 500
TOP_K = 10
LEAST_RECALL = 0.98
REPLACED_SECONDS = 15
OPERATION_SECONDS = 120


class StepFailedError(Exception):
    """A step of the main job did not do what it must."""


def expect(condition, message: str) -> None:
    """StepFailedError with the message unless the condition holds."""
    if not condition:
        raise StepFailedError(message)


class Steps:
    """Runs steps in order, tells each with its time, and keeps the faults."""

    def __init__(self, say: Callable[[str], object]):
        self.say = say
        self.faults: list[str] = []
        self.seconds: dict[str, float] = {}

    def run(self, title: str, step: Callable[[], str | None]) -> bool:
        """Whether the step worked; what it returns is shown beside its time."""
        began = time.monotonic()
        try:
            said, mark = step() or "", "ok    "
        except Exception as error:
            said, mark = " ".join(f"{type(error).__name__}: {error}".split()), "FAILED"
            self.faults.append(f"{title}: {said}")
        self.seconds[title] = time.monotonic() - began
        self.say(f"{mark} {self.seconds[title]:7.2f} s  {title}{': ' if said else ''}{said}")
        return mark == "ok    "


def until(condition: Callable[[], object], seconds: float, what: str):
    """The first true value of condition(), asked ten times a second; StepFailedError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        expect(time.monotonic() < deadline, f"not within {seconds:g} s: {what}")
        time.sleep(0.1)
    return value


class MainJob:
    """Provision, load, index, query, kill, roll out, roll back and destroy one local target."""

    def __init__(
        self, *, api: Api, documents: Documents, steps: Steps, name: str, data_dir: Path, database_url: str
    ):
        self.api = api
        self.documents = documents
        self.steps = steps
        self.name = name
        self.data_dir = data_dir
        self.database_url = database_url
        self.path = f"/api/v1/targets/{name}"
        self.collection = f"{self.path}/vectors/collections/documents"
        self.target_id = ""
        self.replicas_seen: set[str] = set()
        self._bodies = [
            {"vector": [float(value) for value in query], "top_k": TOP_K, "include": []}
            for query in documents.queries
        ]

    def run(self) -> None:
        """All steps; after a failure only the destruction still runs."""
        count = f"{len(self.documents.ids):,}"
        steps = [
            ("create a local target with 2 replicas", self.create_target),
            (f"load {count} documents of {self.documents.dimension} dimensions", self.load),
            ("build the index", self.build_index),
            (f"run {len(self._bodies)} queries", self.query),
            ("kill -9 a replica under load", self.kill_replica),
            ("roll out a second release under load", self.roll_out),
            ("roll out a broken release", self.roll_out_broken),
        ]
        for title, step in steps:
            if not self.steps.run(title, step):
                break
        if self.target_id:
            self.steps.run("destroy the target", self.destroy)
            self.steps.run("nothing is left", self.nothing_is_left)

    def operation_end(self, operation: dict, seconds: float = OPERATION_SECONDS) -> dict:
        """The operation once it has ended, however it did."""
        path = f"/api/v1/operations/{operation['id']}"

        def ended():
            found = self.api.get(path)
            return found if found["status"] in ("succeeded", "failed", "cancelled") else None

        return until(ended, seconds, f"the end of {operation['kind']}")

    def operation_success(self, operation: dict) -> dict:
        """The operation once it has succeeded; StepFailedError with its own reason otherwise."""
        ended = self.operation_end(operation)
        expect(ended["status"] == "succeeded", f"{ended['kind']} {ended['status']}: {ended['error']}")
        return ended

    def replicas(self) -> list[dict]:
        found = self.api.get(f"{self.path}/replicas")["items"]
        self.replicas_seen.update(replica["id"] for replica in found)
        return found

    def ready_replicas(self) -> list[dict]:
        return [replica for replica in self.replicas() if replica["status"] == "ready"]

    def create_target(self) -> str:
        body = {"name": self.name, "provider": "local", "region": "local", "spec": {"replicas": 2}}
        operation = self.api.post("/api/v1/targets", body)
        self.target_id = self.api.get(self.path)["id"]
        self.operation_success(operation)
        target = self.api.get(self.path)
        expect(target["status"] == "ready", f"the target is {target['status']}: {target['status_reason']}")
        expect(len(self.ready_replicas()) == 2, "two replicas are not ready")
        return ""

    def load(self) -> str:
        documents = self.documents
        self.api.post(
            f"{self.path}/vectors/collections",
            {"name": "documents", "dimension": documents.dimension, "metric": "cosine", "auto_index": False},
        )

        def send(start: int) -> int:
            part = slice(start, start + BATCH)
            body = {
                "ids": documents.ids[part],
                "vectors_b64": base64.b64encode(documents.vectors[part].astype("<f4").tobytes()).decode(),
                "contents": documents.contents[part],
                "metadata": documents.metadata[part],
            }
            return self.api.post(f"{self.collection}/points", body)["upserted"]

        began = time.monotonic()
        with ThreadPoolExecutor(4) as pool:
            upserted = sum(pool.map(send, range(0, len(documents.ids), BATCH)))
        seconds = time.monotonic() - began
        expect(upserted == len(documents.ids), f"{upserted} of {len(documents.ids)} were taken")
        counted = self.api.post(f"{self.collection}/count", {})["count"]
        expect(counted == len(documents.ids), f"{counted} of {len(documents.ids)} are counted")
        return f"{upserted / seconds:,.0f} documents/s"

    def build_index(self) -> str:
        self.api.post(f"{self.collection}/index", {"type": "hnsw"})

        def ended():
            index = self.api.get(f"{self.collection}/index")
            return index if index["state"] not in ("queued", "building", "none") else None

        index = until(ended, 900, "the end of the index build")
        expect(index["state"] == "ready", f"the index is {index['state']}: {index.get('job')}")
        return ""

    def query(self) -> str:
        row_of = {point_id: row for row, point_id in enumerate(self.documents.ids)}
        hits = 0
        for body in self._bodies:
            matches = self.api.post(f"{self.collection}/query", body)["matches"]
            expect(len(matches) == TOP_K, f"{len(matches)} matches instead of {TOP_K}")
            truth = set(self.documents.truth[self._bodies.index(body)][:TOP_K].tolist())
            hits += len(truth & {row_of[match["id"]] for match in matches})
        recall = hits / (len(self._bodies) * TOP_K)
        expect(recall >= LEAST_RECALL, f"recall@{TOP_K} {recall:.4f} is below {LEAST_RECALL}")
        with self._load(threads=4) as load:
            time.sleep(3)
        self._no_failure(load)
        return f"recall@{TOP_K} {recall:.4f}; {load}"

    def _load(self, threads: int = 2) -> QueryLoad:
        return QueryLoad(self.api, f"{self.collection}/query", self._bodies, threads)

    def _no_failure(self, load: QueryLoad) -> None:
        expect(load.answered, "no query was answered")
        expect(
            not load.failures, f"{len(load.failures)} of {load.answered} queries failed: {load.failures[:3]}"
        )

    def kill_replica(self) -> str:
        with self._load() as load:
            victim = self.ready_replicas()[0]
            pid = ReplicaFolder(self.data_dir, victim["id"]).main_pid()
            expect(pid, f"{victim['id']} runs no process here")
            began = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            noticed = until(self._shown_unwell, REPLACED_SECONDS, "the death is shown")

            def replaced():
                ready = {replica["id"] for replica in self.ready_replicas()}
                return len(ready) == 2 and victim["id"] not in ready

            until(replaced, REPLACED_SECONDS, "the replica is replaced")
            seconds = time.monotonic() - began
        expect(seconds <= REPLACED_SECONDS, f"replaced after {seconds:.1f} s")
        self._no_failure(load)
        until(
            lambda: self.api.get(self.path)["health"]["status"] == "healthy",
            30,
            "the target is healthy again",
        )
        return f"shown as {noticed}, replaced after {seconds:.1f} s; {load}"

    def _shown_unwell(self) -> str:
        target = self.api.get(self.path)
        if target["health"]["status"] not in ("healthy", "unknown"):
            return target["health"]["status"]
        if target["ready_replicas"] < 2:
            return f"{target['ready_replicas']} of 2 replicas ready"
        return ""

    def _rollout_of(self, operation: dict) -> dict:
        items = self.api.get(f"{self.path}/rollouts?limit=20")["items"]
        found = [rollout for rollout in items if rollout["operation"] == operation["id"]]
        expect(found, f"no rollout names the operation {operation['id']}")
        return found[0]

    def roll_out(self) -> str:
        with self._load() as load:
            operation = self.api.post(
                f"{self.path}/rollouts", {"config": {"env": {"AINDUS_LOG_LEVEL": "WARNING"}}}
            )
            self.operation_success(operation)
            # The last of the old connections are the ones that would fail.
            time.sleep(1)
        self._no_failure(load)
        rollout = self._rollout_of(operation)
        expect(rollout["status"] == "succeeded", f"the rollout is {rollout['status']}: {rollout['reason']}")
        release = self.api.get(self.path)["release"]["name"]
        expect(release == rollout["release"]["name"], f"the target runs {release}")
        running = {replica["release"]["name"] for replica in self.ready_replicas()}
        expect(running == {release}, f"replicas run {running}")
        return f"{rollout['previous']['name']} to {release}; {load}"

    def roll_out_broken(self) -> str:
        before = self.api.get(self.path)["release"]["name"]
        with self._load() as load:
            operation = self.api.post(
                f"{self.path}/rollouts", {"config": {"env": {"AINDUS_LOG_LEVEL": "NO_SUCH_LEVEL"}}}
            )
            ended = self.operation_end(operation, 300)
        self._no_failure(load)
        rollout = self._rollout_of(operation)
        expect(rollout["status"] == "rolled_back", f"the rollout is {rollout['status']}: {ended['error']}")
        expect(rollout["reason"], "the rollout says no reason")
        release = self.api.get(self.path)["release"]["name"]
        expect(release == before, f"the target runs {release} instead of {before}")
        running = {replica["release"]["name"] for replica in self.ready_replicas()}
        expect(running == {before}, f"replicas run {running}")
        return f"rolled back to {before}, because: {rollout['reason']}"

    def destroy(self) -> str:
        try:
            self.api.call("DELETE", self.path, {"confirm": self.name})
        except ApiError as error:
            expect(error.status == 409, f"deletion protection answered {error}")
        else:
            raise StepFailedError("deletion protection let the deletion through")
        self.api.call("PATCH", self.path, {"deletion_protection": False})
        try:
            self.api.call("DELETE", self.path, {"confirm": "another-name"})
        except ApiError as error:
            expect(error.status in (409, 422), f"a wrong confirmation answered {error}")
        else:
            raise StepFailedError("a wrong confirmation was taken")
        self.operation_success(self.api.call("DELETE", self.path, {"confirm": self.name}))
        return ""

    def nothing_is_left(self) -> str:
        alive = [
            replica for replica in self.replicas_seen if ReplicaFolder(self.data_dir, replica).is_alive()
        ]
        expect(not alive, f"replicas still run: {alive}")
        name = f"aindus_t_{decode('tgt', self.target_id).hex}"
        with psycopg.connect(self.database_url) as connection:
            left = connection.execute(
                "SELECT 'database' FROM pg_database WHERE datname = %(name)s"
                " UNION ALL SELECT 'role' FROM pg_roles WHERE rolname = %(name)s",
                {"name": name},
            ).fetchall()
        expect(not left, f"{name} is still there: {left}")
        return ""
