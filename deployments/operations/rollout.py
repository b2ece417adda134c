"""target.rollout and target.rollback: move a target to another release, and back by itself if it fails."""

from functools import cached_property

from deployments.models import Replica, Rollout, RolloutStatus
from deployments.operations.canary import CanaryOperation
from deployments.operations.replicas import counted
from worker.engine import database_now
from worker.handlers import operation
from worker.outcomes import Done, Fail, Next, Outcome


@operation("target.rollout", first="begin", label="Rollout")
class RolloutTarget(CanaryOperation):
    """A rolling update or a canary; the rollout's row tells where it stands."""

    failure_code = "rolled_back"

    @cached_property
    def rollout(self) -> Rollout:
        return Rollout.objects.select_related("release", "previous").get(pk=self.input["rollout"])

    @property
    def release(self):
        return self.rollout.release

    @property
    def old_release(self):
        return self.rollout.previous or self.rollout.release

    def is_wanted_back(self, replica: Replica) -> bool:
        if self.old_release.pk == self.release.pk:
            return True
        return super().is_wanted_back(replica)

    def begin(self) -> Outcome:
        if self.target.release_id != self.old_release.pk:
            return Fail(
                f"{self.target.name} has moved on to {self.target.release} since this was asked for.",
                code="outdated",
                remedy="Start a new rollout.",
            )
        outcome = super().begin()
        if isinstance(outcome, Next):
            way = f"as a canary in {counted(len(self.rollout.steps), 'step')}" if self.is_canary else ""
            moved = f"Moving {self.count} replicas from {self.old_release} to {self.release} {way}"
            return Next(outcome.step, moved.strip())
        return outcome

    def finish(self) -> Outcome:
        with self.atomic():
            if self.rollout.status == RolloutStatus.RUNNING:
                if self.is_cancelled():
                    return Next(self.take_back, "It was aborted before it ended")
                self._close(RolloutStatus.SUCCEEDED)
                self.serves_again(release=self.release)
        result = {"release": self.release.pk, "replicas": self.count}
        return Done(result, f"{self.target.name} runs {self.release} with {self.count} replicas")

    def cancel(self) -> Outcome:
        if self.rollout.status == RolloutStatus.SUCCEEDED:
            return Next(self.finish, "It had succeeded already")
        return super().cancel()

    def take_back(self) -> Outcome:
        if self.rollout.status == RolloutStatus.RUNNING:
            reason = self.state.get("failure") or "It was cancelled."
            with self.atomic():
                self.update_rollout(
                    status=RolloutStatus.ROLLING_BACK, reason=reason, hold="", command="", paused=False
                )
        return super().take_back()

    def remedy(self) -> str:
        return (
            f"{self.target.name} runs {self.old_release} as before. "
            "Read the failed replica's log, mend the release, then roll out again."
        )

    def failed(self, failure: Fail) -> None:
        super().failed(failure)
        rolled_back = failure.code == self.failure_code
        self._close(RolloutStatus.ROLLED_BACK if rolled_back else RolloutStatus.FAILED, failure.error)

    def cancelled(self) -> None:
        self._close(RolloutStatus.CANCELLED, "It was cancelled.")

    def _close(self, status: str, reason: str = "") -> None:
        Rollout.objects.filter(pk=self.rollout.pk, status__in=RolloutStatus.open()).update(
            status=status, reason=reason, finished_at=database_now(), hold="", command="", paused=False
        )

    @classmethod
    def resubmit(cls, operation, requested_by: str):
        """A new rollout to the same release: its row is new as well."""
        from deployments.services import rollout_retry

        return rollout_retry(operation=operation, requested_by=requested_by)


@operation("target.rollback", first="begin", label="Rollback")
class RollbackTarget(RolloutTarget):
    """A rollout to a release that served before."""
