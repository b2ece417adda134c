"""What the pages read, in few queries however many targets there are."""

from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import Count, Max, Q
from django.utils import timezone

from deployments.models import (
    LIVE_REPLICA,
    Health,
    HealthTransition,
    MetricPoint,
    Plan,
    ReplicaStatus,
    Rollout,
    RolloutStatus,
    Target,
    TargetStatus,
)
from deployments.pages.figures import percentile
from worker.handlers import registered
from worker.models import Operation, Status

STRIP_SLOTS = 48
RECENT_SECONDS = 300
# What a slot shows is the worst health that was true in it.
HARM = {Health.UNKNOWN: 0, Health.HEALTHY: 1, Health.DEGRADED: 2, Health.UNHEALTHY: 3}


def operation_label(kind: str) -> str:
    """`target.provision` as its handler names it."""
    handler = registered().get(kind)
    return handler.label if handler else kind.replace(".", " ").replace("_", " ").capitalize()


def targets_of(project):
    """Targets that exist, each with the number of its replicas that are ready and live."""
    return (
        Target.objects.filter(project=project)
        .exclude(status=TargetStatus.DESTROYED)
        .select_related("release")
        .annotate(
            ready_replicas=Count("replicas", filter=Q(replicas__status=ReplicaStatus.READY)),
            live_replicas=Count("replicas", filter=Q(replicas__status__in=LIVE_REPLICA)),
        )
    )


def target_named(project, name: str) -> Target | None:
    """A target by name, or by id; a destroyed one by id alone."""
    rows = Target.objects.filter(project=project).select_related("release", "project")
    if name.startswith("tgt_"):
        return rows.filter(pk=name).first()
    return rows.filter(name=name).exclude(status=TargetStatus.DESTROYED).first()


@dataclass
class Slot:
    """A span of a health strip: the worst health in it."""

    since: datetime
    until: datetime
    health: str
    tone: str = field(init=False)

    def __post_init__(self):
        tones = {Health.HEALTHY: "ok", Health.DEGRADED: "warning", Health.UNHEALTHY: "failing"}
        self.tone = tones.get(self.health, "unknown")


def health_strips(targets, hours: int = 24, slots: int = STRIP_SLOTS) -> dict[str, list[Slot]]:
    """{target id: slots from the oldest to now} of the last `hours`."""
    now = timezone.now()
    since = now - timedelta(hours=hours)
    ids = [target.pk for target in targets]
    rows = HealthTransition.objects.filter(target__in=ids, replica=None)
    inside: dict[str, list] = {pk: [] for pk in ids}
    for row in rows.filter(at__gte=since).order_by("at", "pk"):
        inside[row.target_id].append((row.at, row.health))
    before = dict(
        rows.filter(at__lt=since)
        .order_by("target", "-at", "-pk")
        .distinct("target")
        .values_list("target_id", "health")
    )
    width = timedelta(hours=hours) / slots
    strips = {}
    for target in targets:
        changes = [(since, before.get(target.pk, Health.UNKNOWN)), *inside[target.pk]]
        times = [at for at, _ in changes]
        strip = []
        for index in range(slots):
            start, end = since + index * width, since + (index + 1) * width
            first = max(0, bisect_right(times, start) - 1)
            last = bisect_right(times, end)
            worst = max((health for _, health in changes[first:last]), key=lambda value: HARM[value])
            strip.append(Slot(start, end, worst))
        strips[target.pk] = strip
    return strips


def recent_figures(targets) -> dict[str, dict]:
    """{target id: {rate, error_share, p95_ms}} over the last minutes, for targets that were measured."""
    since = timezone.now() - timedelta(seconds=RECENT_SECONDS)
    sums: dict[str, dict] = {}
    points = MetricPoint.objects.filter(
        target__in=[target.pk for target in targets], resolution_seconds=15, at__gte=since
    )
    for target_id, requests, errors, buckets in points.values_list(
        "target_id", "requests", "errors", "buckets"
    ):
        held = sums.setdefault(target_id, {"requests": 0, "errors": 0, "buckets": []})
        held["requests"] += requests
        held["errors"] += errors
        held["buckets"] = add_up(held["buckets"], buckets)
    return {
        target_id: {
            "rate": held["requests"] / RECENT_SECONDS,
            "error_share": held["errors"] / held["requests"] if held["requests"] else 0,
            "p95_ms": percentile(held["buckets"], 0.95),
        }
        for target_id, held in sums.items()
    }


def add_up(left: list[int], right: list[int]) -> list[int]:
    """Element by element; the shorter list counts as zeros."""
    size = max(len(left), len(right))
    left, right = left + [0] * (size - len(left)), right + [0] * (size - len(right))
    return [a + b for a, b in zip(left, right, strict=True)]


def decorate(targets) -> list[Target]:
    """The targets with `strip`, `figures` and `busy` (their unfinished operation), for rows of a table."""
    targets = list(targets)
    strips, figures = health_strips(targets), recent_figures(targets)
    subjects = {target.subject: target for target in targets}
    busy = {}
    for operation in Operation.objects.unfinished().filter(subject__in=subjects).order_by("-pk"):
        busy[operation.subject] = named(operation)
    for target in targets:
        target.strip, target.figures = strips[target.pk], figures.get(target.pk)
        target.busy = busy.get(target.subject)
    return targets


def named(operation: Operation) -> Operation:
    """The operation with `label`."""
    operation.label = operation_label(operation.kind)
    return operation


