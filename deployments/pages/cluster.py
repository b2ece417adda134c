"""Pages of what a target's cluster tells: its events, and the objects that we keep there."""

from collections import Counter

from django.shortcuts import render
from django.utils.dateparse import parse_datetime

from controlplane.api.pagination import decode_cursor, encode_cursor
from controlplane.errors import ProblemError
from controlplane.pages.access import page
from deployments.errors import ProviderError
from deployments.pages.selectors import shown_event
from deployments.pages.targets import tab_context, target_or_404
from deployments.selectors import EVENT_SOURCES, target_events
from deployments.workloads import workload_of, workload_runtime

SHOWN = 50
KINDS = [
    ("all", "All"),
    ("warning", "Warnings"),
    ("cluster", "Cluster"),
    ("operation", "Operations"),
    ("health", "Health"),
]


def shown_events(target, *, kind: str = "all", before: tuple | None = None, limit: int = SHOWN) -> list[dict]:
    """Events as the pages show them, newest first."""
    found = target_events(
        target,
        before=before,
        limit=limit,
        sources=(kind,) if kind in EVENT_SOURCES else EVENT_SOURCES,
        only_warnings=kind == "warning",
    )
    return [shown_event(event) for event in found]


def _place(text: str) -> tuple | None:
    """The position that an address names; None for what is none."""
    try:
        at, source, key = decode_cursor(text, 3)
        at = parse_datetime(at)
    except (ProblemError, TypeError, ValueError):
        return None
    if at is None or at.tzinfo is None or source not in EVENT_SOURCES or not isinstance(key, int):
        return None
    return at, source, key


@page()
def events(request, name):
    """What happened to a target: its cluster's events among those of operations and health."""
    found = target_or_404(request, name)
    kind = request.GET.get("kind", "all")
    kind = kind if kind in dict(KINDS) else "all"
    before = _place(request.GET["before"]) if request.GET.get("before") else None
    rows = shown_events(found, kind=kind, before=before, limit=SHOWN + 1)
    older = ""
    if len(rows) > SHOWN:
        rows = rows[:SHOWN]
        at, source, key = rows[-1]["position"]
        older = encode_cursor(at.isoformat(), source, key)
    context = tab_context(
        request, found, "events", events=rows, kind=kind, kinds=KINDS, older=older, is_older=bool(before)
    )
    template = "_events.html" if request.htmx else "events.html"
    return render(request, f"deployments/{template}", context)


@page()
def objects(request, name):
    """Asks the cluster now, so it is loaded after the page."""
    found = target_or_404(request, name)
    context = {"target": found, "objects": [], "problem": "", "remedy": ""}
    try:
        workload = workload_of(found, ())
        context["namespace"] = workload.spec.get("namespace", "")
        rows = workload_runtime(found).objects(workload)
        counts = Counter(row.state for row in rows)
        context["objects"] = rows
        context["summary"] = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    except ProviderError as error:
        context["problem"], context["remedy"] = str(error), error.remedy
    return render(request, "deployments/_objects.html", context)
