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
) -> list[dict]:
    """What happened to a target, newest first: events of its operations, its health and its cluster.

    `before` is (time, source, key) of the last one seen; each event carries its own under `position`.
    `sources` are those wanted, of EVENT_SOURCES.
    """
    found: list[dict] = []
    for source in sources:
        found += _READERS[source](target, before, since, until, limit)
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


def _operation_events(target, before, since, until, limit) -> list[dict]:
    on_target = Q(operation__subject=target.subject) | Q(operation__subject__startswith=f"{target.subject}/")
    rows = _between(OperationEvent.objects.filter(on_target), "operation", before, since, until)
    return [
        {
            "at": row.at,
            "source": "operation",
            "operation": row.operation_id,
            "sequence": row.sequence,
            "kind": row.operation.kind,
            "step": row.step,
            "outcome": row.outcome,
            "message": row.message,
            "replica": None,
            "object": "",
            "warning": row.outcome == "fail",
            "count": 1,
            "position": (row.at, "operation", row.pk),
        }
        for row in rows.select_related("operation").order_by("-at", "-pk")[:limit]
    ]


def _health_events(target, before, since, until, limit) -> list[dict]:
    rows = _between(HealthTransition.objects.filter(target=target), "health", before, since, until)
    return [
        {
            "at": row.at,
            "source": "health",
            "operation": None,
            "sequence": None,
            "kind": "health",
            "step": "",
            "outcome": row.health,
            "message": row.reason,
            "replica": row.replica_id,
            "object": "",
            "warning": row.health in (Health.DEGRADED, Health.UNHEALTHY),
            "count": 1,
            "position": (row.at, "health", row.pk),
        }
        for row in rows.order_by("-at", "-pk")[:limit]
    ]


def _cluster_events(target, before, since, until, limit) -> list[dict]:
    rows = ClusterEvent.objects.filter(target=target)
    rows = list(
        _between(rows, "cluster", before, since, until, at="last_at").order_by("-last_at", "-pk")[:limit]
    )
    pods = {row.name for row in rows if row.kind == "Pod"}
    known = dict(
        Replica.objects.filter(target=target, handle__pod__in=pods)
        .order_by("pk")
        .values_list("handle__pod", "pk")
    )
    return [
        {
            "at": row.last_at,
            "source": "cluster",
            "operation": None,
            "sequence": None,
            "kind": row.kind,
            "step": "",
            "outcome": row.reason,
            "message": row.message,
            "replica": known.get(row.name) if row.kind == "Pod" else None,
            "object": f"{row.kind}/{row.name}",
            "warning": row.is_warning,
            "count": row.count,
            "position": (row.last_at, "cluster", row.pk),
        }
        for row in rows
    ]


_READERS = {"cluster": _cluster_events, "health": _health_events, "operation": _operation_events}
