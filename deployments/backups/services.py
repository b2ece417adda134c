"""Use cases of backups: make, delete, restore, confirm or undo a restore, and the schedule."""

from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from controlplane import audit, ids
from controlplane.errors import ConflictError, InvalidError
from deployments.backups import cron
from deployments.backups.models import (
    Backup,
    BackupSchedule,
    BackupStatus,
    Restore,
    RestoreMode,
    RestoreStatus,
)
from deployments.backups.places import place_of, url_checked
from deployments.models import RUNNING_TARGET, Target, TargetStatus
from deployments.providers.base import provider_for
from deployments.providers.databases import databases_of
from deployments.services import BY_ITSELF, provider_errors, target_create
from worker.models import Operation
from worker.services import operation_submit

INTERVAL_MINUTES_LEAST = 5
GOING = (BackupStatus.DELETING, BackupStatus.DELETED)


def _need_running(target: Target, doing: str) -> None:
    if target.status not in RUNNING_TARGET:
        raise ConflictError(
            f"{target.name} is {target.status}; {doing} needs a target that is ready.",
            code="target_not_ready",
        )


def backup_start(
    *,
    target: Target,
    url: str = "",
    requested_by: str,
    scheduled: bool = False,
    retry_of: Operation | None = None,
) -> tuple[Backup, Operation]:
    """Back a target up, read the backup back and prove it. One at a time."""
    _need_running(target, "a backup")
    with provider_errors():
        databases_of(provider_for(target.provider))
        backup_id = ids.new("bak")
        place = place_of(target, backup_id, url_checked(url))
    with transaction.atomic():
        operation = operation_submit(
            project=target.project,
            kind="target.backup",
            subject=f"{target.subject}/backup",
            input={"target": target.pk, "backup": backup_id, "url": url},
            created_by=requested_by,
            retry_of=retry_of,
        )
        backup = Backup.objects.create(
            id=backup_id,
            target=target,
            place=place,
            scheduled=scheduled,
            release=target.release,
            operation=operation.pk,
            created_by=requested_by,
        )
        audit.record(
            project=target.project,
            actor=requested_by,
            action="target.backup",
            subject=target.pk,
            detail={"backup": backup.pk, "operation": operation.pk},
        )
    return backup, operation


def backup_retry(*, operation: Operation, requested_by: str) -> Operation:
    """Make the backup of a failed or cancelled operation anew."""
    target = Target.objects.select_related("project", "release").get(pk=operation.input["target"])
    return backup_start(
        target=target, url=operation.input.get("url", ""), requested_by=requested_by, retry_of=operation
    )[1]


def backup_delete(*, backup: Backup, requested_by: str, reason: str = "") -> Operation:
    """Delete a backup's bytes; its row stays as a record."""
    with transaction.atomic():
        held = Backup.objects.select_for_update(no_key=True).get(pk=backup.pk)
        target = Target.objects.select_related("project").get(pk=held.target_id)
        if held.status == BackupStatus.RUNNING:
            raise ConflictError(
                f"{held.pk} is being made; cancel {held.operation} first.", code="backup_running"
            )
        if held.status in GOING:
            raise ConflictError(f"{held.pk} is {held.status} already.", code="backup_deleted")
        if Restore.objects.filter(backup=held, status=RestoreStatus.RUNNING).exists():
            raise ConflictError(f"{held.pk} is being restored.", code="backup_in_use")
        operation = operation_submit(
            project=target.project,
            kind="backup.delete",
            subject=f"{target.subject}/backup/{held.pk}",
            input={"target": target.pk, "backup": held.pk, "status_before": held.status, "reason": reason},
            created_by=requested_by,
        )
        Backup.objects.filter(pk=held.pk).update(status=BackupStatus.DELETING)
        audit.record(
            project=target.project,
            actor=requested_by,
            action="backup.delete",
            subject=held.pk,
            detail={"target": target.pk, "operation": operation.pk} | ({"reason": reason} if reason else {}),
        )
        return operation


def restore_start(
    *,
    target: Target,
    backup: Backup,
    mode: str = RestoreMode.SCRATCH,
    confirm: str = "",
    name: str = "",
    requested_by: str,
) -> tuple[Restore, Operation]:
    """Read a backup back: to prove it, into a target itself, or into a new one of this name.

    In place needs the target's name as confirmation. `target` is whose resources are used: for a new target
    the one that is its model.
    """
    backup = Backup.objects.get(pk=backup.pk)
    if not backup.stored or backup.status in GOING:
        raise ConflictError(f"The bytes of {backup.pk} are not there.", code="backup_not_stored")
    if mode == RestoreMode.IN_PLACE and confirm != target.name:
        raise InvalidError(
            f'Send {{"confirm": "{target.name}"}}: what was written since the backup will not be in it.',
            field="confirm",
            code="confirmation_required",
        )
    if mode == RestoreMode.NEW_TARGET and not name:
        raise InvalidError("Give the name of the new target.", field="name")
    with transaction.atomic():
        if mode == RestoreMode.NEW_TARGET:
            target, _, _ = target_create(
                project=target.project,
                name=name,
                provider=target.provider,
                region=target.region,
                role=target.role,
                spec=target.spec,
                created_by=requested_by,
            )
        else:
            _need_running(target, "a restore")
        if mode == RestoreMode.IN_PLACE:
            open_one = next((one for one in target.restores.all() if one.can_be_undone), None)
            if open_one:
                raise ConflictError(
                    f"{open_one.pk} put another database in place and is neither confirmed nor undone.",
                    code="restore_undecided",
                )
        return _restore_submit(target, backup, mode, requested_by)


