"""target.restore: a backup read back and proven in a scratch database, and put in place if that is asked.

What is put in place was proven before the target's own database is touched; that one is kept under another
name until somebody confirms or undoes the restore.
"""

from dataclasses import replace
from functools import cached_property

from controlplane.errors import ProblemError
from controlplane.ids import decode
from deployments.backups.models import Restore, RestoreMode, RestoreStatus
from deployments.models import RUNNING_TARGET
from deployments.operations.base import TargetOperation
from deployments.operations.proving import ProvingOperation
from deployments.providers.base import FAILED, PENDING, Secret
from deployments.providers.databases import Databases, databases_of
from deployments.target_api import TargetApi
from worker.engine import database_now
from worker.handlers import operation
from worker.outcomes import Done, Fail, Next, Outcome, Wait

SERVE_SECONDS = 30.0


class InPlace:
    """What operations on a restore share: its row, and how it ends."""

    @cached_property
    def restore(self) -> Restore:
        return Restore.objects.select_related("backup").get(pk=self.input["restore"])

    def update(self, **values) -> None:
        """Write fields of the restore's row; inside `self.atomic()` or at the operation's end."""
        Restore.objects.filter(pk=self.restore.pk).update(**values)

    def wait_until_it_serves(self, then) -> Outcome:
        """The target's replicas find the database that is in place now by themselves, within a moment."""
        try:
            TargetApi(self.target, subject="restore", role="viewer").call("GET", "collections", limit=1)
        except ProblemError as error:
            waited = (database_now() - self.operation.step_started_at).total_seconds()
            if waited < SERVE_SECONDS:
                return Wait(0.5, "the target to answer from the database that is in place now")
            return Next(then, f"The target does not answer yet: {error.detail}")
        return Next(then, "The target answers")


@operation("target.restore", first="begin", label="Restore", deadline_seconds=24 * 3600)
class RestoreTarget(InPlace, ProvingOperation):
    @classmethod
    def title(cls, operation) -> str:
        return "Restore into scratch" if operation.input.get("mode") == RestoreMode.SCRATCH else cls.label

    @property
    def row(self) -> Restore:
        return self.restore

    @property
    def kept(self) -> str:
        """What the target's own database is called while another one is in its place."""
        return f"aindus_k_{decode('rst', self.restore.pk).hex}"

    def begin(self) -> Outcome:
        if self.target.status not in RUNNING_TARGET:
            return Fail(
                f"{self.target.name} is {self.target.status}, not ready.",
                code="target_not_ready",
                remedy="See why, then restore into it.",
            )
        return Next(self.make_scratch)

    def proven(self, proof: dict) -> Next:
        message = f"{proof['points']:,} points and {proof['queries']} answers are as they were"
        return Next(self.finish if self.restore.mode == RestoreMode.SCRATCH else self.migrate, message)

    def migrate(self) -> Outcome:
        """A backup may be of an older schema than what runs now."""
        spec = self.migration_spec(self.target.release)
        values = dict(spec.secrets.values) | {"database_url": self.scratch_url()}
        progress = self.runtime.migrate(replace(spec, secrets=Secret(values)))
        if progress.state == PENDING:
            return Wait(2, progress.message or "the vector schema to be migrated", progress.percent)
        if progress.state == FAILED:
            return self._give_up(self.redact(progress.error), "migration_failed")
        return Next(self.put_in_place)

    def put_in_place(self) -> Outcome:
        """The two databases change names in one transaction; requests fail for the moment that takes."""
        self.remember(swapping=True)
        self.databases.swap(self.spec, self.scratch, self.kept)
        with self.atomic():
            self.update(kept_database=self.kept)
        self.state["swapped"] = True
        return Next(self.serve, f"The database from before is kept as {self.kept}")

    def serve(self) -> Outcome:
        return self.wait_until_it_serves(self.finish)

    def finish(self) -> Outcome:
        self._end_tasks()
        self.databases.drop(self.spec, self.scratch)
        values = {}
        if self.restore.mode == RestoreMode.NEW_TARGET:
            # What a new target held before is nothing.
            self.databases.drop(self.spec, self.kept)
            values["kept_database"] = ""
        with self.atomic():
            self.update(status=RestoreStatus.SUCCEEDED, finished_at=database_now(), progress={}, **values)
        ends = {
            RestoreMode.SCRATCH: "The backup was read back and is whole; the scratch database is gone",
            RestoreMode.IN_PLACE: f"{self.target.name} holds what was backed up",
            RestoreMode.NEW_TARGET: f"{self.target.name} holds what was backed up",
        }
        return Done({"restore": self.restore.pk, **self.state["proof"]}, ends[self.restore.mode])

    def cancel(self) -> Outcome:
        if self.state.get("swapped") or self.operation.cancelled_from_step in ("serve", "finish"):
            self.report("The backup is in place already. To go back, undo the restore.")
            return Next(self.finish)
        return super().cancel()

    def discard(self) -> Outcome | None:
        """A change of places that was begun is undone, whether it had happened or not."""
        if self.state.get("swapping"):
            if self.databases.identity(self.spec, self.kept):
                self.databases.swap(self.spec, self.kept, self.scratch)
                self.databases.drop(self.spec, self.scratch)
            self.databases.reopen(self.spec)
        return None

    def failed(self, failure: Fail) -> None:
        self.update(
            status=RestoreStatus.FAILED, reason=failure.error, finished_at=database_now(), progress={}
        )

    def cancelled(self) -> None:
        self.update(status=RestoreStatus.CANCELLED, finished_at=database_now(), progress={})

    @classmethod
    def resubmit(cls, operation, requested_by: str):
        from deployments.backups.services import restore_retry

        return restore_retry(operation=operation, requested_by=requested_by)


class Decision(InPlace, TargetOperation):
    @cached_property
    def databases(self) -> Databases:
        return databases_of(self.provider)

    def decided(self, status: str) -> None:
        with self.atomic():
            self.update(
                status=status,
                kept_database="",
                decided_by=self.operation.created_by,
                decided_at=database_now(),
            )


@operation("target.restore_confirm", first="drop", label="Confirm restore")
class ConfirmRestore(Decision):
    """The database from before is dropped."""

    def drop(self) -> Outcome:
        self.databases.drop(self.spec, self.restore.kept_database)
        return Next(self.finish, "The database from before is gone")

    def finish(self) -> Outcome:
        self.decided(RestoreStatus.CONFIRMED)
        return Done({"restore": self.restore.pk}, "What was restored stays")

    def cancel(self) -> Outcome:
        self.report("The database from before may be gone already; it goes on.")
        return Next(self.finish if self.operation.cancelled_from_step == "finish" else self.drop)


@operation("target.restore_undo", first="put_back", label="Undo restore")
class UndoRestore(Decision):
    """The database from before is put back in its place, and what was restored is dropped."""

    @property
    def discarded(self) -> str:
        return f"aindus_s_{decode('op', self.operation.pk).hex}"

    def put_back(self) -> Outcome:
        self.remember(swapping=True)
        self.databases.swap(self.spec, self.restore.kept_database, self.discarded)
        return Next(self.serve, "The database from before is in its place again")

    def serve(self) -> Outcome:
        return self.wait_until_it_serves(self.finish)

    def finish(self) -> Outcome:
        self.databases.drop(self.spec, self.discarded)
        self.decided(RestoreStatus.UNDONE)
        return Done({"restore": self.restore.pk}, f"{self.target.name} holds what it held before")

    def cancel(self) -> Outcome:
        self.report("The databases may have changed places already; it goes on.")
        before = self.operation.cancelled_from_step
        return Next(before if before in ("serve", "finish") else self.put_back)
