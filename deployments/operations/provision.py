"""target.provision: make a target's infrastructure as its spec says, and bring its replicas up."""

import secrets

from deployments.mirroring import end_all
from deployments.models import RUNNING_TARGET, Replica, ReplicaStatus, TargetStatus
from deployments.operations.base import TargetOperation
from deployments.operations.replicas import Moving, Stuck, counted, live_replicas
from deployments.operations.sets import replica_set
from deployments.providers.base import ABSENT, FAILED, PENDING
from deployments.services import release_create
from deployments.target_specs import given_secrets
from deployments.workloads import workload_of
from worker.engine import database_now
from worker.handlers import operation
from worker.outcomes import Cancelled, Done, Fail, Next, Outcome, Wait


@operation("target.provision", first="check", label="Provision")
class ProvisionTarget(TargetOperation):
    """Infrastructure first, then the schema, then the replicas, in the order of the methods.

    A target that served already is changed to its new spec in the same steps.
    """

    @property
    def served_before(self) -> bool:
        return self.target.ready_at is not None

    def check(self) -> Outcome:
        if self.target.status in (TargetStatus.DESTROYING, TargetStatus.DESTROYED):
            return Fail(f"{self.target.name} is {self.target.status}.", code="target_destroyed")
        if self.target.status not in (*RUNNING_TARGET, TargetStatus.PROVISIONING):
            with self.atomic():
                self.update_target(status=TargetStatus.PROVISIONING, status_reason="")
        problems = self.provider.validate(self.spec)
        for problem in problems:
            if problem.severity == "error":
                return Fail(problem.message, code=problem.code, remedy=problem.remedy)
            self.report(f"{problem.message} {problem.remedy}".strip(), percent=2)
        return Next(self.keep_secrets, f"{self.provider.label} can take this target")

    def keep_secrets(self) -> Outcome:
        """Nothing is made with a secret that is not kept yet."""
        known = dict(self.target.secrets)
        wanted = known | dict(self.provider.prepare(self.spec).values)
        wanted.setdefault("jwt_secret", secrets.token_urlsafe(48))
        if wanted != known:
            with self.atomic():
                self.update_target(secrets=wanted)
        return Next(self.apply, "Its secrets are generated and kept encrypted")

    def apply(self) -> Outcome:
        token = self.state.get("token") or self.operation.pk
        self.remember(token=token)
        reference = self.provider.apply(self.spec, token)
        with self.atomic():
            self.update_target(engine_ref=dict(reference))
        return Next(self.wait_for_infrastructure)

    def wait_for_infrastructure(self) -> Outcome:
        progress = self.provider.observe(self.spec, self.target.engine_ref)
        if progress.state == PENDING:
            return Wait(5, progress.message or "the infrastructure", progress.percent)
        if progress.state == ABSENT:
            return Fail(
                "What was just made is gone again.",
                code="infrastructure_gone",
                remedy="See who removed it, then retry the operation.",
            )
        if progress.state == FAILED:
            return Fail(self.redact(progress.error), code="infrastructure_failed", remedy=progress.remedy)
        with self.atomic():
            self.update_target(
                outputs=self.target.outputs
                | dict(progress.outputs)
                | {"endpoint": f"/api/v1/targets/{self.target.pk}/vectors/"},
                secrets=dict(self.target.secrets) | dict(progress.secrets.values),
            )
        return Next(self.choose_release, "The infrastructure is there")

    def choose_release(self) -> Outcome:
        if self.target.release is None:
            with self.atomic():
                release = release_create(project=self.target.project, created_by=self.operation.created_by)
                self.update_target(release=release)
        return Next(self.migrate, f"It runs {self.target.release}: {self.target.release.image}")

    def migrate(self) -> Outcome:
        schema = self.runtime.schema(self.target.release.image)
        progress = self.run_migration(self.target.release)
        if progress.state == PENDING:
            return Wait(2, progress.message or "the vector schema to be migrated", progress.percent)
        if progress.state == FAILED:
            return Fail(self.redact(progress.error), code="migration_failed", remedy=progress.remedy)
        with self.atomic():
            self.update_target(outputs=self.target.outputs | {"schema": schema})
        return Next(self.start, f"The vector schema is at {schema}")

    def start(self) -> Outcome:
        standing = self._replicas(self.target.desired_replicas, "roll").move()
        if isinstance(standing, Moving):
            return Wait(standing.seconds, standing.waiting_for, standing.percent)
        if isinstance(standing, Stuck):
            self.state["failure"] = standing.reason
            return Next(self.give_up, standing.reason)
        return Next(self.finish)

    def _replicas(self, count: int, phase: str):
        return replica_set(
            self, release=self.target.release, count=count, is_wanted=self._is_wanted, phase=phase
        )

    def _is_wanted(self, replica: Replica) -> bool:
        return replica.release_id == self.target.release_id

    def finish(self) -> Outcome:
        with self.atomic():
            self.update_target(
                status=TargetStatus.READY,
                status_reason="",
                ready_at=self.target.ready_at or database_now(),
            )
        result = {
            "target": self.target.pk,
            "endpoint": self.target.outputs["endpoint"],
            "release": self.target.release_id,
            "replicas": self.target.desired_replicas,
        }
        return Done(
            result, f"{self.target.name} serves with {counted(self.target.desired_replicas, 'replica')}"
        )

    # The way back

    def give_up(self) -> Outcome:
        """End the replicas that did not come up; the infrastructure stays for a retry."""
        if self.is_cluster:
            if not self.served_before:
                self.runtime.apply(workload_of(self.target, ()))
        else:
            self._stop_starting("the target did not come up")
        return Fail(
            self.state["failure"],
            code="not_ready",
            remedy="Read the replica's log; mend the cause, then retry the operation or destroy the target.",
        )

    def _stop_starting(self, reason: str) -> None:
        replicas = self._replicas(0, "give_up")
        replicas.now = database_now()
        for replica in live_replicas(self.target):
            if not self.served_before or replica.status == ReplicaStatus.STARTING:
                replicas.stop(replica, reason)

    def cancel(self) -> Outcome:
        if self.served_before:
            return Next(self.restore, "Going back to the spec from before")
        return Next(self.tear_down, "Removing what was made so far")

    def tear_down(self) -> Outcome:
        if not self.is_cluster:
            self._stop_starting("the provisioning was cancelled")
        elif self.state.get("applied") or self.target.outputs.get("schema"):
            progress = self.runtime.delete(workload_of(self.target))
            if progress.state == PENDING:
                return Wait(1, progress.message or "the workload to be removed", progress.percent)
            end_all(self.target, "the provisioning was cancelled")
        if self.state.get("token"):
            self.provider.destroy(self.spec, self.target.engine_ref, self.operation.pk)
            progress = self.provider.observe(self.spec, self.target.engine_ref)
            if progress.state != ABSENT:
                return Wait(2, progress.message or "the infrastructure to be removed", progress.percent)
        if not self.is_cluster:
            for replica in Replica.objects.filter(target=self.target):
                self.runtime.remove(replica.pk)
        return Cancelled("Everything that was made is removed; the target can be provisioned again.")

    def restore(self) -> Outcome:
        """A change of spec on a serving target is taken back."""
        before = self.input.get("before")
        if before:
            with self.atomic():
                self.update_target(spec=before, desired_replicas=before.get("replicas", 1))
            self.provider.apply(self.spec, self.state.get("token") or self.operation.pk)
        standing = self._replicas(self.target.desired_replicas, "restore").move()
        if isinstance(standing, Moving):
            return Wait(standing.seconds, standing.waiting_for, standing.percent)
        if isinstance(standing, Stuck):
            return Fail(standing.reason, code="not_restored", remedy="Read the replica's log.")
        return Cancelled("The target is as it was before.")

    def failed(self, failure: Fail) -> None:
        if failure.code == "target_destroyed":
            return
        if self.target.status in RUNNING_TARGET:
            self.update_target(status=TargetStatus.DEGRADED, status_reason=failure.error)
        else:
            self.update_target(status=TargetStatus.FAILED, status_reason=failure.error)

    def cancelled(self) -> None:
        if not self.served_before:
            self.update_target(
                status=TargetStatus.PENDING,
                status_reason="The provisioning was cancelled; nothing is left of it.",
                engine_ref={},
                outputs={},
                # What people gave cannot be made again.
                secrets=given_secrets(self.target),
            )
