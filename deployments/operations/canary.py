"""The course of a canary: shift -> observe for each of its steps, then promote and finish.

The stable release keeps all its replicas until the promotion, so that going back is a change of weights.
What people ask for lies in the rollout's row; an abort is the operation's cancellation, which the engine
carries out before any other step, and `finish` looks for it once more under the operation's lock.
"""

import math
from datetime import datetime, timedelta

from deployments.models import Analysis, ClusterState, Replica, ReplicaStatus, Rollout, RolloutStatus
from deployments.operations.figures import counted_by_release, scrape_target
from deployments.operations.gates import (
    FAILED,
    INCONCLUSIVE,
    PASSED,
    Counted,
    Recalls,
    Standing,
    judge,
)
from deployments.operations.recall import recalls_of
from deployments.operations.replicas import Moving, Settled, Stuck
from deployments.operations.rolling import RollingOperation
from deployments.operations.sets import promotion, sides
from deployments.runtimes.workload import CANARY
from deployments.workloads import revision_of, workload_of
from worker.engine import database_now
from worker.outcomes import Next, Outcome, Wait

LOOK_SECONDS = 2.0
# A step of minutes is looked at this often; one that is held, ever more seldom.
LOOKS = 30
LOOK_SECONDS_MOST = 15.0
HELD_LOOK_SECONDS_MOST = 60.0
RECALL_SECONDS = 60.0


