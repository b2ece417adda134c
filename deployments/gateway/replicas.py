"""Which replicas a target has, and the choice of one.

Read anew every GATEWAY_REFRESH_SECONDS while the target is called.
What was read stays in use while the control plane's database does not answer: replicas do not need it.
"""

import asyncio
import logging
import time
from dataclasses import dataclass, field

from django.conf import settings
from django.db.models import TextField
from django.db.models.functions import Cast

from controlplane.crypto import decrypt
from controlplane.errors import ProblemError, UnavailableError
from controlplane.threads import in_database
from deployments import selectors
from deployments.models import (
    LIVE_REPLICA,
    Replica,
    ReplicaStatus,
    Rollout,
    RolloutStatus,
    Target,
    TargetStatus,
)
from deployments.reaching import Way, way_to_call

log = logging.getLogger(__name__)

UNUSED_SECONDS = 60.0
EJECTED_SECONDS = 1.0
LONGEST_EJECTED_SECONDS = 10.0


@dataclass
class Backend:
    """A replica as the gateway sees it; in-flight counts and ejection are this process's own."""

    replica_id: str
    way: Way
    status: str
    reason: str
    release_id: str = ""
    in_flight: int = 0
    last_chosen: int = 0
    failures: int = 0
    ejected_until: float = 0.0

    def failed_to_connect(self) -> None:
        """Leave it out for a while, longer each time, until it answers again."""
        self.failures += 1
        seconds = min(EJECTED_SECONDS * 2 ** (self.failures - 1), LONGEST_EJECTED_SECONDS)
        self.ejected_until = time.monotonic() + seconds

    def answered(self) -> None:
        """It is there."""
        self.failures, self.ejected_until = 0, 0.0


@dataclass
class Entry:
    """A target in use."""

    target_id: str
    name: str
    status: str
    status_reason: str
    jwt_secret: str
    backends: dict[str, Backend] = field(default_factory=dict)
    read_at: float = 0.0
    used_at: float = 0.0
    chosen: int = 0
    # The canary's release and its share of the requests in per cent, while there is a canary.
    canary: str = ""
    weight: int = 0
    owed: int = 0

    def ready(self) -> list[Backend]:
        """The replicas that serve; UnavailableError when there is none."""
        found = [backend for backend in self.backends.values() if backend.status == ReplicaStatus.READY]
        if not found:
            raise no_replica(self)
        return found

    def choose(self, tried: list[str]) -> Backend:
        """The ready replica with the least in flight, not tried and not ejected if there is such a one.

        Of a canary exactly its weight of the requests is sent to it; a request that failed once is tried on
        a replica of the other release only when there is no other of its own.
        """
        ready = self.ready()
        now = time.monotonic()
        self.chosen += 1
        if self.canary:
            ready = self._of_its_share(ready, tried)
        best = min(
            ready,
            key=lambda one: (
                tried.count(one.replica_id),
                one.ejected_until > now,
                one.in_flight,
                one.last_chosen,
            ),
        )
        best.last_chosen = self.chosen
        return best

    def _of_its_share(self, ready: list[Backend], tried: list[str]) -> list[Backend]:
        """The replicas of whichever release's turn it is; all when that one has none that is ready."""
        if tried:
            first = self.backends.get(tried[0])
            is_canary = first is not None and first.release_id == self.canary
        else:
            self.owed += self.weight
            is_canary = self.owed >= 100
            if is_canary:
                self.owed -= 100
        mine = [one for one in ready if (one.release_id == self.canary) == is_canary]
        if tried and all(one.replica_id in tried for one in mine):
            return ready
        return mine or ready


def no_replica(entry: Entry) -> UnavailableError:
    """The error that tells which replicas there are and why none serves."""
    told = [
        {"id": one.replica_id, "status": str(one.status), "reason": one.reason}
        for one in entry.backends.values()
    ]
    if told:
        why = "; ".join(
            f"{one['id']} is {one['status']}" + (f" ({one['reason']})" if one["reason"] else "")
            for one in told
        )
    else:
        why = "it has no replicas"
    state = f"{entry.status}: {entry.status_reason}" if entry.status_reason else entry.status
    return UnavailableError(
        f"No replica of {entry.name} is ready: {why}. The target is {state}.",
        code="no_ready_replica",
        retry_after_seconds=2,
        target=entry.target_id,
        replicas=told,
    )


