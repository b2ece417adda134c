"""What the pages read, in few queries however many targets there are."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Max, Q

from deployments.backups.schedules import overdue
from deployments.fleets.models import Fleet
from deployments.health import health_strips
from deployments.metrics import latest_for
from deployments.models import (
    LIVE_REPLICA,
    Health,
    Plan,
    ReplicaStatus,
    Rollout,
    RolloutStatus,
    Target,
    TargetStatus,
)
from worker.handlers import registered, title_of
from worker.models import Operation, Status

STRIP_SLOTS = 48
TONES = {Health.HEALTHY: "ok", Health.DEGRADED: "warning", Health.UNHEALTHY: "failing"}


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
    rows = Target.objects.filter(project=project).select_related("release", "project", "cluster_state")
    if name.startswith("tgt_"):
        return rows.filter(pk=name).first()
    return rows.filter(name=name).exclude(status=TargetStatus.DESTROYED).first()


def strips(targets, hours: float = 24, slots: int = STRIP_SLOTS) -> dict[str, list[dict]]:
    """{target id: slots from the oldest to now}, each with the tone of the worst health in it."""
    found = health_strips(targets, hours, slots)
    for strip in found.values():
        for slot in strip:
            slot["tone"] = TONES.get(slot["health"], "unknown")
    return found


def decorate(targets) -> list[Target]:
    """The targets with `strip`, `figures` and `busy` (their unfinished operation), for rows of a table."""
    targets = list(targets)
    shown, figures = strips(targets), latest_for(targets)
    subjects = {target.subject: target for target in targets}
    busy = {}
    for operation in Operation.objects.unfinished().filter(subject__in=subjects).order_by("-pk"):
        busy[operation.subject] = named(operation)
    for target in targets:
        target.strip, target.figures = shown[target.pk], figures[target.pk]
        target.busy = busy.get(target.subject)
    return targets


def named(operation: Operation) -> Operation:
    """The operation with `label`, the word that leads from it to its target, and the collection worked on."""
    operation.label = title_of(operation)
    operation.preposition = "on" if "/" in operation.subject else "of"
    operation.collection = operation.input.get("collection", "")
    return operation


def target_id_of(operation: Operation) -> str:
    """The id of the target that an operation works on, or on a part of; empty when it is no target."""
    kind, _, name = operation.subject.partition(":")
    return name.partition("/")[0] if kind == "target" else ""


def shown_event(event: dict) -> dict:
    """An event as the pages show it: with `word`, `label`, `name` and `key`."""
    return event | {
        "key": event["position"][2],
        "name": event["object"].partition("/")[2],
        "label": operation_label(event["kind"]) if event["operation"] else "",
        "word": event["outcome"].replace("_", " "),
    }


def with_targets(operations) -> list[Operation]:
    """The operations with `label` and `target` (None when its subject is no target)."""
    operations = [named(operation) for operation in operations]
    ids = {target_id_of(operation) for operation in operations}
    known = {target.pk: target for target in Target.objects.filter(pk__in=ids - {""})}
    for operation in operations:
        operation.target = known.get(target_id_of(operation))
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
    for schedule in overdue(project):
        found.append(
            (
                2,
                Attention(
                    "failing",
                    "shield",
                    f"{schedule.target.name} has no proven backup",
                    "The backup that was due last is not there, or was not read back whole.",
                    f"/targets/{schedule.target.name}/backups/",
                    "See backups",
                    schedule.due,
                ),
            )
        )
    late = Operation.objects.unfinished().filter(project=project, deadline_passed=True)
    for operation in with_targets(late):
        found.append(
            (
                4,
                Attention(
                    "warning",
                    "clock",
                    f"{operation.label} takes longer than it should",
                    (operation.waiting_for and f"Waiting for {operation.waiting_for}.") or "",
                    f"/operations/{operation.pk}/",
                    "Open operation",
                    operation.created_at,
                ),
            )
        )
    return [one for _, one in sorted(found, key=lambda pair: pair[0])]


def _failed_operations(project, targets):
    """The newest operation of each target and fleet when it failed and the target's own state is silent."""
    told = Q(subject__in=[fleet.subject for fleet in Fleet.objects.filter(project=project)])
    for target in targets:
        if target.status not in (TargetStatus.FAILED, TargetStatus.DESTROYED):
            told |= Q(subject=target.subject) | Q(subject__startswith=f"{target.subject}/")
    newest = (
        Operation.objects.filter(told, project=project)
        .exclude(kind="target.heal")
        .values("subject")
        .annotate(newest=Max("created_at"))
    )
    wanted = Q(pk=None)
    for row in newest:
        wanted |= Q(subject=row["subject"], created_at=row["newest"])
    failed = Operation.objects.filter(wanted, status=Status.FAILED)
    for operation in with_targets(failed):
        of = f" {operation.preposition} {operation.target}" if operation.target else ""
        yield Attention(
            "failing",
            "cross",
            f"{operation.label}{of} failed",
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
        "pending": sum(target.status == TargetStatus.PENDING for target in targets),
        "not measured yet": sum(
            target.health == Health.UNKNOWN and target.status != TargetStatus.PENDING for target in targets
        ),
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