def _restore_submit(target, backup, mode, requested_by, retry_of=None) -> tuple[Restore, Operation]:
    with transaction.atomic():
        restore_id = ids.new("rst")
        scratch = mode == RestoreMode.SCRATCH
        operation = operation_submit(
            project=target.project,
            kind="target.restore",
            subject=f"{target.subject}/restore" if scratch else target.subject,
            input={"target": target.pk, "backup": backup.pk, "restore": restore_id, "mode": mode},
            created_by=requested_by,
            may_follow=() if scratch else (*BY_ITSELF, "target.provision"),
            retry_of=retry_of,
        )
        restore = Restore.objects.create(
            id=restore_id,
            target=target,
            backup=backup,
            mode=mode,
            operation=operation.pk,
            created_by=requested_by,
        )
        audit.record(
            project=target.project,
            actor=requested_by,
            action="target.restore",
            subject=target.pk,
            detail={"backup": backup.pk, "mode": mode, "restore": restore.pk, "operation": operation.pk},
        )
    return restore, operation


def restore_retry(*, operation: Operation, requested_by: str) -> Operation:
    """Do the restore of a failed or cancelled operation anew; it was confirmed then."""
    target = Target.objects.select_related("project").get(pk=operation.input["target"])
    _need_running(target, "a restore")
    backup = Backup.objects.get(pk=operation.input["backup"])
    if not backup.stored or backup.status in GOING:
        raise ConflictError(f"The bytes of {backup.pk} are not there.", code="backup_not_stored")
    return _restore_submit(target, backup, operation.input["mode"], requested_by, operation)[1]


def restore_decide(*, restore: Restore, undo: bool, confirm: str = "", requested_by: str) -> Operation:
    """Keep what a restore put in place and drop the database from before, or the other way round."""
    with transaction.atomic():
        held = (
            Restore.objects.select_for_update(no_key=True)
            .select_related("target__project")
            .get(pk=restore.pk)
        )
        target = held.target
        if not held.can_be_undone:
            raise ConflictError(
                f"{held.pk} is {held.status} and keeps no database from before.", code="restore_decided"
            )
        if undo and confirm != target.name:
            raise InvalidError(
                f'Send {{"confirm": "{target.name}"}}: what was written since the restore will be lost.',
                field="confirm",
                code="confirmation_required",
            )
        kind = "target.restore_undo" if undo else "target.restore_confirm"
        operation = operation_submit(
            project=target.project,
            kind=kind,
            subject=target.subject,
            input={"target": target.pk, "restore": held.pk},
            created_by=requested_by,
            may_follow=BY_ITSELF,
        )
        audit.record(
            project=target.project,
            actor=requested_by,
            action=kind,
            subject=target.pk,
            detail={"restore": held.pk, "operation": operation.pk},
        )
        return operation


def schedule_set(*, target: Target, requested_by: str, **values) -> BackupSchedule:
    """Back a target up by itself, by `cron` or `interval_minutes`; the values are the schedule's fields."""
    if target.status in (TargetStatus.DESTROYING, TargetStatus.DESTROYED):
        raise ConflictError(f"{target.name} is {target.status}.", code="target_destroyed")
    with transaction.atomic():
        schedule = BackupSchedule.objects.select_for_update(no_key=True).filter(target=target).first()
        schedule = schedule or BackupSchedule(target=target)
        for key, value in values.items():
            setattr(schedule, key, value)
        if values.get("cron"):
            schedule.interval_minutes = values.get("interval_minutes")
        elif values.get("interval_minutes"):
            schedule.cron = values.get("cron", "")
        if bool(schedule.cron) == bool(schedule.interval_minutes):
            raise InvalidError("Give cron or interval_minutes, one of the two.", field="cron")
        if schedule.interval_minutes and schedule.interval_minutes < INTERVAL_MINUTES_LEAST:
            raise InvalidError(
                f"An interval has at least {INTERVAL_MINUTES_LEAST} minutes.", field="interval_minutes"
            )
        cron.zone_of(schedule.timezone)
        schedule.url = url_checked(schedule.url)
        now = timezone.now()
        schedule.next_at = next_after(schedule, now) if schedule.enabled else None
        schedule.due_at = None
        schedule.updated_by = requested_by
        schedule.save()
        audit.record(
            project=target.project,
            actor=requested_by,
            action="backup.schedule",
            subject=target.pk,
            detail={"schedule": str(schedule), "enabled": schedule.enabled, "url": schedule.url}
            | {key: getattr(schedule, key) for key in ("keep_last", "keep_daily", "keep_weekly")},
        )
    return schedule


def next_after(schedule: BackupSchedule, moment):
    """When a schedule is due first after a moment."""
    if schedule.cron:
        return cron.parse(schedule.cron, schedule.timezone).after(moment)
    return moment + timedelta(minutes=schedule.interval_minutes)
