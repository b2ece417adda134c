"""target.revert_drift: one field is put back to how it was made; what others are ignored or open stays."""

from functools import cached_property

from deployments.drift.models import DriftFinding
from deployments.drift.services import as_drift, drift_check
from deployments.drift.sources import source_of
from deployments.operations.base import TargetOperation
from worker.engine import database_now
from worker.handlers import operation
from worker.outcomes import Done, Fail, Next, Outcome, Wait

SECONDS = 60.0


@operation("target.revert_drift", first="revert", label="Revert drift")
class RevertDrift(TargetOperation):
    @cached_property
    def finding(self) -> DriftFinding:
        return DriftFinding.objects.get(pk=self.input["finding"])

    def revert(self) -> Outcome:
        others = DriftFinding.objects.filter(target=self.target, source=self.finding.source, resolved_at=None)
        others = frozenset(one.path for one in others.exclude(pk=self.finding.pk))
        source_of(self.target, self.finding.source).revert(as_drift(self.finding), others)
        return Next(self.look, f"{self.finding.path} is put back")

    def look(self) -> Outcome:
        drift_check(target=self.target)
        self.finding.refresh_from_db()
        if self.finding.resolved_at is not None:
            return Done({"finding": self.finding.pk}, "It is as it was made")
        if (database_now() - self.operation.step_started_at).total_seconds() < SECONDS:
            return Wait(2, f"{self.finding.path} to be as it was made")
        return Fail(
            f"{self.finding.path} is {self.finding.actual!r} again.",
            code="drift_returns",
            remedy="Find out who changes it; ignore or adopt it, or take their right to change it away.",
        )
