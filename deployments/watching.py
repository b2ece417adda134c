"""Looks at every cluster that targets run in, and writes down what was seen: pods, events, what pods use.

Clusters are asked at the same time and none is waited for longer than LOOK_SECONDS, so that one that does not
answer holds nobody up. Nothing but the rows is changed here.
"""

import logging
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta

from django.db import transaction

from deployments import scraping
from deployments.advisory import only_one
from deployments.errors import NotFound, ProviderError, Transient
from deployments.mirroring import mirror, mirror_failed
from deployments.models import ClusterEvent, ClusterState, Target, TargetStatus
from deployments.runtimes import workload as seen
from deployments.workloads import is_cluster, workload_of, workload_runtime
from worker.engine import database_now

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
AT_ONCE = 16
# A cluster that did not answer is asked again after this.
PAUSE = timedelta(seconds=10)
EVENTS_EVERY = timedelta(seconds=6)
USAGE_EVERY = timedelta(seconds=15)
EVENTS_KEPT = timedelta(days=7)
EVENTS_MOST = 2000
WATCHED = (
    TargetStatus.PROVISIONING,
    TargetStatus.READY,
    TargetStatus.DEGRADED,
    TargetStatus.FAILED,
    TargetStatus.DESTROYING,
)


@dataclass
class Look:
    """What one look at a cluster gave; None where it was not asked for."""

    status: seen.WorkloadStatus
    events: list[seen.ClusterEvent] | None = None
    usage: dict[str, seen.Usage] | None = None
    usage_problem: str = ""


@dataclass
class _Asked:
    target: Target
    workload: seen.Workload
    events: bool
    usage: bool
    look: Future = field(default_factory=Future)


def watch_round() -> bool:
    """Look once at every cluster that is due; False when another round is under way anywhere."""
    with only_one("deployments.watch") as mine:
        if not mine:
            return False
        rows = (
            Target.objects.filter(status__in=WATCHED)
            .select_related("account", "cluster_state")
            .order_by("pk")
        )
        asked = [one for target in rows if is_cluster(target) and (one := _asked(target))]
        if not asked:
            return True
        pool = ThreadPoolExecutor(max_workers=AT_ONCE)
        for one in asked:
            runtime = workload_runtime(one.target)
            one.look = pool.submit(look, runtime, one.workload, events=one.events, usage=one.usage)
        wait([one.look for one in asked], timeout=LOOK_SECONDS)
        # What is still under way ends by its own time limits; nobody waits for it.
        pool.shutdown(wait=False, cancel_futures=True)
        for one in asked:
            try:
                _record(one)
            except Exception:
                log.exception("what was seen of %s could not be written down", one.target.pk)
        return True


def watch(target: Target) -> None:
    """Look at one target's cluster now, and write down what is seen."""
    if one := _asked(target, now_or_never=True):
        try:
            one.look.set_result(look(workload_runtime(target), one.workload, events=True, usage=True))
        except ProviderError as error:
            one.look.set_exception(error)
        _record(one)


def look(
    runtime: seen.WorkloadRuntime, workload: seen.Workload, *, events: bool = False, usage: bool = False
) -> Look:
    """Ask a cluster; what it does not tell of events and usage is no reason to know nothing of its pods."""
    found = Look(runtime.status(workload))
    if events:
        try:
            found.events = runtime.events(workload)
        except ProviderError as error:
            log.warning("events of %s cannot be read: %s", workload.target_id, error)
    if usage:
        try:
            found.usage = dict(runtime.usage(workload))
        except NotFound as error:
            found.usage, found.usage_problem = {}, str(error)
        except ProviderError as error:
            found.usage = {}
            found.usage_problem = f"What its pods use cannot be read: {error} {error.remedy}".strip()
    return found


def _asked(target: Target, *, now_or_never: bool = False) -> _Asked | None:
    """What is due for a target; None while a cluster that did not answer is left alone."""
    now = database_now()
    state = getattr(target, "cluster_state", None)
    if not now_or_never and state and state.failing_since and now - state.tried_at < PAUSE:
        return None
    try:
        workload = workload_of(target, ())
    except ProviderError as error:
        mirror_failed(target, error)
        return None
    measured = state.usage.get("at") if state else None
    return _Asked(
        target,
        workload,
        events=not (state and state.events_at) or now - state.events_at >= EVENTS_EVERY,
        usage=not measured or now - datetime.fromisoformat(measured) >= USAGE_EVERY,
    )


def _record(one: _Asked) -> None:
    if not one.look.done():
        late = Transient(
            f"The API server {one.workload.access.server} does not answer within {LOOK_SECONDS:g} s.",
            remedy="See that the cluster runs and can be reached from here.",
        )
        mirror_failed(one.target, late)
        return
    error = one.look.exception()
    if isinstance(error, ProviderError):
        mirror_failed(one.target, error)
        return
    found = one.look.result()
    ending = mirror(one.target, found.status)
    if ending:
        # Before their counters are gone with them.
        scraping.scrape_last(*ending)
    now = database_now()
    if found.events is not None:
        record_events(one.target, found.events, now)
    if found.usage is not None:
        used = {name: asdict(usage) for name, usage in found.usage.items()}
        ClusterState.objects.filter(pk=one.target.pk).update(
            usage={"at": now.isoformat(), "problem": found.usage_problem, "pods": used}
        )


def record_events(target: Target, events: list[seen.ClusterEvent], now: datetime) -> None:
    """Keep the events of a namespace, each once, for longer than the cluster does."""
    rows = [ClusterEvent(target=target, **_columns(event)) for event in events if event.uid]
    with transaction.atomic():
        ClusterEvent.objects.bulk_create(
            rows,
            update_conflicts=True,
            unique_fields=["target", "uid"],
            update_fields=["message", "count", "last_at"],
            batch_size=500,
        )
        of_target = ClusterEvent.objects.filter(target=target)
        of_target.filter(last_at__lt=now - EVENTS_KEPT).delete()
        oldest = of_target.order_by("-last_at", "-pk").values_list("last_at", flat=True)[
            EVENTS_MOST : EVENTS_MOST + 1
        ]
        if oldest:
            of_target.filter(last_at__lte=oldest[0]).delete()
        ClusterState.objects.filter(pk=target.pk).update(events_at=now)


def _columns(event: seen.ClusterEvent) -> dict:
    return asdict(event) | {
        "uid": event.uid[:100],
        "kind": event.kind[:100],
        "name": event.name[:300],
        "reason": event.reason[:200],
    }
