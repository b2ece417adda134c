"""How pages write times, sizes, numbers and states: one form of each everywhere."""

import json
from datetime import UTC, datetime

from django import template
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import escape, format_html
from django.utils.safestring import mark_safe

register = template.Library()

# word of a state -> (tone, icon). A tone is a colour and never stands alone.
STATES = {
    "ready": ("ok", "check"),
    "healthy": ("ok", "check"),
    "succeeded": ("ok", "check"),
    "active": ("ok", "check"),
    "proven": ("ok", "check"),
    "confirmed": ("ok", "check"),
    "overdue": ("failing", "warning"),
    "undone": ("warning", "undo"),
    "deleting": ("working", "spinner"),
    "deleted": ("unknown", "stop"),
    "running": ("working", "spinner"),
    "provisioning": ("working", "spinner"),
    "starting": ("working", "spinner"),
    "working": ("working", "spinner"),
    "failing": ("failing", "cross"),
    "absent": ("failing", "cross"),
    "building": ("working", "spinner"),
    "destroying": ("working", "spinner"),
    "waiting": ("working", "hourglass"),
    "receiving": ("working", "spinner"),
    "queued": ("unknown", "clock"),
    "passed": ("ok", "check"),
    "inconclusive": ("unknown", "question"),
    "pending": ("unknown", "clock"),
    "cancelling": ("warning", "spinner"),
    "rolling_back": ("warning", "spinner"),
    "draining": ("warning", "hourglass"),
    "degraded": ("warning", "warning"),
    "unready": ("warning", "warning"),
    "rolled_back": ("warning", "undo"),
    "stale": ("warning", "warning"),
    "unhealthy": ("failing", "cross"),
    "failed": ("failing", "cross"),
    "cancelled": ("unknown", "stop"),
    "stopped": ("unknown", "stop"),
    "destroyed": ("unknown", "stop"),
    "revoked": ("unknown", "stop"),
    "expired": ("unknown", "clock"),
    "unknown": ("unknown", "question"),
    "paused": ("warning", "pause"),
    "moving": ("working", "spinner"),
    "moved": ("ok", "check"),
    "unchanged": ("ok", "check"),
    "not_restored": ("failing", "cross"),
    "skipped": ("unknown", "minus"),
}
WORDS = {"unready": "Not ready", "rolling_back": "Rolling back", "rolled_back": "Rolled back"}


@register.simple_tag
def icon(name: str, label: str = ""):
    """A symbol of the sprite; hidden from screen readers unless it has a label of its own."""
    described = format_html('role="img" aria-label="{}"', label) if label else mark_safe('aria-hidden="true"')
    return format_html(
        '<svg class="icon icon-{}" width="16" height="16" {}><use href="{}#{}"></use></svg>',
        name,
        described,
        static("icons.svg"),
        name,
    )


def state_tone(state: str) -> str:
    return STATES.get(state, ("unknown", "question"))[0]


@register.filter
def tone(state) -> str:
    """The status colour's name of a state."""
    return state_tone(str(state))


@register.simple_tag
def status(state, word: str = ""):
    """A state as icon, word and colour."""
    state = str(state)
    colour, symbol = STATES.get(state, ("unknown", "question"))
    text = word or WORDS.get(state) or state.replace("_", " ").capitalize()
    return format_html('<span class="status {}">{}<span>{}</span></span>', colour, icon(symbol), text)


@register.simple_tag
def pod_problem(problem: dict):
    """What ails a pod, in the tone of a failure."""
    return status("failing", problem["code"].replace("_", " ").capitalize())


def relative(at: datetime, now: datetime | None = None) -> str:
    """`4 min ago`, `in 2 h`."""
    seconds = ((now or timezone.now()) - at).total_seconds()
    size = abs(seconds)
    if size < 5:
        return "just now"
    for limit, divisor, unit in (
        (60, 1, "s"),
        (3600, 60, "min"),
        (48 * 3600, 3600, "h"),
        (90 * 86400, 86400, "days"),
    ):
        if size < limit:
            text = f"{int(size // divisor)} {unit}"
            return f"{text} ago" if seconds > 0 else f"in {text}"
    return at.astimezone(UTC).strftime("%-d %b %Y")


@register.simple_tag
def ago(at, empty: str = "never"):
    """A time as relative text; the browser keeps it current and shows the exact time on hover."""
    if not at:
        return format_html('<span class="muted">{}</span>', empty)
    exact = at.astimezone(UTC)
    return format_html(
        '<time datetime="{}" title="{} UTC">{}</time>',
        exact.isoformat(timespec="milliseconds"),
        exact.strftime("%Y-%m-%d %H:%M:%S"),
        relative(at),
    )


@register.filter
def seconds(value) -> str:
    """A duration: `640 ms`, `4.2 s`, `3 min 5 s`, `2 h 10 min`."""
    if value is None or value == "":
        return "—"
    value = value.total_seconds() if hasattr(value, "total_seconds") else float(value)
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    if value < 59.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


