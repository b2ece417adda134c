"""What beat does about backups: start those that are due, tell those that were missed, expire old ones."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Case, Exists, OuterRef, QuerySet, When

from controlplane import ids
from controlplane.errors import ProblemError
from deployments.backups import retention
from deployments.backups.cron import zone_of
from deployments.backups.models import Backup, BackupSchedule, BackupStatus, Restore, RestoreStatus
from deployments.backups.places import task_runner
from deployments.backups.services import backup_delete, backup_start, next_after
from deployments.errors import ProviderError
from deployments.models import Target, TargetStatus
from deployments.providers.base import provider_for
from deployments.providers.databases import databases_of
from deployments.services import target_spec
from worker.engine import database_now
from worker.models import FINISHED, Operation

log = logging.getLogger(__name__)

BY_SCHEDULE = "schedule"
GRACE = timedelta(minutes=2)
RUNS_COUNTED_MOST = 1000
GONE = (TargetStatus.PENDING, TargetStatus.DESTROYING, TargetStatus.DESTROYED)


def tick() -> None:
    """One look at every schedule; one target's trouble does not keep another from its turn."""
    now = database_now()
    for schedule in BackupSchedule.objects.filter(enabled=True, next_at__lte=now).exclude(
        target__status__in=GONE
    ):
        _run(schedule.pk, now)
    for schedule in BackupSchedule.objects.exclude(target__status__in=GONE).select_related("target"):
        expire(schedule)
    tidy()


def _run(target_id: str, now: datetime) -> None:
    """Make the backup that is due, once, however many times it was due; tell the rest as missed."""
    with transaction.atomic():
        schedule = (
            BackupSchedule.objects.select_for_update(skip_locked=True, of=("self",))
            .filter(pk=target_id, enabled=True, next_at__lte=now)
            .select_related("target__project", "target__release")
            .first()
        )
        if schedule is None:
            return
        missed, reason = -1, "The control plane did not run when they were due."
        while schedule.next_at is not None and schedule.next_at <= now and missed < RUNS_COUNTED_MOST:
            schedule.due_at, missed = schedule.next_at, missed + 1
            schedule.next_at = next_after(schedule, schedule.next_at)
        if schedule.next_at is not None and schedule.next_at <= now:
            schedule.next_at = next_after(schedule, now)
        try:
            with transaction.atomic():
                backup_start(
                    target=schedule.target, url=schedule.url, requested_by=BY_SCHEDULE, scheduled=True
                )
        except ProblemError as error:
            missed, reason = missed + 1, error.detail
        if missed:
            log.warning("%s: %d backups were missed: %s", schedule.target.name, missed, reason)
            schedule.missed += missed
            schedule.missed_at, schedule.missed_reason = now, reason[:300]
        schedule.save()


def expire(schedule: BackupSchedule) -> None:
    """Delete the backups that the schedule keeps no more, and failed ones older than those it keeps."""
    rows = Backup.objects.filter(target=schedule.target, scheduled=True)
    proven = dict(rows.filter(status=BackupStatus.PROVEN).values_list("pk", "at"))
    keep = retention.kept(
        proven.items(),
        last=schedule.keep_last,
        daily=schedule.keep_daily,
        weekly=schedule.keep_weekly,
        zone=zone_of(schedule.timezone),
    )
    wrong = []
    if keep:
        oldest = min(proven[name] for name in keep)
        wrong = rows.filter(
            status__in=(BackupStatus.FAILED, BackupStatus.CANCELLED), stored=True, created_at__lt=oldest
        ).values_list("pk", flat=True)
    for name in [*sorted(set(proven) - keep), *wrong]:
        if Restore.objects.filter(backup=name, status=RestoreStatus.RUNNING).exists():
            continue
        try:
            backup_delete(
                backup=Backup(pk=name), requested_by=BY_SCHEDULE, reason="the schedule keeps it no more"
            )
        except ProblemError as error:
            log.info("%s stays: %s", name, error.detail)


