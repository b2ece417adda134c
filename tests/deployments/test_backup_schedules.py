"""When backups are due, which of them are kept, and when their absence is an alarm."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from controlplane.errors import ForbiddenError, InvalidError
from deployments.backups import cron, retention, schedules
from deployments.backups.models import Backup, BackupSchedule, BackupStatus
from deployments.backups.services import schedule_set
from tests.api.conftest import make_target
from worker.engine import database_now
from worker.models import Operation

PARIS = "Europe/Paris"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "zone", "moment", "expected"),
    [
        ("0 3 * * *", "UTC", "2026-01-01T02:59:59", "2026-01-01T03:00:00"),
        ("0 3 * * *", "UTC", "2026-01-01T03:00:00", "2026-01-02T03:00:00"),
        ("0 3 * * *", PARIS, "2026-07-01T00:00:00", "2026-07-01T01:00:00"),
        ("*/20 8-9 * * mon-fri", "UTC", "2026-01-02T09:40:00", "2026-01-05T08:00:00"),
        ("30 4 1,15 * 5", "UTC", "2026-01-02T05:00:00", "2026-01-09T04:30:00"),
        ("0 0 29 2 *", "UTC", "2026-01-01T00:00:00", "2028-02-29T00:00:00"),
        ("0 12 * * 7", "UTC", "2026-01-01T00:00:00", "2026-01-04T12:00:00"),
        ("@monthly", "UTC", "2026-01-01T00:00:00", "2026-02-01T00:00:00"),
        # 02:30 does not come on the 29th of March, and comes twice on the 25th of October.
        ("30 2 * * *", PARIS, "2026-03-28T23:00:00", "2026-03-29T01:30:00"),
        ("30 2 * * *", PARIS, "2026-10-24T23:00:00", "2026-10-25T00:30:00"),
        ("30 2 * * *", PARIS, "2026-10-25T00:30:00", "2026-10-26T01:30:00"),
    ],
)
def test_cron(text, zone, moment, expected):
    assert cron.parse(text, zone).after(at(moment)) == at(expected)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("* * * *", "five fields"),
        ("60 * * * *", "not within 0 and 59"),
        ("5-3 * * * *", "not within"),
        ("*/0 * * * *", "a step"),
        ("* * * foo *", "no month"),
        ("0 0 31 2 *", "never comes"),
    ],
)
def test_wrong_expressions_say_why(text, reason):
    with pytest.raises(InvalidError, match=reason):
        cron.parse(text)
    with pytest.raises(InvalidError, match="no time zone"):
        cron.parse("* * * * *", "Mars/Olympus")


def test_what_is_kept():
    start = at("2026-06-01T03:00:00")
    backups = [(f"b{n}", start + timedelta(hours=12 * n)) for n in range(60)]
    keep = retention.kept(backups, last=3, daily=4, weekly=3, zone=ZoneInfo("UTC"))
    # Days end with the odd ones; the weeks end on Sundays, the 14th, 21st and 28th.
    assert keep == {"b59", "b58", "b57", "b55", "b53", "b41"}
    assert retention.kept(backups, last=0, daily=0, weekly=0, zone=ZoneInfo("UTC")) == {"b59"}
    assert retention.kept([], last=3, daily=3, weekly=3, zone=ZoneInfo("UTC")) == set()


@pytest.fixture
def target(project):
    return make_target(project, secrets={"jwt_secret": "x" * 40})


@pytest.fixture
def project(db):
    from controlplane.models import Project

    return Project.objects.create(name="default")


def proven(target, moment, **values):
    return Backup.objects.create(
        target=target,
        status=BackupStatus.PROVEN,
        place="/nowhere/x.dump",
        stored=True,
        at=moment,
        proven_at=moment,
        scheduled=True,
        created_by="schedule",
        **values,
    )


def test_due_missed_and_the_alarm(target, settings):
    assert schedules.standing(target).state == "none"
    schedule = schedule_set(target=target, interval_minutes=60, requested_by="test")
    now = database_now()
    assert now < schedule.next_at <= now + timedelta(hours=1)
    schedules.tick()
    assert not Operation.objects.exists()

    # Four times due while nothing ran: made once, the others are told.
    BackupSchedule.objects.update(next_at=now - timedelta(hours=3, minutes=30))
    schedules.tick()
    schedules.tick()
    [operation] = Operation.objects.filter(kind="target.backup")
    assert operation.created_by == "schedule"
    schedule.refresh_from_db()
    assert (schedule.missed, schedule.missed_reason) == (
        3,
        "The control plane did not run when they were due.",
    )
    assert schedule.due_at == now - timedelta(minutes=30)
    assert schedule.next_at == now + timedelta(minutes=30)
    assert schedules.standing(target).state == "running"

    # It failed: an alarm that says why, until one is proven that is as young as the schedule wants.
    Backup.objects.update(status=BackupStatus.FAILED, reason="The disk is full.")
    old = proven(target, now - timedelta(hours=5))
    found = schedules.standing(target)
    assert found.alarm and "The disk is full." in found.message and found.last == old
    [late] = schedules.overdue(target.project)
    assert (late.target, late.due) == (target, schedule.due_at)
    proven(target, now)
    assert schedules.standing(target).state == "ok"
    assert not schedules.overdue(target.project).exists()

    # Another one is due while one is still made: that is a missed run as well.
    BackupSchedule.objects.update(next_at=now)
    schedules.tick()
    schedule.refresh_from_db()
    assert schedule.missed == 4 and "wait for it to end" in schedule.missed_reason
    assert Operation.objects.count() == 1
    # Switched off, nothing is due.
    schedule_set(target=target, enabled=False, requested_by="test")
    assert schedules.standing(target).state == "ok"


def test_old_backups_of_the_schedule_expire(target):
    now = database_now()
    schedule_set(
        target=target, cron="0 3 * * *", keep_last=2, keep_daily=0, keep_weekly=0, requested_by="test"
    )
    rows = [proven(target, now - timedelta(days=day)) for day in range(5)]
    by_hand = proven(target, now - timedelta(days=9))
    Backup.objects.filter(pk=by_hand.pk).update(scheduled=False)
    schedules.tick()
    schedules.tick()
    deleting = Backup.objects.filter(status=BackupStatus.DELETING).values_list("pk", flat=True)
    assert set(deleting) == {row.pk for row in rows[2:]}
    assert Operation.objects.filter(kind="backup.delete").count() == 3


def test_a_schedule_is_checked(target, settings):
    for values, reason in (
        ({"cron": "0 3 * * *", "interval_minutes": 60}, "one of the two"),
        ({}, "one of the two"),
        ({"interval_minutes": 1}, "at least 5"),
        ({"cron": "0 3 * * *", "timezone": "Nowhere"}, "no time zone"),
        ({"cron": "0 3 * * *", "url": "ftp://x/"}, "starts with s3://"),
    ):
        with pytest.raises(InvalidError, match=reason):
            schedule_set(target=target, requested_by="test", **values)
    with pytest.raises(ForbiddenError, match="AINDUS_BACKUP_URLS"):
        schedule_set(target=target, cron="0 3 * * *", url="s3://other/", requested_by="test")
    settings.BACKUP_URLS = ["s3://bucket/a/"]
    with pytest.raises(ForbiddenError):
        schedule_set(target=target, cron="0 3 * * *", url="s3://bucket/ab", requested_by="test")
    schedule = schedule_set(target=target, cron="0 3 * * *", url="s3://bucket/a", requested_by="test")
    assert schedule.url == "s3://bucket/a/"
