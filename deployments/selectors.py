"""Reads of targets and what belongs to them; another project's things are not there."""

import re

from django.db.models import Count, Q, QuerySet

from controlplane.models import Project
from controlplane.selectors import by_id, by_id_or_name
from deployments.models import (
    Account,
    ClusterEvent,
    Health,
    HealthTransition,
    Plan,
    Release,
    Replica,
    ReplicaStatus,
    Rollout,
    Target,
    TargetStatus,
)
from worker.models import OperationEvent

# In the order that those of one moment are told in, the last one first.
EVENT_SOURCES = ("cluster", "health", "operation")
BAD_OUTCOMES = ("failed", "retry", "deadline")
BAD_HEALTH = (Health.DEGRADED, Health.UNHEALTHY)
RELEASE_NUMBER = re.compile(r"\Av(\d{1,9})\Z")


def targets(project: Project) -> QuerySet[Target]:
    """The targets of a project with their releases and the count of replicas that are ready."""
    ready = Count("replicas", filter=Q(replicas__status=ReplicaStatus.READY))
    return (
        Target.objects.filter(project=project)
        .select_related("release", "account")
        .annotate(ready_replicas=ready)
    )


def target_find(project: Project, reference: str) -> Target:
    """A target by id, or by the name of one that is not destroyed; NotFoundError."""
    rows = targets(project).select_related("release", "project")
    if not reference.startswith("tgt_"):
        rows = rows.exclude(status=TargetStatus.DESTROYED)
    return by_id_or_name(rows, "tgt", reference, what="target")


def accounts(project: Project) -> QuerySet[Account]:
    """The accounts of a project with how many targets use each."""
    used = Count("targets", filter=~Q(targets__status=TargetStatus.DESTROYED))
    return Account.objects.filter(project=project).annotate(used_by=used)


def account_find(project: Project, reference: str) -> Account:
    """An account by id or name; NotFoundError."""
    return by_id_or_name(accounts(project), "acc", reference, what="account")


def releases(project: Project) -> QuerySet[Release]:
    """The releases of a project."""
    return Release.objects.filter(project=project)


def release_find(project: Project, reference: str) -> Release:
    """A release by id or number (`v3`); NotFoundError."""
    number = RELEASE_NUMBER.match(reference)
    if number:
        return by_id_or_name(releases(project), "rel", number[1], name_field="number", what="release")
    return by_id(releases(project), "rel", reference, what="release")


def plan_find(project: Project, reference: str) -> Plan:
    """A plan by id; NotFoundError."""
    rows = Plan.objects.filter(target__project=project).select_related("target", "target__project")
    return by_id(rows, "pln", reference, what="plan")


def rollouts(project: Project) -> QuerySet[Rollout]:
    """The rollouts of a project."""
    return Rollout.objects.filter(target__project=project).select_related("target", "release", "previous")


def rollout_find(project: Project, reference: str) -> Rollout:
    """A rollout by id; NotFoundError."""
    return by_id(rollouts(project).select_related("target__project"), "rol", reference, what="rollout")


def replicas(target: Target) -> QuerySet[Replica]:
    """The replicas of a target, gone ones too."""
    return Replica.objects.filter(target=target).select_related("release", "target__cluster_state")


def target_events(
    target: Target,
    *,
    before: tuple | None = None,
    since=None,
    until=None,
    limit: int = 50,
    sources: tuple[str, ...] = EVENT_SOURCES,
    only_warnings: bool = False,
) -> list[dict]:
    """What happened to a target, newest first: events of its operations, its health and its cluster.

    `before` is (time, source, key) of the last one seen; each event carries its own under `position`.
    `sources` are those wanted, of EVENT_SOURCES; `only_warnings` leaves those that tell of something wrong.
    """
    found: list[dict] = []
    for source in sources:
        rows, at, shown, warnings = _READERS[source]
        wanted = rows(target).filter(warnings) if only_warnings else rows(target)
        newest = _between(wanted, source, before, since, until, at).order_by(f"-{at}", "-pk")[:limit]
        found += shown(target, newest)
    found.sort(key=lambda event: event["position"], reverse=True)
    return found[:limit]


def _between(rows: QuerySet, source: str, before, since, until, at: str = "at") -> QuerySet:
    """The rows of a source in a range of time that sort before a position."""
    if before:
        # Of the same moment: what of this source sorts before, all, or nothing.
        same = Q(**{at: before[0]})
        if source == before[1]:
            same &= Q(pk__lt=before[2])
        elif source > before[1]:
            same &= Q(pk__isnull=True)
        rows = rows.filter(Q(**{f"{at}__lt": before[0]}) | same)
    if since:
        rows = rows.filter(**{f"{at}__gte": since})
    if until:
        rows = rows.filter(**{f"{at}__lt": until})
    return rows


def _event(row, source: str, at, **told) -> dict:
    """An event of a row; what its source does not tell is empty."""
    blank = {
        "operation": None,
        "sequence": None,
        "step": "",
        "replica": None,
        "object": "",
        "warning": False,
        "count": 1,
    }
    return blank | told | {"at": at, "source": source, "position": (at, source, row.pk)}


def _operation_rows(target: Target) -> QuerySet:
    on_target = Q(operation__subject=target.subject) | Q(operation__subject__startswith=f"{target.subject}/")
    return OperationEvent.objects.filter(on_target).select_related("operation")


def _operation_events(target: Target, rows: QuerySet) -> list[dict]:
    return [
        _event(
            row,
            "operation",
            row.at,
            operation=row.operation_id,
            sequence=row.sequence,
            kind=row.operation.kind,
            step=row.step,
            outcome=row.outcome,
            message=row.message,
            warning=row.outcome in BAD_OUTCOMES,
        )
        for row in rows
    ]


def _health_events(target: Target, rows: QuerySet) -> list[dict]:
    return [
        _event(
            row,
            "health",
            row.at,
            kind="health",
            outcome=row.health,
            message=row.reason,
            replica=row.replica_id,
            warning=row.health in BAD_HEALTH,
        )
        for row in rows
    ]


def _cluster_events(target: Target, rows: QuerySet) -> list[dict]:
    rows = list(rows)
    pods = {row.name for row in rows if row.kind == "Pod"}
    replicas = Replica.objects.filter(target=target, handle__pod__in=pods).order_by("pk")
    known = dict(replicas.values_list("handle__pod", "pk"))
    return [
        _event(
            row,
            "cluster",
            row.last_at,
            kind=row.kind,
            outcome=row.reason,
            message=row.message,
            replica=known.get(row.name) if row.kind == "Pod" else None,
            object=f"{row.kind}/{row.name}",
            warning=row.is_warning,
            count=row.count,
        )
        for row in rows
    ]


# By source: its rows, the field of their time, what shows them, and which tell of something wrong.
_READERS = {
    "cluster": (
        lambda target: ClusterEvent.objects.filter(target=target),
        "last_at",
        _cluster_events,
        Q(is_warning=True),
    ),
    "health": (
        lambda target: HealthTransition.objects.filter(target=target),
        "at",
        _health_events,
        Q(health__in=BAD_HEALTH),
    ),
    "operation": (_operation_rows, "at", _operation_events, Q(outcome__in=BAD_OUTCOMES)),
}
