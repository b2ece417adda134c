"""A target's backups: how it stands, each backup and its proof, restores, and the schedule."""

from zoneinfo import available_timezones

from django.contrib import messages
from django.shortcuts import redirect, render

from controlplane.errors import ProblemError
from controlplane.pages.access import actor, page, require
from controlplane.pages.forms import field_errors
from controlplane.pages.lookup import row_or_404
from controlplane.pages.paging import paginate
from deployments.backups import schedules, services
from deployments.backups.models import Backup, BackupSchedule, BackupStatus, Restore, RestoreMode
from deployments.pages.actions import dialog, gone_to
from deployments.pages.selectors import named
from deployments.pages.targets import tab_context, target_or_404
from worker.models import Operation

RESTORES_SHOWN = 10
NUMBERS = ("interval_minutes", "keep_last", "keep_daily", "keep_weekly")
TEXTS = ("cron", "timezone", "url")


@page("backup.read")
def index(request, name):
    """How the target stands, and its backups and restores, newest first."""
    found = target_or_404(request, name)
    rows = Backup.objects.filter(target=found)
    if request.GET.get("deleted") != "1":
        rows = rows.exclude(status=BackupStatus.DELETED)
    shown = paginate(
        rows,
        request.GET,
        sorts={"created": "created_at", "status": "status"},
        default="-created",
        size=20,
    )
    restores = Restore.objects.filter(target=found).select_related("backup").order_by("-pk")
    restores = list(restores[:RESTORES_SHOWN])
    context = tab_context(
        request,
        found,
        "backups",
        page=shown,
        standing=schedules.standing(found),
        schedule=BackupSchedule.objects.filter(target=found).first(),
        restores=restores,
        undecided=Restore.objects.filter(target=found, status="succeeded").exclude(kept_database="").first(),
        running=rows.filter(status__in=("running", "deleting")).exists()
        or any(one.status == "running" for one in restores),
        with_deleted=request.GET.get("deleted") == "1",
    )
    return render(request, f"deployments/backups/{'_index' if request.htmx else 'index'}.html", context)


def _backup(target, backup_id: str) -> Backup:
    return row_or_404(Backup.objects.filter(target=target).select_related("release"), pk=backup_id)


@page("backup.read")
def backup(request, name, backup_id):
    """One backup: what it holds, its proof, and what was restored from it."""
    found = target_or_404(request, name)
    held = _backup(found, backup_id)
    operation = Operation.objects.filter(pk=held.operation).first() if held.operation else None
    context = tab_context(
        request,
        found,
        "backups",
        backup=held,
        operation=operation and named(operation),
        restores=list(Restore.objects.filter(backup=held).select_related("target").order_by("-pk")[:20]),
        unfinished=held.status in (BackupStatus.RUNNING, BackupStatus.DELETING),
    )
    return render(request, f"deployments/backups/{'_backup' if request.htmx else 'backup'}.html", context)


def _run(request, template: str, context: dict, act, fields=()):
    """GET shows the dialog; POST acts and goes to the operation, or shows what is wrong."""
    if request.method == "POST":
        try:
            operation = act()
        except ProblemError as error:
            context |= {"errors": field_errors(error, fields), "given": request.POST}
            return dialog(request, f"backups/{template}", context, status=422)
        return gone_to(request, f"/operations/{operation.pk}/")
    return dialog(request, f"backups/{template}", context)


@page("backup.create")
def back_up(request, name):
    found = target_or_404(request, name)
    schedule = BackupSchedule.objects.filter(target=found).first()
    context = tab_context(
        request, found, "backups", url=request.POST.get("url", schedule.url if schedule else "")
    )
    return _run(
        request,
        "_back_up.html",
        context,
        lambda: services.backup_start(
            target=found, url=request.POST.get("url", "").strip(), requested_by=actor(request)
        )[1],
        ("url",),
    )


