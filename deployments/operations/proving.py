"""The common course of whatever reads a backup back: into a scratch database, and held against the original.

The long work is done by tasks beside the database (deployments/runtimes/tasks.py), which outlive the worker;
the steps here start them, follow them and say what came of them. Tries of a task have numbers, so that a new
one never takes a dead one's words for its own.
"""

from functools import cached_property

from controlplane.ids import decode
from deployments.backups.models import Backup
from deployments.backups.places import task_runner
from deployments.operations.base import TargetOperation
from deployments.providers.base import Secret
from deployments.providers.databases import Databases, databases_of
from deployments.runtimes.tasks import ABSENT, FAILED, RUNNING, Task, TaskRunner, TaskState
from worker.engine import database_now
from worker.outcomes import Cancelled, Fail, Next, Outcome, Wait

TRIES = 3
POLL_SECONDS, POLL_SECONDS_MOST = 0.25, 5.0
REMEDY = "Mend the cause, then retry the operation."


class ProvingOperation(TargetOperation):
    """make_scratch -> read_back -> prove -> proven(); a failure or a cancellation goes through clean_up.

    A subclass has a row with `progress` (`row`), and says what comes after the proof (`proven`).
    """

    @cached_property
    def backup(self) -> Backup:
        return Backup.objects.get(pk=self.input["backup"])

    @property
    def row(self):
        """The row that shows how far this is."""
        raise NotImplementedError

    @cached_property
    def tasks(self) -> TaskRunner:
        return task_runner(self.target)

    @cached_property
    def databases(self) -> Databases:
        return databases_of(self.provider)

    @property
    def number(self) -> str:
        """The operation's id in hexadecimal digits, for names of databases and tasks."""
        return decode("op", self.operation.pk).hex

    @property
    def scratch(self) -> str:
        return f"aindus_s_{self.number}"

    # Tasks

    def _task(self, verb: str, database_url: str) -> TaskState:
        """What is true of a step's task; it is started when there is none."""
        number = self.state.get("tries", {}).get(verb, 0)
        task_id = f"{self.number}-{verb}-{number}"
        state = self.tasks.look(task_id)
        if state.state == ABSENT:
            self.tasks.start(
                Task(
                    task_id=task_id,
                    verb=verb,
                    place=self.backup.place,
                    job_id=str(decode("bak", self.backup.pk)),
                    region=self.target.region,
                    provider=self.target.provider,
                    image=self.target.release.image if self.target.release else "",
                    config=self.target.release.config if self.target.release else {},
                    secrets=Secret({"database_url": database_url}),
                )
            )
            state = TaskState(RUNNING, phase="starting")
        if state.state == RUNNING:
            self._note(state)
        return state

    def _note(self, state: TaskState) -> None:
        """Show how far a task is, in the row."""
        progress = {"phase": state.phase, "done": state.done, "total": state.total}
        if progress != self.row.progress:
            with self.atomic():
                type(self.row).objects.filter(pk=self.row.pk).update(progress=progress)
            self.row.progress = progress

    def _wait(self, state: TaskState, waiting_for: str) -> Wait:
        running = (database_now() - self.operation.step_started_at).total_seconds()
        seconds = min(POLL_SECONDS_MOST, max(POLL_SECONDS, running / 60))
        percent = None
        if state.done is not None and state.total:
            percent = min(99, round(100 * state.done / state.total))
        return Wait(seconds, waiting_for, percent)

    def _failed(self, verb: str, state: TaskState, again, code: str) -> Next:
        """Another try from the step `again` when that makes sense, else the end of it."""
        error = self.redact(state.error)
        tries = self.state.setdefault("tries", {})
        tries[verb] = tries.get(verb, 0) + 1
        if state.again and tries[verb] < TRIES:
            return Next(again, f"Another try: {error}")
        return self._give_up(error, code)

    def _give_up(self, error: str, code: str, remedy: str = REMEDY) -> Next:
        self.state["failure"] = {"error": error, "code": code, "remedy": remedy}
        return Next(self.clean_up, error)

    # Steps

    def make_scratch(self) -> Outcome:
        self.remember(scratch=True)
        self.databases.make(self.spec, self.scratch)
        return Next(self.read_back, f"An empty database {self.scratch} is there")

    def scratch_url(self) -> str:
        """The URL of the scratch database, for the target's own role."""
        return self.databases.url(self.spec, self.scratch).values["database_url"]

    def read_back(self) -> Outcome:
        state = self._task("restore", self.scratch_url())
        if state.state == RUNNING:
            return self._wait(state, "the backup to be read back into a scratch database")
        if state.state == FAILED:
            return self._failed("restore", state, self.make_scratch, "restore_failed")
        return Next(self.prove, "The backup is read back")

    def prove(self) -> Outcome:
        state = self._task("prove", self.scratch_url())
        if state.state == RUNNING:
            return self._wait(state, "the copy to be held against the original")
        if state.state == FAILED:
            return self._failed("prove", state, self.prove, "not_proven")
        proof = dict(state.result)
        self.state["proof"] = proof
        now = database_now()
        with self.atomic():
            type(self.row).objects.filter(pk=self.row.pk).update(proof=proof)
            Backup.objects.filter(pk=self.backup.pk, stored=True).update(proven_at=now)
        return self.proven(proof)

    def proven(self, proof: dict) -> Next:
        """Where to go once the copy was found whole."""
        raise NotImplementedError

    def clean_up(self) -> Outcome:
        """Nothing is left of what was tried; then the end that was decided on."""
        self._end_tasks(but="delete")
        if self.state.get("scratch"):
            self.databases.drop(self.spec, self.scratch)
        if (waiting := self.discard()) is not None:
            return waiting
        failure = self.state.get("failure")
        if failure:
            return Fail(**failure)
        return Cancelled("Nothing is left of it.")

    def discard(self) -> Outcome | None:
        """Remove what else was made; an outcome while that takes its time."""
        return None

    def cancel(self) -> Outcome:
        return Next(self.clean_up, "Ending its tasks")

    def _end_tasks(self, but: str = "") -> None:
        """End and forget the tasks of this operation, but for those of one verb."""
        for task_id in self.tasks.known():
            if task_id.startswith(self.number) and not (but and f"-{but}-" in task_id):
                self.tasks.end(task_id)