class CanaryOperation(RollingOperation):
    """The steps of a canary; the subclass has the `rollout` and its releases."""

    rollout: Rollout

    @property
    def is_canary(self) -> bool:
        return self.rollout.strategy == "canary"

    @property
    def first_move(self):
        return self.shift if self.is_canary else self.roll

    @property
    def weight_of_step(self) -> int:
        return self.rollout.steps[self.rollout.step]["weight"]

    def canary_count(self, weight: int) -> int:
        """How many replicas the new release has for a weight.

        Where nothing but their number splits the requests, as many as come nearest to the weight beside all
        the stable ones.
        """
        if self.is_cluster and weight < 100:
            state = ClusterState.objects.filter(pk=self.target.pk).first()
            if state is None or state.workload.get("routing", "replicas") == "replicas":
                return min(self.count, max(1, round(self.count * weight / (100 - weight))))
        return max(1, math.ceil(self.count * weight / 100)) if self.count else 0

    def two_sides(self, canary: int):
        """What keeps all replicas of the stable release, and so many of the new one beside them."""
        return sides(
            self,
            old=self.old_release,
            old_count=self.old_count,
            new=self.release,
            new_count=canary,
            weight=self.rollout.weight,
        )

    def update_rollout(self, **values) -> None:
        """Write fields of the rollout's row and of the copy at hand; inside `self.atomic()`."""
        Rollout.objects.filter(pk=self.rollout.pk).update(**values)
        for name, value in values.items():
            setattr(self.rollout, name, value)

    # Steps

    def shift(self) -> Outcome:
        """Have the replicas for this step's weight, then give it the weight."""
        weight = self.weight_of_step
        standing = self.two_sides(self.canary_count(weight)).move()
        if isinstance(standing, Moving):
            return Wait(standing.seconds, standing.waiting_for, standing.percent)
        if isinstance(standing, Stuck):
            return self._abort(standing.reason)
        if not self._set_weight(weight):
            return Wait(0.1, "the abort")
        scrape_target(self.target)
        before = counted_by_release(self.target, self.rollout.created_at)
        self.remember(
            at=self.rollout.step,
            before={release: [c.requests, c.errors, list(c.buckets)] for release, c in before.items()},
            recall=None,
            looked=None,
            unready_since=None,
        )
        with self.atomic():
            self.update_rollout(step_since=database_now(), hold="")
        return Next(
            self.observe,
            f"{self.release} has {weight} % of the requests (step {self.rollout.step + 1} of"
            f" {len(self.rollout.steps)})",
            {"weight": weight},
        )

    def observe(self) -> Outcome:
        """Look at the gates until the step's pause is over and all of them are kept."""
        if self.rollout.step != self.state["at"]:
            # The row went on, and the worker died before the operation did.
            return self._after_step("")
        if self.rollout.command:
            return self._promoted()
        standing = self.two_sides(self.canary_count(self.weight_of_step)).move()
        if isinstance(standing, Stuck):
            return self._abort(standing.reason)
        now = database_now()
        looked = self.state.get("looked")
        if looked is None or (now - datetime.fromisoformat(looked)).total_seconds() >= self._look_seconds(
            now
        ):
            verdict = self._look(now, standing)
        else:
            verdict = self.state["verdict"]
        if verdict == FAILED:
            return self._abort(self._failed_gates())
        pause = self.rollout.steps[self.rollout.step]["pause_seconds"]
        left = None if pause is None else pause - (now - self.rollout.step_since).total_seconds()
        hold = self._hold(verdict, left)
        if hold != self.rollout.hold:
            with self.atomic():
                self.update_rollout(hold=hold[:500])
        if hold:
            return Wait(LOOK_SECONDS, hold, self._percent())
        if left > 0:
            waiting = f"the pause of step {self.rollout.step + 1} at {self.weight_of_step} % to end"
            return Wait(min(LOOK_SECONDS, max(0.2, left)), waiting, self._percent())
        if verdict == INCONCLUSIVE and self.rollout.gates.get("inconclusive") == "abort":
            return self._abort(f"Gates say nothing at the end of the pause. {self._texts(INCONCLUSIVE)}")
        said = "" if verdict == PASSED else f", though gates say nothing: {self._texts(INCONCLUSIVE)}"
        return self._next_step(f"Step {self.rollout.step + 1} at {self.weight_of_step} % is passed{said}")

    def promote(self) -> Outcome:
        """All replicas are of the new release before the stable one loses its first."""
        if self.rollout.weight < 100:
            standing = self.two_sides(self.count).move()
            if isinstance(standing, Settled) and not self._set_weight(100):
                return Wait(0.1, "the abort")
        else:
            standing = promotion(
                self, release=self.release, count=self.count, is_wanted=self.is_wanted
            ).move()
            if isinstance(standing, Settled):
                return Next(self.finish)
        if isinstance(standing, Stuck):
            return self._abort(standing.reason)
        if isinstance(standing, Moving):
            return Wait(standing.seconds, standing.waiting_for, standing.percent)
        return Wait(0.1, "the stable release's replicas to be replaced", 99)

    # How it goes on

    def _promoted(self) -> Outcome:
        """A person asked for the next step, or for the end of all steps."""
        full = self.rollout.command == "full"
        message = f"Step {self.rollout.step + 1} was promoted by hand"
        if full:
            message += ", and all that are left with it"
        return self._next_step(message, past_all=full, paused=False, command="")

    def _next_step(self, message: str, *, past_all: bool = False, **values) -> Outcome:
        with self.atomic():
            if self.is_cancelled():
                return Wait(0.1, "the abort")
            step = len(self.rollout.steps) if past_all else self.rollout.step + 1
            self.update_rollout(step=step, hold="", **values)
        return self._after_step(message)

    def _after_step(self, message: str) -> Outcome:
        is_last = self.rollout.step >= len(self.rollout.steps)
        return Next(self.promote if is_last else self.shift, message)

    def _hold(self, verdict: str, left: float | None) -> str:
        """Why the canary stays at its step, or "" when it does not or its pause is not over."""
        if self.rollout.paused:
            return "somebody to resume or promote it: it is paused"
        if left is None:
            return f"somebody to promote it beyond {self.weight_of_step} %"
        is_held = verdict == INCONCLUSIVE and self.rollout.gates.get("inconclusive", "hold") == "hold"
        if left <= 0 and is_held:
            return f"gates that say nothing yet: {self._texts(INCONCLUSIVE)}"
        return ""

    def _abort(self, reason: str) -> Outcome:
        self.state["failure"] = reason
        return Next(self.take_back, f"Going back: {reason}")

    def _set_weight(self, weight: int) -> bool:
        """Have the gateway, and a cluster's own routes, send so much to the new release.

        False, with nothing changed, when it would be more and an abort was asked for.
        """
        with self.atomic():
            if weight > self.rollout.weight and self.is_cancelled():
                return False
            self.update_rollout(weight=weight)
        self.route(weight)
        return True

    def route(self, weight: int) -> None:
        """Have a cluster's own routes carry the weight; the gateway reads the rollout's row.

        A kill before this costs nothing: the next move applies what is wanted, the weights with it.
        """
        if not self.is_cluster:
            return
        revisions = (
            revision_of(self.old_release, replicas=self.old_count, weight=100 - weight),
            revision_of(self.release, role=CANARY, replicas=self.canary_count(weight), weight=weight),
        )
        self.runtime.route(workload_of(self.target, revisions))

    def is_cancelled(self) -> bool:
        """Whether an abort was asked for by now; inside `self.atomic()`, which keeps others from it."""
        self.operation.refresh_from_db(fields=["cancel_requested_at"])
        return self.operation.cancel_requested_at is not None

    # What is seen

    def _look_seconds(self, now: datetime) -> float:
        pause = self.rollout.steps[self.rollout.step]["pause_seconds"] or 0
        since = (now - self.rollout.step_since).total_seconds()
        if self.rollout.hold:
            return min(max(LOOK_SECONDS, since / LOOKS), HELD_LOOK_SECONDS_MOST)
        return min(max(LOOK_SECONDS / 2, pause / LOOKS), LOOK_SECONDS_MOST)

    def _look(self, now: datetime, standing) -> str:
        """One reading of every gate, kept as it is."""
        scrape_target(self.target)
        found = counted_by_release(self.target, self.rollout.created_at)
        before = {name: Counted(*values) for name, values in self.state["before"].items()}
        none = Counted()

        def of(release) -> Counted:
            return found.get(release.pk, none).since(before.get(release.pk, none))

        stable = of(self.old_release)
        if stable.requests < self.rollout.gates.get("min_requests", 0):
            # At a high weight the stable release answers little: then what it answered since the beginning.
            stable = found.get(self.old_release.pk, none)
        verdict, readings = judge(
            self.rollout.gates,
            of(self.release),
            stable,
            self._replica_standing(now, standing),
            self._recalls(now),
        )
        told = [reading.as_json() for reading in readings]
        with self.atomic():
            Analysis.objects.create(
                rollout=self.rollout,
                at=now,
                step=self.rollout.step,
                weight=self.rollout.weight,
                verdict=verdict,
                readings=told,
            )
            self.remember(looked=now.isoformat(), verdict=verdict, readings=told)
        return verdict

    def _replica_standing(self, now: datetime, standing) -> Standing:
        """How the new release's replicas are since the step began."""
        rows = Replica.objects.filter(target=self.target, release=self.release)
        wanted = self.canary_count(self.weight_of_step)
        ready = rows.filter(status=ReplicaStatus.READY).count()
        died = (
            rows.filter(status=ReplicaStatus.FAILED, stopped_at__gte=self.rollout.step_since)
            .order_by("stopped_at")
            .first()
        )
        trouble = f"{died.pk} ended: {self.redact(died.reason)}" if died else ""
        if ready >= wanted:
            self.state["unready_since"] = None
            return Standing(min(ready, wanted), wanted, trouble)
        since = self.state.get("unready_since") or now.isoformat()
        self.state["unready_since"] = since
        seconds = (now - datetime.fromisoformat(since)).total_seconds()
        return Standing(ready, wanted, trouble, seconds)

    def _recalls(self, now: datetime) -> Recalls | None:
        """Recall as measured at this step, again once a minute."""
        gate = self.rollout.gates.get("recall")
        if not gate:
            return None
        kept = self.state.get("recall")
        if kept and now - datetime.fromisoformat(kept["at"]) < timedelta(seconds=RECALL_SECONDS):
            return Recalls(**kept["found"])
        found = recalls_of(
            self.target,
            canary=self.release.pk,
            stable=self.old_release.pk,
            queries=gate["queries"],
            k=gate["k"],
        )
        if found.canary is not None:
            told = {**vars(found), "collections": list(found.collections)}
            self.state["recall"] = {"at": now.isoformat(), "found": told}
        return found

    def _texts(self, verdict: str) -> str:
        """What the gates of this verdict said last."""
        readings = self.state.get("readings", [])
        return " ".join(
            f"{reading['gate']}: {reading['text']}" for reading in readings if reading["verdict"] == verdict
        )

    def _failed_gates(self) -> str:
        return (
            f"A gate failed at {self.rollout.weight} % (step {self.rollout.step + 1} of"
            f" {len(self.rollout.steps)}). {self._texts(FAILED)}"
        )

    def _percent(self) -> int:
        """How far the steps are, by their pauses."""
        steps = self.rollout.steps
        whole = sum((step["pause_seconds"] or 0) + 1 for step in steps)
        done = sum((step["pause_seconds"] or 0) + 1 for step in steps[: self.rollout.step])
        return min(99, round(100 * done / whole))

    # Going back

    def take_back(self) -> Outcome:
        if self.is_canary and self.rollout.weight and self.rollout.status in RolloutStatus.open():
            self._set_weight(0)
        return super().take_back()
