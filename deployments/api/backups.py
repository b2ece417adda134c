"""REST: backups of a target, restores, and the schedule."""

from django.db.models import QuerySet
from rest_framework import serializers

from controlplane.api.pagination import ListQuery, Words
from controlplane.api.serializers import JsonObject, StrictSerializer
from controlplane.api.views import ApiView, Route, list_route
from controlplane.permissions import require
from deployments import selectors
from deployments.api.serializers import ReleaseReference, TargetReference
from deployments.backups import schedules, services
from deployments.backups.models import Backup, BackupSchedule, BackupStatus, RestoreMode, RestoreStatus
from deployments.backups.selectors import backup_find, backups, restore_find, restores
from worker.api.answers import accepted
from worker.api.serializers import OperationOut


class BackupOut(serializers.Serializer):
    """One backup of a target's database."""

    id = serializers.CharField()
    target = TargetReference()
    status = serializers.ChoiceField(
        choices=BackupStatus.choices, help_text="`proven` only once it was read back and found whole."
    )
    reason = serializers.CharField(help_text="Why it failed.")
    scheduled = serializers.BooleanField()
    place = serializers.CharField(help_text="A path of where the target's tasks run, or a URL.")
    stored = serializers.BooleanField(help_text="Whether its bytes lie at its place.")
    release = ReleaseReference(allow_null=True)
    at = serializers.DateTimeField(allow_null=True, help_text="The moment whose data it holds.")
    size_bytes = serializers.IntegerField(allow_null=True)
    database_bytes = serializers.IntegerField(allow_null=True)
    sha256 = serializers.CharField()
    points = serializers.IntegerField()
    collections = serializers.ListField(child=JsonObject(), help_text="[{name, points, checksum, recall}]")
    progress = JsonObject(help_text="{phase, done, total} while it runs; bytes.")
    proof = JsonObject(help_text="What was compared: {collections, points, queries, recall}.")
    proven_at = serializers.DateTimeField(
        allow_null=True, help_text="When it was last read back and found whole."
    )
    operation = serializers.CharField()
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)


class BackupCreate(StrictSerializer):
    """Where to keep the backup."""

    url = serializers.CharField(
        max_length=2000,
        required=False,
        allow_blank=True,
        default="",
        help_text="s3://bucket/folder/, gs:// or az://, within AINDUS_BACKUP_URLS; else the data directory.",
    )


class BackupQuery(ListQuery):
    """Query of the list of backups."""

    status = Words(
        choices=BackupStatus.values,
        help_text="Separated by commas. Without it, backups that are deleted are left out.",
    )


class RestoreOut(serializers.Serializer):
    """One reading back of a backup."""

    id = serializers.CharField()
    target = TargetReference()
    backup = serializers.CharField(source="backup_id")
    mode = serializers.ChoiceField(choices=RestoreMode.choices)
    status = serializers.ChoiceField(choices=RestoreStatus.choices)
    reason = serializers.CharField(help_text="Why it failed.")
    progress = JsonObject(help_text="{phase, done, total} while it runs; bytes.")
    proof = JsonObject(help_text="What was compared: {collections, points, queries, recall}.")
    kept_database = serializers.CharField(help_text="The database from before, until it is decided.")
    can_be_undone = serializers.BooleanField()
    operation = serializers.CharField()
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
    decided_by = serializers.CharField(help_text="Who confirmed or undid it.")
    decided_at = serializers.DateTimeField(allow_null=True)


class RestoreCreate(StrictSerializer):
    """Which backup to read back, and where to."""

    backup = serializers.CharField(max_length=64)
    mode = serializers.ChoiceField(
        choices=RestoreMode.choices,
        default=RestoreMode.SCRATCH,
        help_text="scratch proves it alone; in_place needs admin.",
    )
    confirm = serializers.CharField(
        max_length=50, required=False, default="", help_text="in_place: the target's name."
    )
    name = serializers.CharField(
        max_length=50, required=False, default="", help_text="new_target: what it shall be called."
    )


class RestoreUndo(StrictSerializer):
    """The confirmation of an undoing."""

    confirm = serializers.CharField(max_length=50, help_text="The target's name.")


class BackupStanding(serializers.Serializer):
    """How a target stands with its backups."""

    state = serializers.CharField(help_text="ok, none, running, or overdue, which is an alarm.")
    message = serializers.CharField()
    alarm = serializers.BooleanField()
    last_proven = serializers.CharField(allow_null=True, help_text="The newest proven backup.")
    last_proven_at = serializers.DateTimeField(allow_null=True, help_text="The moment it holds.")


class ScheduleOut(serializers.Serializer):
    """When a target is backed up by itself, and how it stands."""

    enabled = serializers.BooleanField()
    cron = serializers.CharField()
    interval_minutes = serializers.IntegerField(allow_null=True)
    timezone = serializers.CharField()
    url = serializers.CharField()
    keep_last = serializers.IntegerField()
    keep_daily = serializers.IntegerField()
    keep_weekly = serializers.IntegerField()
    next_at = serializers.DateTimeField(allow_null=True)
    due_at = serializers.DateTimeField(allow_null=True, help_text="When a backup was due last.")
    missed = serializers.IntegerField(help_text="Runs that were due and not made, all in all.")
    missed_at = serializers.DateTimeField(allow_null=True)
    missed_reason = serializers.CharField()
    updated_by = serializers.CharField()
    updated_at = serializers.DateTimeField(allow_null=True)
    standing = serializers.SerializerMethodField()

    def get_standing(self, schedule) -> BackupStanding():
        found = schedules.standing(schedule.target)
        return {
            "state": found.state,
            "message": found.message,
            "alarm": found.alarm,
            "last_proven": found.last and found.last.pk,
            "last_proven_at": found.last and found.last.at,
        }