@register.filter
def milliseconds(value) -> str:
    """A duration given in milliseconds: `4.1 ms`, `120 ms`, `1.2 s`."""
    if value is None or value == "":
        return "—"
    value = float(value)
    if value < 9.95:
        return f"{value:.1f} ms"
    return f"{value:.0f} ms" if value < 1000 else f"{value / 1000:.1f} s"


@register.filter
def cores(value) -> str:
    """CPU in use: thousandths of a core below one."""
    if value is None:
        return "—"
    return f"{value * 1000:.0f} m" if value < 1 else f"{value:.2f} cores"


@register.filter
def number(value) -> str:
    """Whole numbers with thousands separators; fractions with three significant digits."""
    if value is None or value == "":
        return "—"
    if isinstance(value, int):
        return f"{value:,}"
    value = float(value)
    if value and abs(value) < 100:
        return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2g}" if abs(value) < 1 else f"{value:.1f}"
    return f"{value:,.0f}"


@register.filter
def rate(value) -> str:
    """Requests a second."""
    return "—" if value is None or value == "" else f"{number(float(value))}/s"


@register.filter
def percent(value, digits: int = 2) -> str:
    """A share of 1 as per cent; 100 % only when it is exactly that."""
    if value is None or value == "":
        return "—"
    share = float(value) * 100
    if share >= 100:
        return "100 %"
    floor = 10**digits
    return f"{int(share * floor) / floor:.{digits}f} %"


@register.filter
def size(value) -> str:
    """Bytes in binary units."""
    if value is None or value == "":
        return "—"
    value = float(value)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"


@register.filter
def pretty(value) -> str:
    """A JSON value, indented."""
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True, default=str)


@register.filter
def words(value) -> str:
    """`wait_for_replicas` as `Wait for replicas`."""
    return str(value).replace("_", " ").replace(".", " ").strip().capitalize()


@register.filter
def actor_name(value) -> str:
    """`user:ada` as `ada`, `key:ci` as `key ci`."""
    kind, _, name = str(value).partition(":")
    return value if not name else name if kind == "user" else f"{kind} {name}"


@register.simple_tag
def copy(value, label: str = "Copy"):
    """A button that copies a text."""
    return format_html(
        '<button type="button" class="icon-button copy" data-copy="{}" aria-label="{}" title="{}">'
        "{}</button>",
        value,
        label,
        label,
        icon("copy"),
    )


@register.inclusion_tag("controlplane/_sort.html", takes_context=True)
def sortable(context, page, name: str, label: str, css: str = ""):
    """A column's head that sorts by it."""
    current = page.sort.removeprefix("-") == name
    down = page.sort.startswith("-")
    wanted = name if current and down else f"-{name}" if current else name
    query = context["request"].GET.copy()
    query["sort"] = wanted
    query.pop("cursor", None)
    return {
        "label": label,
        "url": f"?{query.urlencode()}",
        "direction": ("descending" if down else "ascending") if current else "none",
        "css": css,
    }


@register.inclusion_tag("controlplane/_pager.html", takes_context=True)
def pager(context, page, noun: str = ""):
    """The way to the next and the previous page."""

    def link(cursor):
        query = context["request"].GET.copy()
        query["cursor"] = cursor
        return f"?{query.urlencode()}"

    if page.total == 1:
        noun = {"entries": "entry"}.get(noun, noun.removesuffix("s"))
    return {
        "previous": link(page.previous) if page.previous else "",
        "next": link(page.next) if page.next else "",
        "total": page.total,
        "noun": noun,
        "shown": len(page.items),
    }


@register.filter
def highlight(text: str, wanted: str):
    """The text with every occurrence of `wanted` marked, case aside."""
    if not wanted:
        return text
    low, sought = text.lower(), wanted.lower()
    parts, place = [], 0
    while (found := low.find(sought, place)) >= 0:
        parts += [escape(text[place:found]), "<mark>", escape(text[found : found + len(sought)]), "</mark>"]
        place = found + len(sought)
    return mark_safe("".join([*parts, escape(text[place:])]))


@register.simple_tag
def took(thing):
    """How long something that has `created_at` and `finished_at` ran."""
    if not thing.finished_at:
        return "—"
    since = getattr(thing, "started_at", None) or thing.created_at
    return seconds(thing.finished_at - since)


@register.simple_tag
def ago_text(text, empty: str = "never"):
    """`ago` of a time that is RFC 3339 text, as an API gives it."""
    try:
        return ago(datetime.fromisoformat(text), empty)
    except (TypeError, ValueError):
        return ago(None, empty)


JOB_WORDS = {
    "index.build": "Index build",
    "index.merge": "Index merge",
    "index.declare": "Indexes of declared fields",
    "index.calibrate": "Calibration of the index",
    "points.import": "Import",
    "points.export": "Export",
    "recall.measure": "Recall measurement",
}


@register.filter
def job_words(kind) -> str:
    """What a job of a target is called: `index.build` as `Index build`."""
    return JOB_WORDS.get(str(kind)) or words(kind)


@register.simple_tag
def between_text(since, until):
    """The duration between two times that are RFC 3339 text."""
    try:
        return seconds(datetime.fromisoformat(until) - datetime.fromisoformat(since))
    except (TypeError, ValueError):
        return "—"
