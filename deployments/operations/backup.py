"""target.backup: a dump of one snapshot, read back and proven; backup.delete: its bytes are removed."""

from functools import cached_property

from deployments.backups.models import Backup, BackupStatus
from deployments.backups.services import backup_delete, backup_retry
from deployments.models import RUNNING_TARGET
from deployments.operations.proving import ProvingOperation
from deployments.runtimes.tasks import FAILED, RUNNING
from worker.engine import database_now
from worker.handlers import operation
from worker.outcomes import Done, Fail, Next, Outcome

# Of the database's size: the dump, and the copy it is proven in, may both lie on the same disk.
ROOM = 1.5
ROOM_LEAST_BYTES = 64 << 20


@operation("target.backup", first="begin", label="Backup", deadline_seconds=24 * 3600)
class BackupTarget(ProvingOperation):
    @cached_property
    def row(self) -> Backup:
        return self.backup

    def begin(self) -> Outcome:
        if self.target.status not in RUNNING_TARGET:
            return Fail(f"{self.target.name} is {self.target.status}, not ready.", code="target_not_ready")
        size = self.databases.bytes(self.spec)
        free = self.tasks.free_bytes()
        needed = ROOM_LEAST_BYTES + int(ROOM * size)
        if free is not None and free < needed:
            return Fail(
                f"{free / 2**30:.1f} GiB are free; the backup and its proof need about "
                f"{needed / 2**30:.1f} GiB.",
                code="disk_space",
                remedy="Free space on the disk of the data directory, or delete backups that are not needed.",
            )
        with self.atomic():
            Backup.objects.filter(pk=self.backup.pk).update(
                schema=self.target.outputs.get("schema", ""), database_bytes=size
            )
        return Next(self.dump, f"The database has {size / 2**20:,.1f} MiB")

    def dump(self) -> Outcome:
        self.remember(dumping=True)
        state = self._task("dump", self.secrets().values["database_url"])
        if state.state == RUNNING:
            return self._wait(state, "the dump of one snapshot to be written")
        if state.state == FAILED:
            return self._failed("dump", state, self.dump, "dump_failed")
        made = state.result
        with self.atomic():
            Backup.objects.filter(pk=self.backup.pk).update(
                stored=True,
                at=made["at"],
                size_bytes=made["size_bytes"],
                sha256=made["sha256"],
                collections=made["collections"],
            )
        self.state["stored"] = True
        points = sum(one["points"] for one in made["collections"])
        return Next(
            self.make_scratch,
            f"{made['size_bytes'] / 2**20:,.1f} MiB are written, with {points:,} points of"
            f" {len(made['collections'])} collections",
        )

    def proven(self, proof: dict) -> Next:
        return Next(
            self.finish, f"{proof['points']:,} points and {proof['queries']} answers are as they were"
        )

    def finish(self) -> Outcome:
        self._end_tasks()
        self.databases.drop(self.spec, self.scratch)
        with self.atomic():
            Backup.objects.filter(pk=self.backup.pk).update(
                status=BackupStatus.PROVEN, finished_at=database_now(), progress={}
            )
        return Done(
            {"backup": self.backup.pk, "size_bytes": self.backup.size_bytes, **self.state["proof"]},
            "The backup was read back and is whole",
        )

    def discard(self) -> Outcome | None:
        """A dump that could not be proven stays to be looked into; anything else that was written goes."""
        if not self.state.get("dumping") or (self.state.get("failure") and self.state.get("stored")):
            return None
        if self.backup.stored:
            with self.atomic():
                Backup.objects.filter(pk=self.backup.pk).update(stored=False)
        state = self._task("delete", self.secrets().values["database_url"])
        if state.state == RUNNING:
            return self._wait(state, "what was written to be removed")
        if state.state == FAILED:
            self.report(f"What was written could not be removed: {self.redact(state.error)}")
        self._end_tasks()
        return None

    def failed(self, failure: Fail) -> None:
        Backup.objects.filter(pk=self.backup.pk).update(
            status=BackupStatus.FAILED, reason=failure.error, finished_at=database_now(), progress={}
        )

    def cancelled(self) -> None:
        Backup.objects.filter(pk=self.backup.pk).update(
            status=BackupStatus.CANCELLED, finished_at=database_now(), progress={}
        )

    @classmethod
    def resubmit(cls, operation, requested_by: str):
        return backup_retry(operation=operation, requested_by=requested_by)


@operation("backup.delete", first="delete", label="Delete backup")
class DeleteBackup(ProvingOperation):
    @cached_property
    def row(self) -> Backup:
        return self.backup

    def delete(self) -> Outcome:
        if not self.backup.stored and self.backup.size_bytes is None:
            return Next(self.finish)
        state = self._task("delete", self.target.secrets.get("database_url", ""))
        if state.state == RUNNING:
            return self._wait(state, "its bytes to be removed")
        if state.state == FAILED:
            tries = self.state.setdefault("tries", {})
            tries["delete"] = tries.get("delete", 0) + 1
            if state.again and tries["delete"] < 3:
                return Next(self.delete, f"Another try: {state.error}")
            self._end_tasks()
            return Fail(self.redact(state.error), code="delete_failed", remedy="Mend the cause, then retry.")
        return Next(self.finish, "Its bytes are gone")

    def finish(self) -> Outcome:
        self._end_tasks()
        with self.atomic():
            Backup.objects.filter(pk=self.backup.pk).update(
                status=BackupStatus.DELETED, stored=False, progress={}
            )
        return Done({"backup": self.backup.pk}, "The backup is deleted")

    def cancel(self) -> Outcome:
        if self.operation.cancelled_from_step == "delete" and not self.state.get("tries"):
            self.report("Its bytes may be gone already; the deletion goes on.")
        return Next(self.delete)

    def failed(self, failure: Fail) -> None:
        self._put_back()

    def _put_back(self) -> None:
        # What could not be deleted may be damaged: it is proven no more.
        Backup.objects.filter(pk=self.backup.pk, status=BackupStatus.DELETING).update(
            status=BackupStatus.FAILED, reason="It could not be deleted."
        )

    @classmethod
    def resubmit(cls, operation, requested_by: str):
        backup = Backup.objects.get(pk=operation.input["backup"])
        return backup_delete(backup=backup, requested_by=requested_by)
