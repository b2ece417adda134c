"""Brings a target's replicas from what runs to what should run, one safe move at a time.

`ReplicaSet.move` is called by a step again and again. Each call first learns what is true, then makes the
moves that are safe now: never fewer ready replicas than wanted (maxUnavailable 0), never more than one above
(maxSurge 1). It may be interrupted at any line: the next call learns what is true again.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection

from deployments.models import LIVE_REPLICA, Release, Replica, ReplicaStatus
from deployments.operations.base import TargetOperation
from deployments.operations.readiness import readiness
from deployments.runtimes.base import ReplicaState
from deployments.scraping import scrape_last
from worker.engine import database_now

SERVING = (ReplicaStatus.READY, ReplicaStatus.UNREADY)
STARTING_AT_ONCE = 4
PORT_QUARANTINE_SECONDS = 60
PORT_TRIES = 3
PORT_TAKEN = 76
# A call ends after this, whatever is left to do, so that a step stays far below its lease.
MOVE_SECONDS = 5.0


@dataclass(frozen=True)
class Settled:
    """What should run runs, and nothing else."""


@dataclass(frozen=True)
class Moving:
    """On the way; `waiting_for` says what the next move waits for."""

    waiting_for: str
    percent: int
    seconds: float = 0.4


@dataclass(frozen=True)
class Stuck:
    """A replica that was started for this does not become ready."""

    reason: str


def drain_seconds() -> float:
    """After this no gateway sends a request to a replica that was marked as draining."""
    return settings.GATEWAY_REFRESH_SECONDS + 1.0


def live_replicas(target, release: str = "") -> list[Replica]:
    """The rows of a target (and of a release, by id) that stand for a process, oldest first."""
    rows = Replica.objects.filter(target=target, status__in=LIVE_REPLICA)
    if release:
        rows = rows.filter(release=release)
    return list(rows.select_related("release").order_by("pk"))


class ReplicaSet:
    """The replicas of an operation's target; `is_wanted` tells those that should stay.

    With `among` only replicas of that release (an id) are looked at: of a canary each side is a set of its
    own.
    """

    def __init__(
        self,
        handler: TargetOperation,
        *,
        release: Release,
        count: int,
        is_wanted: Callable[[Replica], bool],
        phase: str = "roll",
        among: str = "",
    ):
        self.handler = handler
        self.among = among
        self.runtime = handler.runtime
        self.target = handler.target
        self.release = release
        self.count = count
        self.is_wanted = is_wanted
        self.phase = phase
        self.not_ready: dict[str, str] = {}
        self._deadline = 0.0

    def move(self) -> Settled | Moving | Stuck:
        """Learn what is true, do what is safe, and say how it stands."""
        self._deadline = time.monotonic() + MOVE_SECONDS
        self.now = database_now()
        self._learn()
        if reason := self.handler.state.get(f"stuck_{self.phase}"):
            return Stuck(reason)
        self._end_drained()
        self._drain_and_start()
        return self._standing()

    def _in_time(self) -> bool:
        return time.monotonic() < self._deadline

    def live(self) -> list[Replica]:
        """The live replicas that this set is about."""
        return live_replicas(self.target, self.among)

    # What is true

    def _learn(self) -> None:
        for replica in self.live():
            state = self.runtime.state(replica.pk)
            if replica.status == ReplicaStatus.STARTING:
                self._learn_starting(replica, state)
            elif state.state not in ("running", "starting"):
                self._ended(replica, state)

    def _learn_starting(self, replica: Replica, state: ReplicaState) -> None:
        if state.state == "absent":
            self.start(replica)
            return
        if state.state in ("exited", "stopped"):
            self._start_failed(replica, state)
            return
        why = "it does not listen yet"
        if state.state == "running" and self._in_time():
            is_ready, why = readiness(replica.host, replica.port)
            if is_ready:
                self._became_ready(replica, state)
                return
        self.not_ready[replica.pk] = why
        if not replica.handle.get("started_at"):
            self._record_start(replica, state)
        waited = (self.now - datetime.fromisoformat(replica.handle["started_at"])).total_seconds()
        if waited > settings.REPLICA_READY_SECONDS:
            reason = f"It was not ready within {settings.REPLICA_READY_SECONDS} s: {why}."
            # The runtime keeps the reason, so that it survives a crash between this and the row.
            self._start_failed(replica, self.runtime.stop(replica.pk, grace_seconds=1.0, reason=reason))

    def _became_ready(self, replica: Replica, state: ReplicaState) -> None:
        with self.handler.atomic():
            changed = Replica.objects.filter(pk=replica.pk, status=ReplicaStatus.STARTING).update(
                status=ReplicaStatus.READY,
                reason="",
                ready_at=self.now,
                handle=replica.handle | dict(state.handle),
                failed_probes=0,
            )
            if changed:
                seconds = (self.now - replica.created_at).total_seconds()
                self.handler.report(
                    f"Replica {replica.pk} of {replica.release} is ready on port {replica.port} "
                    f"after {seconds:.1f} s",
                    replica=replica.pk,
                )

    def _start_failed(self, replica: Replica, state: ReplicaState) -> None:
        """A replica that never served ended; unless only its port was lost, that is this set's failure."""
        reason = self.handler.redact(state.reason or "It ended while starting.")
        tries = self.handler.state.get("port_tries", 0)
        with self.handler.atomic():
            self._mark_ended(replica, ReplicaStatus.FAILED, reason)
            self.handler.report(f"Replica {replica.pk} of {replica.release} did not start: {reason}")
            if state.exit_code == PORT_TAKEN and tries < PORT_TRIES:
                self.handler.remember(port_tries=tries + 1)
            elif self.is_wanted(replica):
                stuck = f"A replica of {replica.release} did not become ready. {reason}"
                self.handler.remember(**{f"stuck_{self.phase}": stuck})

    def _ended(self, replica: Replica, state: ReplicaState) -> None:
        """A replica that served or was draining is gone."""
        asked = state.state == "stopped" or replica.status == ReplicaStatus.DRAINING
        status = ReplicaStatus.STOPPED if asked else ReplicaStatus.FAILED
        reason = self.handler.redact(state.reason or "Its process is gone.")
        with self.handler.atomic():
            self._mark_ended(replica, status, reason)
            if not asked:
                self.handler.report(f"Replica {replica.pk} died: {reason}", replica=replica.pk)

    def _mark_ended(self, replica: Replica, status: str, reason: str) -> None:
        Replica.objects.filter(pk=replica.pk, status__in=LIVE_REPLICA).update(
            status=status, reason=reason, stopped_at=self.now
        )

    # Moves

    def create(self) -> Replica:
        """Write a new replica's row, with a port of its own, then start its process."""
        with self.handler.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('replica ports', 0))")
            host, port = self.runtime.place(self._taken_ports())
            replica = Replica.objects.create(
                target=self.target, release=self.release, host=host, port=port, created_at=self.now
            )
            made = [*self.handler.state.get("made", []), replica.pk]
            self.handler.remember(made=made)
            self.handler.report(
                f"Starting replica {replica.pk} of {self.release} on port {port}", replica=replica.pk
            )
        self.start(replica)
        return replica

    def _taken_ports(self) -> frozenset[int]:
        """Ports of live replicas, and of those gone so recently that somebody may still call them there."""
        recent = self.now - timedelta(seconds=PORT_QUARANTINE_SECONDS)
        rows = Replica.objects.filter(port__isnull=False)
        live = rows.filter(status__in=LIVE_REPLICA).values_list("port", flat=True)
        gone = rows.filter(stopped_at__gt=recent).values_list("port", flat=True)
        return frozenset(live) | frozenset(gone)

    def start(self, replica: Replica) -> None:
        self._record_start(replica, self.runtime.start(self.handler.replica_spec(replica)))

    def _record_start(self, replica: Replica, state: ReplicaState) -> None:
        replica.handle = {**replica.handle, **state.handle, "started_at": self.now.isoformat()}
        with self.handler.atomic():
            Replica.objects.filter(pk=replica.pk, status=ReplicaStatus.STARTING).update(handle=replica.handle)

    def stop(self, replica: Replica, reason: str) -> None:
        """End a replica's process, then its row."""
        self.runtime.stop(replica.pk, grace_seconds=settings.REPLICA_STOP_SECONDS, reason=reason)
        with self.handler.atomic():
            self._mark_ended(replica, ReplicaStatus.STOPPED, reason)
            self.handler.report(f"Stopped replica {replica.pk} of {replica.release}", replica=replica.pk)

    def _drain(self, replica: Replica) -> None:
        with self.handler.atomic():
            handle = replica.handle | {"draining_at": self.now.isoformat()}
            changed = Replica.objects.filter(pk=replica.pk, status__in=SERVING).update(
                status=ReplicaStatus.DRAINING, handle=handle
            )
            if changed:
                self.handler.report(f"Draining replica {replica.pk} of {replica.release}", replica=replica.pk)

    def _end_drained(self) -> None:
        for replica in self.live():
            if replica.status != ReplicaStatus.DRAINING or not self._in_time():
                continue
            since = datetime.fromisoformat(replica.handle["draining_at"])
            if (self.now - since).total_seconds() >= drain_seconds():
                scrape_last(replica)
                self.stop(replica, "replaced")

    def _drain_and_start(self) -> None:
        current = [r for r in self.live() if r.status != ReplicaStatus.DRAINING]
        for replica in [r for r in current if r.status == ReplicaStatus.STARTING and not self.is_wanted(r)]:
            # It serves nobody, so there is nothing to drain.
            if self._in_time():
                self.stop(replica, "not wanted any more")
                current.remove(replica)
        wanted = [r for r in current if self.is_wanted(r)]
        old = [r for r in current if not self.is_wanted(r)]
        ready_wanted = sum(r.status == ReplicaStatus.READY for r in wanted)
        for replica in sorted(old, key=lambda r: r.status == ReplicaStatus.READY):
            ready = sum(r.status == ReplicaStatus.READY for r in current)
            if replica.status == ReplicaStatus.READY:
                is_safe = ready > self.count
            else:
                is_safe = ready_wanted + len(old) > self.count
            if is_safe:
                self._drain(replica)
                current.remove(replica)
                old.remove(replica)
        if not old:
            # Scaling in: those that serve least go first, then the youngest.
            by_worth = sorted(
                wanted, key=lambda r: (r.status == ReplicaStatus.READY, -r.created_at.timestamp())
            )
            for replica in by_worth[: max(0, len(wanted) - self.count)]:
                if replica.status == ReplicaStatus.STARTING:
                    self.stop(replica, "not wanted any more")
                else:
                    self._drain(replica)
                current.remove(replica)
                wanted.remove(replica)
        room = self.count + (1 if old else 0)
        starting = sum(r.status == ReplicaStatus.STARTING for r in current)
        missing = min(self.count - len(wanted), room - len(current), STARTING_AT_ONCE - starting)
        for _ in range(missing):
            if self._in_time():
                self.create()

    # How it stands

    def _standing(self) -> Settled | Moving:
        live = self.live()
        draining = [r for r in live if r.status == ReplicaStatus.DRAINING]
        current = [r for r in live if r.status != ReplicaStatus.DRAINING]
        wanted = [r for r in current if self.is_wanted(r)]
        ready = [r for r in wanted if r.status == ReplicaStatus.READY]
        percent = round(100 * len(ready) / self.count) if self.count else 100
        if len(ready) < self.count or len(wanted) > self.count:
            number = min(len(ready) + 1, self.count)
            phrase = f"replica {number} of {self.count} to become ready"
            slow = [
                self.not_ready[r.pk]
                for r in wanted
                if r.pk in self.not_ready and (self.now - r.created_at).total_seconds() > 5
            ]
            if slow:
                phrase += f": {slow[0]}"
            return Moving(phrase, min(percent, 99), 0.3)
        if draining:
            return Moving(f"the requests of {counted(len(draining), 'old replica')} to end", 99, 0.5)
        if len(current) > len(wanted):
            return Moving("old replicas to be replaced", 99, 0.3)
        return Settled()


def counted(count: int, noun: str) -> str:
    """A count with its noun: `1 replica`, `2 replicas`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
