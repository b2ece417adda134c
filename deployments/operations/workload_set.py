"""Brings a cluster's workload to the revisions that should run; the cluster itself moves the pods.

The counterpart of `replicas.ReplicaSet`: each call applies what is wanted unless that was done, reads what
the cluster says, and tells how it stands. What is wanted is written to the target's row before it is applied,
so that whoever comes after a kill knows what may be there.
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from django.conf import settings

from deployments.errors import ProviderError
from deployments.mirroring import mirror
from deployments.operations.base import TargetOperation
from deployments.operations.replicas import Moving, Settled, Stuck
from deployments.runtimes.workload import PodProblem, Revision, RevisionStatus, WorkloadStatus
from deployments.services import canonical_digest
from deployments.workloads import intended, workload_of
from worker.engine import database_now

# What does not pass by waiting, once it lasted for WORKLOAD_PROBLEM_SECONDS: a registry may be away for a
# moment, a first start may come before the database. What waits for nodes waits longer; what is not here
# waits for the deadline.
LASTING = ("image_pull", "crash_loop", "out_of_memory", "config", "quota", "admission")
LOOK_SECONDS = 1.0


class WorkloadSet:
    """The revisions of an operation's target.

    `then` are the revisions that are wanted once the first ones are settled: a canary's pods go when the
    stable revision has become what they are.
    """

    def __init__(
        self,
        handler: TargetOperation,
        revisions: Sequence[Revision],
        *,
        phase: str = "roll",
        then: Sequence[Revision] | None = None,
        restarted_at: str | None = None,
    ):
        self.handler = handler
        self.target = handler.target
        self.runtime = handler.runtime
        self.stages = [tuple(revisions)] if then is None else [tuple(revisions), tuple(then)]
        self.phase = phase
        self.restarted_at = restarted_at

    def move(self) -> Settled | Moving | Stuck:
        """Apply what is wanted, read what is true, and say how it stands."""
        if reason := self.handler.state.get(f"stuck_{self.phase}"):
            return Stuck(reason)
        self.now = database_now()
        stage = self.handler.state.get(f"stage_{self.phase}", 0)
        try:
            while True:
                standing = self._stand(stage)
                if not isinstance(standing, Settled) or stage + 1 == len(self.stages):
                    break
                stage += 1
                self.handler.remember(**{f"stage_{self.phase}": stage})
        except ProviderError as error:
            if not error.permanent:
                raise
            standing = Stuck(f"{error} {error.remedy}".strip())
        if isinstance(standing, Stuck):
            reason = self.handler.redact(standing.reason)
            self.handler.remember(**{f"stuck_{self.phase}": reason})
            return Stuck(reason)
        return standing

    def _stand(self, stage: int) -> Settled | Moving | Stuck:
        revisions = self.stages[stage]
        self._apply(revisions, f"{self.phase}.{stage}")
        workload = workload_of(self.target, revisions)
        status = self.runtime.status(workload)
        mirror(self.target, status, self.now)
        return self._standing(revisions, status)

    # Moves

    def _apply(self, revisions: tuple[Revision, ...], key: str) -> None:
        """Have the cluster want these revisions; what was applied once is not applied again."""
        wanted = intended(self.target, revisions, restarted_at=self.restarted_at)
        if self.target.outputs.get("workload") != wanted:
            with self.handler.atomic():
                self.handler.update_target(outputs=self.target.outputs | {"workload": wanted})
        workload = workload_of(self.target, revisions)
        digest = canonical_digest(
            [
                [asdict(revision) for revision in revisions],
                dict(workload.spec),
                dict(workload.secrets.values),
                workload.restarted_at,
                sorted(workload.ignored),
            ]
        )
        applied = self.handler.state.get("applied", {})
        if applied.get("key") == key and applied.get("digest") == digest:
            return
        changes = self.runtime.apply(workload)
        self.handler.remember(applied={"key": key, "digest": digest, "at": self.now.isoformat()})
        if changes:
            named = [f"{change.action} {change.kind} {change.name}" for change in changes]
            more = f" and {len(named) - 6} more" if len(named) > 6 else ""
            self.handler.report(f"Applied: {', '.join(named[:6])}{more}", changes=named[:100])

    # How it stands

    def _standing(self, revisions: tuple[Revision, ...], status: WorkloadStatus) -> Settled | Moving | Stuck:
        found = {revision.role: revision for revision in status.revisions}
        desired = sum(one.desired for one in found.values()) or 1
        percent = min(99, round(100 * sum(min(o.ready, o.desired) for o in found.values()) / desired))
        for wanted in revisions:
            one = found.get(wanted.role)
            if one is None or one.release != wanted.release:
                return Moving(f"the {wanted.role} deployment to be made", percent, LOOK_SECONDS)
            if not one.settled:
                return self._unsettled(wanted, one, percent)
        self._forget_problem()
        extra = set(found) - {wanted.role for wanted in revisions}
        if extra:
            return Moving(f"the {extra.pop()} deployment to be removed", 99, LOOK_SECONDS)
        ending = [pod for pod in status.pods if pod.role not in {wanted.role for wanted in revisions}]
        if ending:
            return Moving(f"the requests of {len(ending)} old pods to end", 99, LOOK_SECONDS)
        return Settled()

    def _unsettled(self, wanted: Revision, one: RevisionStatus, percent: int) -> Moving | Stuck:
        phrase = f"pod {min(one.ready + 1, one.desired)} of {one.desired} of v{wanted.number} to become ready"
        if one.updated >= one.desired and one.ready >= one.desired:
            phrase = f"the old pods of the {wanted.role} deployment to end"
        waited = self._waited(one)
        if one.problem is None:
            self._forget_problem()
            if waited > settings.WORKLOAD_READY_SECONDS:
                return Stuck(
                    f"Only {one.ready} of {one.desired} pods of v{wanted.number} were ready within"
                    f" {settings.WORKLOAD_READY_SECONDS} s."
                )
            return Moving(phrase, percent, LOOK_SECONDS)
        lasting = self._problem_seconds(one.problem, wanted)
        believed = settings.WORKLOAD_READY_SECONDS
        if one.problem.code in LASTING:
            believed = settings.WORKLOAD_PROBLEM_SECONDS
        elif one.problem.code == "unschedulable":
            believed = settings.WORKLOAD_UNSCHEDULABLE_SECONDS
        if lasting >= believed or waited > settings.WORKLOAD_READY_SECONDS:
            return Stuck(f"v{wanted.number} does not come up. {told(one.problem)}")
        return Moving(f"{phrase}: {one.problem.message}", percent, LOOK_SECONDS)

    def _waited(self, one: RevisionStatus) -> float:
        """Seconds since the revision made its last progress."""
        mark = [self.phase, one.role, one.release, one.desired, one.updated, one.ready]
        kept = self.handler.state.get("progress")
        if not kept or kept["mark"] != mark:
            kept = {"mark": mark, "at": self.now.isoformat()}
            self.handler.state["progress"] = kept
        return (self.now - datetime.fromisoformat(kept["at"])).total_seconds()

    def _problem_seconds(self, problem: PodProblem, wanted: Revision) -> float:
        """For how long this kind of problem is seen by now; the first time it is told as an event."""
        kept = self.handler.state.get("problem")
        key = [self.phase, wanted.role, wanted.release, problem.code]
        if not kept or kept["key"] != key:
            kept = {"key": key, "at": self.now.isoformat()}
            self.handler.remember(problem=kept)
            self.handler.report(self.handler.redact(told(problem)), problem=problem.code)
        return (self.now - datetime.fromisoformat(kept["at"])).total_seconds()

    def _forget_problem(self) -> None:
        self.handler.state["problem"] = None


def told(problem: PodProblem) -> str:
    """A problem in plain words, with what to do and the cluster's own text."""
    text = f"{problem.message} {problem.remedy}"
    if problem.event and problem.event not in text:
        text += f" The cluster says: {problem.event}"
    return text