class Table:
    """The targets in use by (project, id or name)."""

    def __init__(self):
        self.entries: dict[tuple[str, str], Entry] = {}
        self._secrets: dict[str, str] = {}
        self._refresher: asyncio.Task | None = None

    async def entry(self, project, reference: str) -> Entry:
        """The entry of a target, fresh enough; NotFoundError."""
        key = (project.pk, reference)
        entry = self.entries.get(key)
        now = time.monotonic()
        # The refresher keeps entries fresh; one that it lost is read again here.
        if entry is None or now - entry.read_at > 1.5 * settings.GATEWAY_REFRESH_SECONDS:
            entry = await self._first(key, project, reference, entry)
        entry.used_at = now
        if self._refresher is None or self._refresher.done():
            self._refresher = asyncio.create_task(self._refresh(), name="gateway replicas")
        return entry

    async def _first(self, key, project, reference: str, stale: Entry | None) -> Entry:
        try:
            target = await in_database(selectors.target_find, project, reference)
            read = await in_database(self._read, [target.pk])
        except Exception as error:
            if stale is None or isinstance(error, ProblemError):
                self.entries.pop(key, None)
                raise
            log.warning("replicas of %s could not be read, the last known are used: %s", reference, error)
            return stale
        entry = self.entries.setdefault(key, Entry(target.pk, target.name, "", "", ""))
        self._apply(entry, read.get(target.pk))
        return entry

    async def _refresh(self) -> None:
        while self.entries:
            await asyncio.sleep(settings.GATEWAY_REFRESH_SECONDS)
            now = time.monotonic()
            self.entries = {
                key: entry for key, entry in self.entries.items() if now - entry.used_at < UNUSED_SECONDS
            }
            if not self.entries:
                return
            try:
                ids = sorted({entry.target_id for entry in self.entries.values()})
                read = await in_database(self._read, ids)
            except Exception as error:
                log.warning("replicas could not be read, the last known are used: %s", error)
                for entry in self.entries.values():
                    entry.read_at = time.monotonic()
                continue
            for key, entry in list(self.entries.items()):
                row = read.get(entry.target_id)
                if row is None or key[1] not in (entry.target_id, row["name"]):
                    del self.entries[key]
                else:
                    self._apply(entry, row)

    def _read(self, ids: list[str]) -> dict[str, dict]:
        """What the database tells of targets that are not destroyed, by id."""
        rows = Target.objects.filter(pk__in=ids).exclude(status=TargetStatus.DESTROYED)
        found = {}
        # The encrypted text, so that a secret is decrypted once and not every second.
        sealed = Cast("secrets", TextField())
        for pk, name, status, reason, text in rows.annotate(sealed=sealed).values_list(
            "pk", "name", "status", "status_reason", "sealed"
        ):
            if text not in self._secrets:
                self._secrets[text] = decrypt(text).get("jwt_secret", "") if text else ""
            found[pk] = {
                "name": name,
                "status": status,
                "status_reason": reason,
                "jwt_secret": self._secrets[text],
                "canary": ("", 0),
                "replicas": [],
            }
        for target_id, *canary in Rollout.objects.filter(
            target__in=found, strategy="canary", status__in=RolloutStatus.open()
        ).values_list("target_id", "release_id", "weight"):
            found[target_id]["canary"] = tuple(canary)
        for replica in Replica.objects.filter(target__in=found, status__in=LIVE_REPLICA).order_by("pk"):
            found[replica.target_id]["replicas"].append(
                (
                    replica.pk,
                    way_to_call(replica),
                    replica.status,
                    replica.reason,
                    replica.release_id,
                )
            )
        return found

    def _apply(self, entry: Entry, row: dict | None) -> None:
        row = row or {
            "name": entry.name,
            "status": TargetStatus.DESTROYED,
            "status_reason": "",
            "jwt_secret": "",
            "canary": ("", 0),
            "replicas": [],
        }
        for name in ("name", "status", "status_reason", "jwt_secret"):
            setattr(entry, name, row[name])
        entry.canary, entry.weight = row["canary"]
        known, entry.backends = entry.backends, {}
        for replica_id, way, status, reason, release_id in row["replicas"]:
            backend = known.get(replica_id)
            if backend is None or backend.way.url != way.url:
                backend = Backend(replica_id, way, status, reason, release_id)
            # The credentials of a way are renewed now and then.
            backend.way, backend.status, backend.reason = way, status, reason
            entry.backends[replica_id] = backend
        entry.read_at = time.monotonic()

    async def close(self) -> None:
        """End the refresher."""
        if self._refresher:
            self._refresher.cancel()
            await asyncio.gather(self._refresher, return_exceptions=True)
            self._refresher = None