def with_targets(operations) -> list[Operation]:
    """The operations with `label` and `target` (None when its subject is no target)."""
    operations = [named(operation) for operation in operations]
    ids = {
        operation.subject.removeprefix("target:")
        for operation in operations
        if operation.subject.startswith("target:")
    }
    known = {target.pk: target for target in Target.objects.filter(pk__in=ids)}
    for operation in operations:
        operation.target = known.get(operation.subject.removeprefix("target:"))
    return operations


@dataclass
class Attention:
    """Something that needs a person: how bad, what, and where to act."""

    tone: str
    icon: str
    title: str
    text: str
    url: str
    action: str
    at: datetime | None = None


def attention(project, targets) -> list[Attention]:
    """What needs a person, the most harmful first: lost service, failed work, weakened service, choices."""
    found: list[tuple[int, Attention]] = []
    for target in targets:
        url = f"/targets/{target.name}/"
        if target.status == TargetStatus.FAILED:
            text = target.status_reason or "Provisioning did not end well."
            found.append(
                (1, Attention("failing", "cross", f"{target.name} failed", text, url, "Open target"))
            )
        elif target.health == Health.UNHEALTHY and target.status not in ("destroying", "pending"):
            text = target.health_reason or "No replica answers."
            found.append(
                (
                    0,
                    Attention(
                        "failing",
                        "cross",
                        f"{target.name} is unhealthy",
                        text,
                        f"{url}health/",
                        "See health",
                        target.health_since,
                    ),
                )
            )
        elif target.health == Health.DEGRADED or target.status == TargetStatus.DEGRADED:
            text = target.health_reason or target.status_reason or "Not every replica is ready."
            found.append(
                (
                    3,
                    Attention(
                        "warning",
                        "warning",
                        f"{target.name} is degraded",
                        text,
                        f"{url}health/",
                        "See health",
                        target.health_since,
                    ),
                )
            )
        elif target.status == TargetStatus.PENDING:
            plan = Plan.objects.filter(target=target, operation="").order_by("-pk").first()
            if plan:
                errors = [one for one in plan.problems if one["severity"] == "error"]
                text = (
                    f"The plan has {len(errors)} problem{'s' if len(errors) > 1 else ''} to solve."
                    if errors
                    else "The plan is made; nothing exists until it is applied."
                )
                found.append(
                    (
                        5,
                        Attention(
                            "unknown",
                            "clock",
                            f"{target.name} waits for its plan to be applied",
                            text,
                            f"/plans/{plan.pk}/",
                            "Review plan",
                            plan.created_at,
                        ),
                    )
                )
    found += [(2, one) for one in _failed_operations(project, targets)]
    late = Operation.objects.unfinished().filter(project=project, deadline_passed=True)
    for operation in with_targets(late):
        found.append(
            (
                4,
                Attention(
                    "warning",
                    "clock",
                    f"{operation.label} takes longer than it should",
                    operation.waiting_for and f"Waiting for {operation.waiting_for}." or "",
                    f"/operations/{operation.pk}/",
                    "Open operation",
                    operation.created_at,
                ),
            )
        )
    return [one for _, one in sorted(found, key=lambda pair: pair[0])]


def _failed_operations(project, targets):
    """Each target's newest operation when it failed and the target's own state does not tell it already."""
    told = {target.subject for target in targets if target.status != TargetStatus.FAILED}
    newest = (
        Operation.objects.filter(project=project, subject__in=told)
        .exclude(kind="target.heal")
        .values("subject")
        .annotate(newest=Max("created_at"))
    )
    wanted = Q(pk=None)
    for row in newest:
        wanted |= Q(subject=row["subject"], created_at=row["newest"])
    failed = Operation.objects.filter(wanted, status=Status.FAILED)
    for operation in with_targets(failed):
        yield Attention(
            "failing",
            "cross",
            f"{operation.label} of {operation.target or operation.subject} failed",
            operation.error,
            f"/operations/{operation.pk}/",
            "Open operation",
            operation.finished_at,
        )


def sentence(targets, running: int, needs: int) -> str:
    """The state of everything in one sentence."""
    if not targets:
        return "No targets yet."
    healthy = sum(target.health == Health.HEALTHY for target in targets)
    others = {
        "degraded": sum(target.health == Health.DEGRADED for target in targets),
        "unhealthy": sum(target.health == Health.UNHEALTHY for target in targets),
        "not measured yet": sum(target.health == Health.UNKNOWN for target in targets),
    }
    parts = []
    if healthy:
        parts.append(f"{healthy} target{'s' if healthy > 1 else ''} healthy")
    parts += [f"{count} {word}" for word, count in others.items() if count]
    if parts and not healthy:
        head, _, tail = parts[0].partition(" ")
        parts[0] = f"{head} target{'s' if head != '1' else ''} {tail}"
    if running:
        parts.append(f"{running} operation{'s' if running > 1 else ''} running")
    parts.append(
        "nothing needs you"
        if not needs
        else f"{needs} thing{'s' if needs > 1 else ''} need{'' if needs > 1 else 's'} you"
    )
    return ", ".join(parts) + "."


def rollout_in_progress(target: Target) -> Rollout | None:
    return (
        Rollout.objects.filter(target=target, status__in=[RolloutStatus.RUNNING, RolloutStatus.ROLLING_BACK])
        .select_related("release", "previous")
        .first()
    )