@page("target.restore")
def restore(request, name, backup_id):
    """Prove it again, put it in place, or fill a new target with it."""
    found = target_or_404(request, name)
    held = _backup(found, backup_id)
    mode = request.POST.get("mode", RestoreMode.SCRATCH)
    context = tab_context(request, found, "backups", backup=held, mode=mode)

    def act():
        if mode == RestoreMode.IN_PLACE:
            require(request, "target.restore_in_place")
        if mode == RestoreMode.NEW_TARGET:
            require(request, "target.create")
        return services.restore_start(
            target=found,
            backup=held,
            mode=mode if mode in RestoreMode.values else RestoreMode.SCRATCH,
            confirm=request.POST.get("confirm", "").strip(),
            name=request.POST.get("name", "").strip(),
            requested_by=actor(request),
        )[1]

    return _run(request, "_restore.html", context, act, ("confirm", "name"))


@page("target.restore_in_place")
def decide(request, name, restore_id, verb):
    """Confirm a restore, or undo it."""
    found = target_or_404(request, name)
    held = row_or_404(Restore.objects.filter(target=found).select_related("backup"), pk=restore_id)
    context = tab_context(request, found, "backups", restore=held, verb=verb)
    return _run(
        request,
        "_decide.html",
        context,
        lambda: services.restore_decide(
            restore=held,
            undo=verb == "undo",
            confirm=request.POST.get("confirm", "").strip(),
            requested_by=actor(request),
        ),
        ("confirm",),
    )


@page("backup.delete")
def delete(request, name, backup_id):
    found = target_or_404(request, name)
    held = _backup(found, backup_id)
    context = tab_context(
        request,
        found,
        "backups",
        backup=held,
        others=Backup.objects.filter(target=found, status=BackupStatus.PROVEN).exclude(pk=held.pk).count(),
    )
    return _run(
        request,
        "_delete.html",
        context,
        lambda: services.backup_delete(backup=held, requested_by=actor(request)),
    )


@page("backup.read", post="backup.schedule")
def schedule(request, name):
    """When the target is backed up by itself, where to, and what is kept."""
    found = target_or_404(request, name)
    held = BackupSchedule.objects.filter(target=found).first() or BackupSchedule(
        target=found, cron="0 3 * * *", enabled=False
    )
    errors = {}
    if request.method == "POST":
        values = {name: request.POST.get(name, "").strip() for name in TEXTS}
        by_cron = request.POST.get("rhythm", "cron") == "cron"
        values["cron"] = values["cron"] if by_cron else ""
        values["timezone"] = values["timezone"] or "UTC"
        for key in NUMBERS:
            text = request.POST.get(key, "").strip()
            if key == "interval_minutes" and by_cron:
                values[key] = None
            elif text.isdigit() and int(text) < 10**6:
                values[key] = int(text)
            else:
                errors[key] = "Give a whole number."
        if not errors:
            try:
                services.schedule_set(
                    target=found,
                    requested_by=actor(request),
                    enabled=request.POST.get("enabled") == "on",
                    **values,
                )
            except ProblemError as error:
                errors = field_errors(error, (*TEXTS, *NUMBERS))
            else:
                messages.success(request, "Schedule saved.")
                return redirect("target-backups", found.name)
    if request.method == "POST":
        enabled = request.POST.get("enabled") == "on"
    else:
        # A new schedule is made to be on.
        enabled = held.enabled or held.next_at is None
    given = request.POST or {key: getattr(held, key) for key in (*TEXTS, *NUMBERS)}
    context = tab_context(
        request,
        found,
        "backups",
        schedule=held,
        given=given,
        by_cron=request.POST.get("rhythm", "interval" if held.interval_minutes else "cron") == "cron",
        enabled=enabled,
        errors=errors,
        zones=sorted(available_timezones()),
    )
    return render(request, "deployments/backups/schedule.html", context, status=422 if errors else 200)
