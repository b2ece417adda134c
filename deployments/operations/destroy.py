"""target.destroy: stop the replicas, remove the infrastructure with its data, then every trace of it."""

import time

from django.conf import settings

from deployments.mirroring import end_all
from deployments.models import LIVE_REPLICA, Health, Replica, ReplicaStatus, TargetStatus
from deployments.operations.base import TargetOperation
from deployments.operations.replicas import MOVE_SECONDS, live_replicas
from deployments.providers.base import ABSENT, FAILED, PENDING
from deployments.workloads import workload_of
from worker.engine import database_now
from worker.handlers import operation
from worker.outcomes import Cancelled, Done, Fail, Next, Outcome, Wait


@operation("target.destroy", first="stop_replicas", label="Destroy")
class DestroyTarget(TargetOperation):
    """Until the infrastructure is touched it can be cancelled; after that it goes on to the end."""

    def stop_replicas(self) -> Outcome:
        if self.target.status != TargetStatus.DESTROYING:
            with self.atomic():
                self.update_target(status=TargetStatus.DESTROYING, status_reason="")
        if self.is_cluster:
            return self._remove_workload()
        deadline = time.monotonic() + MOVE_SECONDS
        live = live_replicas(self.target)
        for number, replica in enumerate(live):
            if time.monotonic() > deadline:
                return Wait(0.1, f"{len(live) - number} replicas to stop")
            self.runtime.stop(
                replica.pk, grace_seconds=settings.REPLICA_STOP_SECONDS, reason="the target is destroyed"
            )
            with self.atomic():
                Replica.objects.filter(pk=replica.pk, status__in=LIVE_REPLICA).update(
                    status=ReplicaStatus.STOPPED, reason="the target is destroyed", stopped_at=database_now()
                )
                self.report(f"Stopped replica {replica.pk}", replica=replica.pk)
        return Next(self.remove_infrastructure, "No replica runs any more")

    def _remove_workload(self) -> Outcome:
        """The cluster ends the pods; what the inventory does not hold is not touched."""
        progress = self.runtime.delete(workload_of(self.target))
        if progress.state == PENDING:
            return Wait(1, progress.message or "the workload to be removed", progress.percent)
        if progress.state == FAILED:
            return Fail(self.redact(progress.error), code="destroy_failed", remedy=progress.remedy)
        with self.atomic():
            end_all(self.target, "the target is destroyed")
        return Next(self.remove_infrastructure, "Nothing of the workload is left")

    def remove_infrastructure(self) -> Outcome:
        self.remember(dropping=True)
        reference = self.provider.destroy(self.spec, self.target.engine_ref, self.operation.pk)
        return Next(self.wait_until_absent, detail={"engine_ref": sorted(reference)})

    def wait_until_absent(self) -> Outcome:
        progress = self.provider.observe(self.spec, self.target.engine_ref)
        if progress.state == ABSENT:
            return Next(self.remove_traces, "The infrastructure and its data are gone")
        if progress.state == FAILED:
            return Fail(self.redact(progress.error), code="destroy_failed", remedy=progress.remedy)
        return Wait(2, progress.message or "the infrastructure to be removed", progress.percent)

    def remove_traces(self) -> Outcome:
        if self.is_cluster:
            return Next(self.finish)
        for replica_id in Replica.objects.filter(target=self.target).values_list("pk", flat=True):
            self.runtime.remove(replica_id)
        return Next(self.finish)

    def finish(self) -> Outcome:
        with self.atomic():
            self.update_target(
                status=TargetStatus.DESTROYED,
                status_reason="",
                destroyed_at=database_now(),
                engine_ref={},
                outputs={},
                secrets={},
                health=Health.UNKNOWN,
                health_reason="",
            )
        return Done({"target": self.target.pk}, f"{self.target.name} is destroyed")

    def cancel(self) -> Outcome:
        if self.state.get("dropping"):
            self.report("Its data is being removed already; the destruction goes on.")
            return Next(self.remove_infrastructure)
        return Cancelled("Its data is untouched; its replicas are started again.")

    def cancelled(self) -> None:
        before = self.input.get("status_before", TargetStatus.DEGRADED)
        if before == TargetStatus.DESTROYING:
            before = TargetStatus.FAILED
        self.update_target(status=before, status_reason="Its destruction was cancelled.")

    def failed(self, failure: Fail) -> None:
        self.update_target(status=TargetStatus.FAILED, status_reason=failure.error)
