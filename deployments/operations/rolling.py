"""The common course of every operation that replaces replicas, and its way back."""

from deployments.models import RUNNING_TARGET, Release, Replica, TargetStatus
from deployments.operations.base import TargetOperation
from deployments.operations.replicas import Moving, Stuck
from deployments.operations.sets import replica_set
from deployments.providers.base import FAILED, PENDING
from worker.outcomes import Cancelled, Fail, Next, Outcome, Wait


class RollingOperation(TargetOperation):
    """begin -> migrate -> roll -> finish; when a replica does not become ready, or on cancel: take_back.

    A subclass says which release and how many replicas it moves to (`release`, `count`, `is_wanted`) and
    what it goes back to (`old_release`, `old_count`, `is_wanted_back`).
    """

    failure_code = "not_ready"

    # What a subclass may say differently

    @property
    def release(self) -> Release:
        return self.target.release

    @property
    def count(self) -> int:
        return self.target.desired_replicas

    def is_wanted(self, replica: Replica) -> bool:
        return replica.release_id == self.release.pk

    @property
    def old_release(self) -> Release:
        return self.target.release

    @property
    def old_count(self) -> int:
        return self.target.desired_replicas

    def is_wanted_back(self, replica: Replica) -> bool:
        return replica.release_id == self.old_release.pk

    @property
    def restarted_at(self) -> str | None:
        """What makes a cluster replace every pod when it is another than before; None: as it was."""
        return None

    def made(self, replica: Replica) -> bool:
        """Whether this operation started the replica."""
        return replica.pk in self.state.get("made", [])

    # Steps

    def begin(self) -> Outcome:
        if self.target.status not in RUNNING_TARGET:
            return Fail(
                f"{self.target.name} is {self.target.status}, not ready.",
                code="target_not_ready",
                remedy="Provision the target first.",
            )
        if self.target.outputs.get("schema") != self.runtime.schema(self.release.image):
            return Next(self.migrate)
        return Next(self.first_move)

    @property
    def first_move(self):
        """The step in which the first replica is moved."""
        return self.roll

    def migrate(self) -> Outcome:
        progress = self.run_migration(self.release)
        if progress.state == PENDING:
            return Wait(2, progress.message or "the vector schema to be migrated", progress.percent)
        if progress.state == FAILED:
            return Fail(self.redact(progress.error), code="migration_failed", remedy=progress.remedy)
        schema = self.runtime.schema(self.release.image)
        with self.atomic():
            self.update_target(outputs=self.target.outputs | {"schema": schema})
        return Next(self.first_move, f"The vector schema is at {schema}")

    def roll(self) -> Outcome:
        standing = replica_set(
            self,
            release=self.release,
            count=self.count,
            is_wanted=self.is_wanted,
            phase="roll",
            restarted_at=self.restarted_at,
        ).move()
        if isinstance(standing, Moving):
            return Wait(standing.seconds, standing.waiting_for, standing.percent)
        if isinstance(standing, Stuck):
            self.state["failure"] = standing.reason
            return Next(self.take_back, f"Going back: {standing.reason}")
        return Next(self.finish)

    def finish(self) -> Outcome:
        raise NotImplementedError

    def take_back(self) -> Outcome:
        """Full old capacity first, then the new replicas go."""
        standing = replica_set(
            self,
            release=self.old_release,
            count=self.old_count,
            is_wanted=self.is_wanted_back,
            phase="take_back",
        ).move()
        if isinstance(standing, Moving):
            return Wait(standing.seconds, standing.waiting_for, standing.percent)
        failure = self.state.get("failure")
        if isinstance(standing, Stuck):
            self.state["not_restored"] = standing.reason
            first = failure or "It was cancelled"
            return Fail(
                f"{first} The replicas from before could not be restored either: {standing.reason}",
                code="not_restored",
                remedy="Read the replicas' logs; mend the cause, then roll out again.",
            )
        if failure:
            return Fail(failure, code=self.failure_code, remedy=self.remedy())
        return Cancelled(f"Runs {self.old_release} with {self.old_count} replicas, as before.")

    def remedy(self) -> str:
        return "Read the logs of the replica that failed; mend the cause, then try again."

    def cancel(self) -> Outcome:
        changed = self.state.get("made") or self.state.get("applied")
        if not changed and self.operation.cancelled_from_step in ("begin", "migrate"):
            return Cancelled("Nothing was changed yet.")
        return Next(self.take_back, "Going back to what ran before")

    # The target's status

    def serves_again(self, **values) -> None:
        """The target is whole; inside `self.atomic()`."""
        self.update_target(status=TargetStatus.READY, status_reason="", **values)

    def failed(self, failure: Fail) -> None:
        if self.target.status not in RUNNING_TARGET:
            return
        if failure.code == self.failure_code:
            self.serves_again()
        else:
            self.update_target(status=TargetStatus.DEGRADED, status_reason=failure.error)
