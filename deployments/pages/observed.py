"""Health and figures of one target, in the shape the pages show them."""

from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone

from deployments.health import UP, timelines
from deployments.models import Health
from deployments.pages import figures

SPANS = [("1 h", 3600), ("24 h", 86400), ("30 d", 30 * 86400)]
SPARK_WIDTH, SPARK_HEIGHT = 120, 28


@dataclass(frozen=True)
class Uptime:
    """The share of the measured part of a span in which the target answered; None when none was measured."""

    label: str
    share: float | None
    down_seconds: float
    measured_seconds: float

    @property
    def partial(self) -> bool:
        return self.share is not None and self.measured_seconds < dict(SPANS)[self.label] - 60


def uptimes(target) -> list[Uptime]:
    """Uptime over 1 h, 24 h and 30 d, of what was measured; a degraded target still answers."""
    now = timezone.now()
    segments = timelines([target], SPANS[-1][1])[target.pk]
    found = []
    for label, seconds in SPANS:
        start = now - timedelta(seconds=seconds)
        measured = down = 0.0
        for part in segments:
            length = (part.until - max(part.since, start)).total_seconds()
            if length > 0 and part.health != Health.UNKNOWN:
                measured += length
                down += length if part.health not in UP else 0
        found.append(Uptime(label, 1 - down / measured if measured else None, down, measured))
    return found


def sparks(target) -> list[dict]:
    """Three small lines of the last hour: [{label, unit, now, points}], empty when nothing was measured."""
    drawn = figures.charts(target, "1h")
    wanted = {"requests": ("Requests", "rate"), "errors": ("Errors", "rate"), "latency": ("p95", "ms")}
    found = []
    for chart in drawn["charts"]:
        if chart["key"] not in wanted:
            continue
        label, unit = wanted[chart["key"]]
        series = next((s for s in chart["series"] if s["name"] in ("requests", "errors", "p95")), None)
        # The newest step is still being measured: it would draw a drop that is none.
        values = series["values"][:-1] if series else []
        known = [value for value in values if value is not None]
        if not known:
            continue
        found.append({"label": label, "unit": unit, "now": known[-1], "points": polyline(values)})
    return found


def polyline(values: list) -> str:
    """The `points` of an SVG polyline of SPARK_WIDTH by SPARK_HEIGHT; gaps are drawn as zero."""
    top = max((value or 0 for value in values), default=0) or 1
    step = SPARK_WIDTH / max(1, len(values) - 1)
    return " ".join(
        f"{place * step:.1f},{SPARK_HEIGHT - 2 - (value or 0) / top * (SPARK_HEIGHT - 4):.1f}"
        for place, value in enumerate(values)
    )
