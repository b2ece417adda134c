"""Cron expressions in a time zone: minute, hour, day of month, month, day of week.

As in Vixie's cron: `*`, lists, ranges, steps, names of months and days; 7 is Sunday as 0 is; when both days
are restricted, either will do. A time that a clock change skips runs once, as much later; one that comes
twice runs the first time.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from controlplane.errors import InvalidError

MONTHS = dict(
    zip(
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
        range(1, 13),
        strict=True,
    )
)
DAYS = dict(zip(["sun", "mon", "tue", "wed", "thu", "fri", "sat"], range(7), strict=True))
FIELDS = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of month", 1, 31, {}),
    ("month", 1, 12, MONTHS),
    ("day of week", 0, 7, DAYS),
)
SHORT = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
}
# The 29th of February comes at least so often.
DAYS_LOOKED_AT = 8 * 366 + 1


@dataclass(frozen=True)
class Cron:
    """A parsed expression in a zone."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    zone: ZoneInfo

    def after(self, moment: datetime) -> datetime | None:
        """The first time after an aware moment, in UTC; None for a day that never comes."""
        day = moment.astimezone(self.zone).date() - timedelta(days=1)
        for _ in range(DAYS_LOOKED_AT):
            if self._is_on(day):
                times = sorted(
                    datetime.combine(day, time(hour, minute), self.zone).astimezone(UTC)
                    for hour in self.hours
                    for minute in self.minutes
                )
                found = next((one for one in times if one > moment), None)
                if found:
                    return found
            day += timedelta(days=1)
        return None

    def _is_on(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return (of_month or of_week) if self.either_day else (of_month and of_week)


def zone_of(name: str) -> ZoneInfo:
    """A time zone by its IANA name; InvalidError."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise InvalidError(
            f"There is no time zone {name[:60]!r}; use an IANA name such as Europe/Paris.", field="timezone"
        ) from None


def parse(text: str, timezone: str = "UTC") -> Cron:
    """An expression of five fields, or @hourly, @daily, @weekly, @monthly; InvalidError."""
    parts = SHORT.get(text.strip().lower(), text).lower().split()
    if len(parts) != len(FIELDS):
        raise InvalidError(
            "A cron expression has five fields: minute, hour, day of month, month, day of week.", field="cron"
        )
    found = [_field(part, *field) for part, field in zip(parts, FIELDS, strict=True)]
    weekdays = frozenset(day % 7 for day in found[4])
    either = not parts[2].startswith("*") and not parts[4].startswith("*")
    cron = Cron(*found[:4], weekdays, either, zone_of(timezone))
    if cron.after(datetime.now(UTC)) is None:
        raise InvalidError(f"{text!r} names a day that never comes.", field="cron")
    return cron


def _field(text: str, name: str, least: int, most: int, names: dict[str, int]) -> frozenset[int]:
    found = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, dash, last = span.partition("-")
        if span == "*":
            begin, end = least, most if most != 7 else 6
        else:
            begin = _number(first, name, names)
            end = _number(last, name, names) if dash else most if step else begin
        if step and not (step.isdigit() and int(step) > 0):
            raise InvalidError(f"{part!r} of {name}: a step is a whole number above 0.", field="cron")
        if not least <= begin <= end <= most:
            raise InvalidError(f"{part!r} of {name} is not within {least} and {most}.", field="cron")
        found.update(range(begin, end + 1, int(step) if step else 1))
    return frozenset(found)


def _number(text: str, name: str, names: dict[str, int]) -> int:
    if text in names:
        return names[text]
    if not text.isdigit() or len(text) > 4:
        raise InvalidError(f"{text[:40]!r} is no {name}.", field="cron")
    return int(text)
