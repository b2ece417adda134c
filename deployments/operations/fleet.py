"""fleet.rollout: the targets of a fleet moved to a release, wave after wave, each by a rollout of its own.

A target's move is an ordinary `target.rollout`, its way back an ordinary `target.rollback`. The child and the
line of the report that names it are written in one transaction under this operation's lease, so that a
worker killed at any line leaves both or neither.
"""

from functools import cached_property

from controlplane.errors import ProblemError
from deployments.fleets.models import (
    MOVE_UNFINISHED,
    OPEN,
    FleetMove,
    FleetRollout,
    FleetRolloutStatus,
    MoveStatus,
    OnFailure,
    PauseAfter,
)
from deployments.models import Target
from deployments.services import rollback_start, rollout_start
from worker.engine import database_now
from worker.handlers import OperationHandler, operation
from worker.models import Operation, Status
from worker.outcomes import Cancelled, Done, Fail, Next, Outcome, Wait
from worker.services import OperationInProgressError, operation_cancel

POLL_SECONDS = 1.0
PAUSED_SECONDS = 3600.0
PENDING, MOVING, FAILED = MoveStatus.PENDING, MoveStatus.MOVING, MoveStatus.FAILED


@operation("fleet.rollout", first="begin", label="Fleet rollout", deadline_seconds=24 * 3600)
class FleetRolloutOperation(OperationHandler):
    """begin -> move -> finish; after too many failures stop, then take_back if asked; on cancel take_back."""

    @classmethod
    def title(cls, operation) -> str:
        return f"Rollout over fleet {operation.input['name']}"

    @classmethod
    def resubmit(cls, operation, requested_by: str):
        from deployments.fleets.services import fleet_rollout_retry

        return fleet_rollout_retry(operation=operation, requested_by=requested_by)

    @cached_property
    def rollout(self) -> FleetRollout:
        return FleetRollout.objects.select_related("release").get(pk=self.input["fleet_rollout"])

    def moves(self) -> list[FleetMove]:
        """The report's lines as stored now."""
        rows = FleetMove.objects.filter(fleet_rollout=self.rollout)
        return list(rows.select_related("target", "target__release", "before", "rollout", "rollback"))

    # Steps

    def begin(self) -> Outcome:
        moves = self.moves()
        targets, waves = _counted(len(moves), "target"), _counted(moves[-1].wave + 1, "wave")
        return Next(
            self.move,
            f"Moving {targets} to {self.rollout.release} in {waves}, {moves[0].target.name} first",
        )

    def move(self) -> Outcome:
        """One look: note what ended, then begin what is due."""
        moves = self.moves()
        for move in moves:
            if move.status == MOVING:
                self._follow(move)
        failed = [move for move in moves if move.status == FAILED]
        if len(failed) > self.rollout.max_failures:
            names = ", ".join(move.target.name for move in failed)
            self.state["failure"] = f"{names} did not take {self.rollout.release}: {failed[-1].reason}"
            return Next(self.stop, f"Stopping: {self.state['failure']}")
        wave = next((move.wave for move in moves if move.status in (PENDING, MOVING)), None)
        if wave is None:
            return Next(self.finish)
        if wave > self.state.get("wave", 0):
            return self._next_wave(wave)
        for move in moves:
            if move.wave == wave and move.status == PENDING:
                self._start(move)
        ended = sum(move.is_finished for move in moves)
        if not any(move.wave == wave and not move.is_finished for move in moves):
            return Wait(0, "the next wave", ended * 100 // len(moves))
        return Wait(POLL_SECONDS, _waiting(moves, wave), ended * 100 // len(moves))

    def stop(self) -> Outcome:
        """No target is begun any more; those that move are let to their end, or taken back."""
        if self.rollout.on_failure == OnFailure.ROLL_BACK:
            return Next(self.take_back, "Rolling back what has moved")
        moves = self.moves()
        for move in moves:
            if move.status == MOVING:
                self._follow(move)
        moving = [move.target.name for move in moves if move.status == MOVING]
        if moving:
            return Wait(POLL_SECONDS, f"{', '.join(moving)}, which moves still")
        if not self._close_unless_aborted(FleetRolloutStatus.FAILED, self.state["failure"]):
            return Wait(0, "the abort")
        moved = [move.target.name for move in moves if move.status == MoveStatus.MOVED]
        left = f"{', '.join(moved)} {_verb(moved)} {self.rollout.release}. " if moved else ""
        return Fail(
            self.state["failure"],
            code="stopped",
            remedy=f"{left}Mend the release and roll it out, or roll those targets back.",
        )

    def take_back(self) -> Outcome:
        """Every target to what served before; those that move now are cancelled first."""
        self._note_way_back()
        moves = self.moves()
        for move in moves:
            if move.status == MOVING:
                self._cancel(move)
                self._follow(move)
            if move.status == MoveStatus.MOVED:
                self._start_back(move)
            elif move.status == MoveStatus.ROLLING_BACK:
                self._follow_back(move)
        open_moves = [move for move in moves if move.status in (MOVING, MoveStatus.MOVED, "rolling_back")]
        if open_moves:
            names = ", ".join(move.target.name for move in open_moves)
            ended = len(moves) - len(open_moves)
            return Wait(POLL_SECONDS, f"{names} to run what served before", ended * 100 // len(moves))
        lost = [move for move in moves if move.status == MoveStatus.NOT_RESTORED]
        if lost:
            told = " ".join(f"{move.target.name}: {move.reason}" for move in lost)
            return Fail(
                f"{self.state.get('failure', 'It was aborted.')} Not rolled back: {told}",
                code="not_restored",
                remedy="Read the rollbacks that failed, mend the cause, and roll those targets back.",
            )
        if failure := self.state.get("failure"):
            return Fail(
                failure,
                code="rolled_back",
                remedy="Every target runs what it ran before. Mend the release, then roll out again.",
            )
        return Cancelled("Every target runs what it ran before.")

    def finish(self) -> Outcome:
        if not self._close_unless_aborted(FleetRolloutStatus.SUCCEEDED):
            return Wait(0, "the abort")
        moves = self.moves()
        failed = [move.target.name for move in moves if move.status == FAILED]
        told = f"{len(moves) - len(failed)} of {_counted(len(moves), 'target')} run {self.rollout.release}"
        return Done(
            {"release": self.rollout.release_id, "targets": len(moves), "failed": failed},
            told + (f"; {', '.join(failed)} failed" if failed else ""),
        )

    def cancel(self) -> Outcome:
        if self.rollout.status not in OPEN:
            self.report("It had ended when this came.")
            succeeded = self.rollout.status == FleetRolloutStatus.SUCCEEDED
            return Next(self.finish if succeeded else self.stop)
        return Next(self.take_back, "Aborting everywhere")

    # One target

    def _start(self, move: FleetMove) -> None:
        """Begin a target's move; a target that is busy is tried again at the next look."""
        release = self.rollout.release
        target = Target.objects.select_related("release").get(pk=move.target_id)
        if target.release_id == release.pk:
            self._write(
                move,
                f"{target.name} runs {release} already",
                status=MoveStatus.UNCHANGED,
                before=target.release,
                after=target.release,
                finished_at=database_now(),
            )
            return
        try:
            with self.atomic():
                rollout, child = rollout_start(
                    target=target,
                    release=release,
                    requested_by=self.operation.created_by,
                    idempotency_key=f"{self.rollout.pk}:{target.pk}",
                    **self.rollout.options,
                )
                self._write(
                    move,
                    f"{target.name} begins to move from {target.release} to {release}",
                    status=MOVING,
                    reason="",
                    before=target.release,
                    rollout=rollout,
                    started_at=database_now(),
                    child=child.pk,
                )
        except OperationInProgressError as error:
            self._write(move, "", reason=f"It waits for its turn: {error.detail}")
        except ProblemError as error:
            self._end(move, FAILED, error.detail)

    def _follow(self, move: FleetMove) -> None:
        """Note how a target's rollout ended, if it did."""
        child = Operation.objects.get(pk=move.rollout.operation)
        if child.status == Status.SUCCEEDED:
            self._end(move, MoveStatus.MOVED)
        elif child.status == Status.FAILED:
            self._end(move, FAILED, child.error)
        elif child.status == Status.CANCELLED:
            if self.operation.cancel_requested_at or "failure" in self.state:
                self._end(move, MoveStatus.CANCELLED, "It runs what it ran before.")
            else:
                self._end(move, FAILED, "Its rollout was cancelled by hand.")

    def _cancel(self, move: FleetMove) -> None:
        child = Operation.objects.get(pk=move.rollout.operation)
        if child.is_finished or child.cancel_requested_at:
            return
        try:
            operation_cancel(operation=child, requested_by=self.operation.created_by)
        except ProblemError:
            # It ended meanwhile: the next look finds out how.
            return

    def _start_back(self, move: FleetMove) -> None:
        target = Target.objects.select_related("release").get(pk=move.target_id)
        if target.release_id != self.rollout.release_id:
            self._end(
                move,
                MoveStatus.ROLLED_BACK if target.release_id == move.before_id else MoveStatus.NOT_RESTORED,
                f"It has been moved to {target.release} since; left as it is.",
            )
            return
        try:
            with self.atomic():
                back, child = rollback_start(
                    target=target,
                    release=move.before,
                    requested_by=self.operation.created_by,
                    idempotency_key=f"{self.rollout.pk}:{target.pk}",
                )
                self._write(
                    move,
                    f"{target.name} begins to move back to {move.before}",
                    status=MoveStatus.ROLLING_BACK,
                    reason="",
                    rollback=back,
                    child=child.pk,
                )
        except OperationInProgressError as error:
            self._write(move, "", reason=f"It waits for its turn to go back: {error.detail}")
        except ProblemError as error:
            self._end(move, MoveStatus.NOT_RESTORED, error.detail)

    def _follow_back(self, move: FleetMove) -> None:
        child = Operation.objects.get(pk=move.rollback.operation)
        if child.status == Status.SUCCEEDED:
            self._end(move, MoveStatus.ROLLED_BACK)
        elif child.status == Status.FAILED:
            self._end(move, MoveStatus.NOT_RESTORED, child.error)
        elif child.status == Status.CANCELLED:
            self._end(move, MoveStatus.NOT_RESTORED, "Its rollback was cancelled by hand.")

    def _end(self, move: FleetMove, status: str, reason: str = "") -> None:
        target = Target.objects.select_related("release").get(pk=move.target_id)
        told = MoveStatus(status).label.lower()
        self._write(
            move,
            f"{target.name}: {told}{f': {reason}' if reason else f', runs {target.release}'}",
            status=status,
            reason=reason,
            after=target.release,
            finished_at=database_now(),
        )

    def _write(self, move: FleetMove, message: str, *, child: str = "", **values) -> None:
        """Write a line of the report, and tell of it; nothing when it says so already."""
        if all(getattr(move, name) == value for name, value in values.items()):
            return
        for name, value in values.items():
            setattr(move, name, value)
        with self.atomic():
            move.save(update_fields=list(values))
            if message:
                detail = {"target": move.target_id, "status": move.status}
                self.report(message, **detail, **({"child": child} if child else {}))

    # The whole

    def _next_wave(self, wave: int) -> Outcome:
        """Begin a wave, unless somebody asked to pause before it."""
        with self.atomic():
            held = FleetRollout.objects.select_for_update(no_key=True).get(pk=self.rollout.pk)
            by_itself = held.pause_after == PauseAfter.WAVE or (
                held.pause_after == PauseAfter.CANARY and wave == 1
            )
            if by_itself and self.state.get("paused_before") != wave:
                held.pause_requested = True
                self.remember(paused_before=wave)
            held.status = FleetRolloutStatus.PAUSED if held.pause_requested else FleetRolloutStatus.RUNNING
            held.save(update_fields=["pause_requested", "status"])
        if held.pause_requested:
            return Wait(
                PAUSED_SECONDS, f"somebody to resume it before wave {wave + 1}", self.operation.percent
            )
        self.state["wave"] = wave
        return Next(self.move, f"Wave {wave + 1}")

    def _close_unless_aborted(self, status: str, reason: str = "") -> bool:
        """Close the report; False when an abort was accepted, which wins however late it came.

        None is accepted once the row is closed: both hold the operation's row.
        """
        with self.atomic():
            aborted = Operation.objects.filter(pk=self.operation.pk, cancel_requested_at__isnull=False)
            is_open = FleetRollout.objects.filter(pk=self.rollout.pk, status__in=OPEN).exists()
            if is_open and aborted.exists():
                return False
            self._close(status, reason)
        return True

    def _note_way_back(self) -> None:
        reason = self.state.get("failure") or "It was aborted."
        with self.atomic():
            FleetRollout.objects.filter(pk=self.rollout.pk, status__in=OPEN).update(
                status=FleetRolloutStatus.ROLLING_BACK, reason=reason, pause_requested=False
            )
            FleetMove.objects.filter(fleet_rollout=self.rollout, status=PENDING).update(
                status=MoveStatus.SKIPPED, reason=""
            )

    def _close(self, status: str, reason: str = "") -> None:
        FleetMove.objects.filter(fleet_rollout=self.rollout, status=PENDING).update(
            status=MoveStatus.SKIPPED, reason=""
        )
        FleetMove.objects.filter(fleet_rollout=self.rollout, status__in=MOVE_UNFINISHED).update(
            status=FAILED, reason="The fleet's rollout ended before this did.", finished_at=database_now()
        )
        FleetRollout.objects.filter(pk=self.rollout.pk, status__in=OPEN).update(
            status=status, reason=reason, pause_requested=False, finished_at=database_now()
        )

    def failed(self, failure: Fail) -> None:
        rolled_back = failure.code == "rolled_back"
        self._close(
            FleetRolloutStatus.ROLLED_BACK if rolled_back else FleetRolloutStatus.FAILED, failure.error
        )

    def cancelled(self) -> None:
        self._close(FleetRolloutStatus.CANCELLED, "It was aborted; every target runs what it ran before.")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _verb(names: list[str]) -> str:
    return "runs" if len(names) == 1 else "run"


def _waiting(moves: list[FleetMove], wave: int) -> str:
    names = [move.target.name for move in moves if move.wave == wave and not move.is_finished]
    return f"wave {wave + 1}: {', '.join(names)}"
