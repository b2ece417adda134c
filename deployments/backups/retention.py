"""Which backups of a schedule are kept: the last ones, one of each day, one of each week."""

from collections.abc import Iterable
from datetime import datetime
from zoneinfo import ZoneInfo


def kept(
    backups: Iterable[tuple[str, datetime]], *, last: int, daily: int, weekly: int, zone: ZoneInfo
) -> set[str]:
    """The ids to keep of (id, moment of its data).

    Of each of the newest `daily` days that have a backup the newest of the day, of the newest `weekly` weeks
    likewise. The newest of all is always kept.
    """
    newest_first = sorted(backups, key=lambda one: one[1], reverse=True)
    keep = {one[0] for one in newest_first[: max(last, 1)]}
    for count, period in ((daily, _day), (weekly, _week)):
        seen: set = set()
        for name, at in newest_first:
            which = period(at.astimezone(zone))
            if which not in seen and len(seen) < count:
                seen.add(which)
                keep.add(name)
    return keep


def _day(at: datetime):
    return at.date()


def _week(at: datetime):
    return at.isocalendar()[:2]
