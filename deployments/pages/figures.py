"""A target's measured series in the shape the charts draw."""

from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone

from deployments import metrics


@dataclass(frozen=True)
class Range:
    """A span of time to look at, and the step it is drawn in."""

    name: str
    label: str
    span: timedelta
    step_seconds: int


RANGES = {
    one.name: one
    for one in (
        Range("1h", "1 h", timedelta(hours=1), 60),
        Range("6h", "6 h", timedelta(hours=6), 300),
        Range("24h", "24 h", timedelta(hours=24), 900),
        Range("7d", "7 d", timedelta(days=7), 3600),
        Range("30d", "30 d", timedelta(days=30), 4 * 3600),
    )
}


def charts(target, name: str) -> dict:
    """Everything the metrics page draws: {step, times, charts, annotations}; times are Unix seconds."""
    span = RANGES[name]
    until = timezone.now()
    found = metrics.series(target, until - span.span, until, span.step_seconds)
    points = found["points"]
    times = [int(point["at"].timestamp()) for point in points]

    def column(key):
        return [point[key] for point in points]

    counts, sizes = _collections(found["collections"], times)
    drawn = [
        _chart("requests", "Requests", "rate", {"requests": column("requests_per_second")}),
        _chart("errors", "Errors (5xx)", "rate", {"errors": column("errors_per_second")}),
        _chart(
            "strain",
            "Refused (429) and slow queries",
            "rate",
            {"refused": column("refused_per_second"), "slow": column("slow_per_second")},
        ),
        _chart("latency", "Latency", "ms", {f"p{n}": column(f"p{n}_ms") for n in (50, 95, 99)}),
        _chart("memory", "Memory of all replicas", "bytes", {"memory": column("memory_bytes")}),
        _chart("points", "Points by collection", "count", counts),
        _chart("sizes", "Size by collection", "bytes", sizes),
    ]
    return {
        "step": found["step_seconds"],
        "times": times,
        "charts": drawn,
        "annotations": [
            {"at": note["at"].timestamp(), "text": note["text"], "kind": note["kind"]}
            for note in found["annotations"]
        ],
    }


def _chart(key: str, title: str, unit: str, series: dict[str, list]) -> dict:
    return {
        "key": key,
        "title": title,
        "unit": unit,
        "series": [{"name": name, "values": values} for name, values in series.items()],
    }


def _collections(found: dict, times: list[int], most: int = 5) -> tuple[dict, dict]:
    """({collection: points}, {collection: bytes}) of the largest ones, on the charts' own time axis."""
    index = {time: place for place, time in enumerate(times)}
    counts, sizes = {}, {}
    for name, rows in list(found.items())[:most]:
        counts[name], sizes[name] = [None] * len(times), [None] * len(times)
        for row in rows:
            place = index.get(int(row["at"].timestamp()))
            if place is not None:
                counts[name][place], sizes[name][place] = row["points"], row["bytes"]
    return counts, sizes