class SchedulePut(StrictSerializer):
    """The whole schedule: `cron` or `interval_minutes`, one of the two."""

    enabled = serializers.BooleanField(default=True)
    cron = serializers.CharField(
        max_length=100, allow_blank=True, default="", help_text="minute hour day month weekday, or @daily."
    )
    interval_minutes = serializers.IntegerField(min_value=5, max_value=525_600, allow_null=True, default=None)
    timezone = serializers.CharField(
        max_length=64, default="UTC", help_text="IANA name, such as Europe/Paris."
    )
    url = serializers.CharField(max_length=2000, allow_blank=True, default="")
    keep_last = serializers.IntegerField(min_value=1, max_value=10_000, default=7)
    keep_daily = serializers.IntegerField(min_value=0, max_value=10_000, default=7)
    keep_weekly = serializers.IntegerField(min_value=0, max_value=10_000, default=4)


class BackupStartView(ApiView):
    tag = "Backups"
    routes = {
        "POST": Route("backup.create", "Back a target up", {202: OperationOut}, body=BackupCreate),
    }

    def post(self, request, target):
        """Dumps one snapshot, reads it back and compares; `input.backup` is its id."""
        found = selectors.target_find(self.project, target)
        _, operation = services.backup_start(target=found, requested_by=self.actor.name, **self.values)
        return accepted(self, operation)


class TargetBackupsView(ApiView):
    tag = "Backups"
    routes = {"GET": list_route("backup.read", "List a target's backups", BackupOut, BackupQuery)}

    def get(self, request, target):
        """The backups of a target, newest first."""
        rows = backups(self.project).filter(target=selectors.target_find(self.project, target))
        return self.answer_page(shown(rows, self.params.get("status")))


def shown(rows: QuerySet[Backup], statuses: list[str] | None) -> QuerySet[Backup]:
    return rows.filter(status__in=statuses) if statuses else rows.exclude(status=BackupStatus.DELETED)


class BackupView(ApiView):
    tag = "Backups"
    routes = {
        "GET": Route("backup.read", "Show a backup", {200: BackupOut}),
        "DELETE": Route("backup.delete", "Delete a backup", {202: OperationOut}),
    }

    def get(self, request, backup):
        """A backup by id."""
        return self.answer(backup_find(self.project, backup))

    def delete(self, request, backup):
        """Deletes its bytes; the record stays. 409 while it is being made or restored."""
        found = backup_find(self.project, backup)
        return accepted(self, services.backup_delete(backup=found, requested_by=self.actor.name))


class RestoreStartView(ApiView):
    tag = "Backups"
    routes = {
        "POST": Route("target.restore", "Restore a backup", {202: OperationOut}, body=RestoreCreate),
    }

    def post(self, request, target):
        """Reads a backup back and proves it in scratch, then puts it in place or into a new target if asked.

        In place, the database from before is kept until the restore is confirmed or undone.
        `input.restore` is its id.
        """
        found = selectors.target_find(self.project, target)
        values = dict(self.values)
        if values["mode"] == RestoreMode.IN_PLACE:
            require(self.actor.role, "target.restore_in_place")
        if values["mode"] == RestoreMode.NEW_TARGET:
            require(self.actor.role, "target.create")
        values["backup"] = backup_find(self.project, values["backup"])
        _, operation = services.restore_start(target=found, requested_by=self.actor.name, **values)
        return accepted(self, operation)


class TargetRestoresView(ApiView):
    tag = "Backups"
    routes = {"GET": list_route("backup.read", "List a target's restores", RestoreOut)}

    def get(self, request, target):
        """The restores of a target, newest first."""
        found = selectors.target_find(self.project, target)
        return self.answer_page(restores(self.project).filter(target=found))


class RestoreView(ApiView):
    tag = "Backups"
    routes = {"GET": Route("backup.read", "Show a restore", {200: RestoreOut})}

    def get(self, request, restore):
        """A restore by id."""
        return self.answer(restore_find(self.project, restore))


class RestoreConfirmView(ApiView):
    tag = "Backups"
    routes = {"POST": Route("target.restore_in_place", "Confirm a restore", {202: OperationOut})}

    def post(self, request, restore):
        """Keeps what was restored, and drops the database from before."""
        found = restore_find(self.project, restore)
        operation = services.restore_decide(restore=found, undo=False, requested_by=self.actor.name)
        return accepted(self, operation)


class RestoreUndoView(ApiView):
    tag = "Backups"
    routes = {
        "POST": Route("target.restore_in_place", "Undo a restore", {202: OperationOut}, body=RestoreUndo)
    }

    def post(self, request, restore):
        """Puts the database from before back; what was written since the restore is lost."""
        found = restore_find(self.project, restore)
        operation = services.restore_decide(
            restore=found, undo=True, requested_by=self.actor.name, **self.values
        )
        return accepted(self, operation)


class BackupScheduleView(ApiView):
    tag = "Backups"
    routes = {
        "GET": Route("backup.read", "Show a target's backup schedule", {200: ScheduleOut}),
        "PUT": Route(
            "backup.schedule", "Set a target's backup schedule", {200: ScheduleOut}, body=SchedulePut
        ),
    }

    def get(self, request, target):
        """The schedule; switched off and empty when none was set."""
        found = selectors.target_find(self.project, target)
        schedule = BackupSchedule.objects.filter(target=found).first()
        return self.answer(schedule or BackupSchedule(target=found, enabled=False))

    def put(self, request, target):
        """Replaces the schedule."""
        found = selectors.target_find(self.project, target)
        return self.answer(services.schedule_set(target=found, requested_by=self.actor.name, **self.values))
