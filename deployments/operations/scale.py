"""target.scale: another number of replicas of the same release."""

from deployments.operations.replicas import counted
from deployments.operations.rolling import RollingOperation
from worker.handlers import operation
from worker.outcomes import Done, Fail, Outcome


@operation("target.scale", first="begin", label="Scale")
class ScaleTarget(RollingOperation):
    @property
    def old_count(self) -> int:
        return self.input.get("before", self.target.desired_replicas)

    @property
    def count(self) -> int:
        return self.input["replicas"]

    def begin(self) -> Outcome:
        if self.target.desired_replicas != self.count:
            with self.atomic():
                self._set_count(self.count)
        return super().begin()

    def finish(self) -> Outcome:
        with self.atomic():
            self.serves_again()
        return Done({"replicas": self.count}, f"Serving with {counted(self.count, 'replica')}")

    def failed(self, failure: Fail) -> None:
        self._put_back_count()
        super().failed(failure)

    def cancelled(self) -> None:
        self._put_back_count()

    def _put_back_count(self) -> None:
        self._set_count(self.old_count)

    def _set_count(self, count: int) -> None:
        self.update_target(desired_replicas=count, spec=self.target.spec | {"replicas": count})