def operation_of(name: str) -> str:
    """The operation that a scratch database or task is of, by its name; empty when it is none of ours."""
    from uuid import UUID

    part = name.removeprefix("aindus_s_")[:32]
    try:
        return ids.encode("op", UUID(hex=part))
    except ValueError:
        return ""


def tidy() -> None:
    """Drop scratch databases and end tasks of operations that ended without it; what is unknown is let be."""
    recent = Operation.objects.filter(
        kind__in=("target.backup", "target.restore", "backup.delete"), status__in=FINISHED
    )
    recent = recent.filter(finished_at__gt=database_now() - timedelta(hours=1))
    for target_id in set(recent.values_list("input__target", flat=True)):
        target = Target.objects.filter(pk=target_id).exclude(status__in=GONE).first()
        if target is not None:
            try:
                _tidy(target)
            except ProviderError as error:
                log.info("%s is not tidied: %s", target.name, error)


def _tidy(target: Target) -> None:
    spec = target_spec(target)
    databases = databases_of(provider_for(target.provider))
    runner = task_runner(target)
    scratch = [name for name in databases.names(spec) if name.startswith("aindus_s_")]
    known = {name: operation_of(name) for name in (*scratch, *runner.known())}
    ended = set(
        Operation.objects.filter(pk__in=set(known.values()) - {""}, status__in=FINISHED).values_list(
            "pk", flat=True
        )
    )
    for name, operation in known.items():
        if operation in ended:
            runner.end(name) if name not in scratch else databases.drop(spec, name)


def overdue(project) -> QuerySet[BackupSchedule]:
    """The schedules of a project whose targets have no proven backup of when one was `due` last."""
    late = database_now() - GRACE
    rows = BackupSchedule.objects.filter(target__project=project, enabled=True).exclude(
        target__status__in=GONE
    )
    rows = rows.annotate(due=Case(When(next_at__lt=late, then="next_at"), default="due_at")).filter(
        due__lt=late
    )
    of_target = Backup.objects.filter(target=OuterRef("target"))
    proven = of_target.filter(status=BackupStatus.PROVEN, at__gte=OuterRef("due"))
    running = of_target.filter(status=BackupStatus.RUNNING)
    return rows.filter(~Exists(proven), ~Exists(running)).select_related("target")


@dataclass(frozen=True)
class Standing:
    """How a target stands with its backups: state is ok, none, running or overdue (an alarm)."""

    state: str
    message: str
    last: Backup | None

    @property
    def alarm(self) -> bool:
        return self.state == "overdue"


def standing(target: Target, now: datetime | None = None) -> Standing:
    """Whether a proven backup is as young as the schedule wants."""
    now = now or database_now()
    rows = Backup.objects.filter(target=target)
    last = rows.filter(status=BackupStatus.PROVEN).order_by("-at").first()
    schedule = BackupSchedule.objects.filter(target=target).first()
    running = rows.filter(status=BackupStatus.RUNNING).exists()
    if schedule is None or not schedule.enabled:
        if last is None:
            return Standing("none", "It has no proven backup and no schedule.", None)
        return Standing("ok", "It is backed up by hand alone: there is no schedule.", last)
    due = schedule.due_at
    if schedule.next_at and schedule.next_at < now - GRACE:
        due = schedule.next_at
    if due is None or (last is not None and last.at >= due):
        return Standing("ok", "Every backup that was due is proven.", last)
    if running:
        return Standing("running", "The backup that was due is being made.", last)
    if due > now - GRACE:
        return Standing("ok", "A backup is due now.", last)
    failed = rows.filter(created_at__gte=due, status=BackupStatus.FAILED).order_by("-pk").first()
    why = f" It failed: {failed.reason}" if failed else f" {schedule.missed_reason}".rstrip()
    return Standing("overdue", f"The backup that was due is not there, or not proven.{why}", last)
