"""target.heal: replicas that died or stay unready are replaced."""

from datetime import datetime

from deployments.models import Replica, ReplicaStatus, TargetStatus
from deployments.operations.replicas import ReplicaSet, counted, live_replicas
from deployments.operations.rolling import RollingOperation
from worker.engine import database_now
from worker.handlers import operation
from worker.outcomes import Cancelled, Done, Fail, Outcome

UNREADY_SECONDS = 30.0


def is_unready_too_long(replica: Replica, now: datetime) -> bool:
    """Whether a replica has been unready so long that it is replaced rather than waited for."""
    since = replica.handle.get("unready_since")
    if replica.status != ReplicaStatus.UNREADY or not since:
        return False
    return (now - datetime.fromisoformat(since)).total_seconds() > UNREADY_SECONDS


@operation("target.heal", first="begin", label="Heal", deadline_seconds=600)
class HealTarget(RollingOperation):
    def is_wanted(self, replica: Replica) -> bool:
        return super().is_wanted(replica) and not is_unready_too_long(replica, database_now())

    def finish(self) -> Outcome:
        with self.atomic():
            self.serves_again()
        return Done({"replicas": self.count}, f"Serving again with {counted(self.count, 'replica')}")

    def take_back(self) -> Outcome:
        """What healed so far stays; replicas that did not come up go, and the next heal waits longer."""
        replicas = ReplicaSet(
            self, release=self.release, count=self.count, is_wanted=self.is_wanted, phase="take_back"
        )
        replicas.now = database_now()
        for replica in live_replicas(self.target):
            if replica.status == ReplicaStatus.STARTING:
                replicas.stop(replica, "another replica of this release did not become ready")
        if failure := self.state.get("failure"):
            return Fail(failure, code=self.failure_code, remedy=self.remedy())
        return Cancelled("Healing goes on by itself later.")

    def failed(self, failure: Fail) -> None:
        if self.target.status in (TargetStatus.READY, TargetStatus.DEGRADED):
            self.update_target(status=TargetStatus.DEGRADED, status_reason=failure.error)
