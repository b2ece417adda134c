"""target.restart: every replica is replaced by a fresh one of the same release."""

from deployments.models import Replica
from deployments.operations.replicas import counted
from deployments.operations.rolling import RollingOperation
from worker.handlers import operation
from worker.outcomes import Done, Outcome


@operation("target.restart", first="begin", label="Restart")
class RestartTarget(RollingOperation):
    def is_wanted(self, replica: Replica) -> bool:
        return self.made(replica) and super().is_wanted(replica)

    @property
    def restarted_at(self) -> str:
        return self.operation.created_at.isoformat()

    def finish(self) -> Outcome:
        with self.atomic():
            self.serves_again()
        return Done({"replicas": self.count}, f"Serving with {counted(self.count, 'fresh replica')}")
