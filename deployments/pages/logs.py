"""A target's logs: filtered, searched, followed, downloaded."""

from datetime import UTC, datetime, timedelta
from hashlib import blake2s

from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.utils import timezone

from controlplane.errors import NotFoundError, ProblemError
from controlplane.pages.access import page
from deployments.logs import target_logs
from deployments.pages.targets import live_replicas, tab_context, target_or_404

SPANS = [
    ("15m", "15 min", 15),
    ("1h", "1 h", 60),
    ("6h", "6 h", 360),
    ("24h", "24 h", 1440),
    ("all", "All", 0),
]
LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR"]
SHOWN = 500
DOWNLOADED = 50_000
NAMED = 500


def _wanted(request) -> dict:
    """The filters of the address; what is not valid is left out."""
    span = request.GET.get("range", "1h")
    minutes = next((minutes for name, _, minutes in SPANS if name == span), 60)
    level = request.GET.get("level", "").upper()
    return {
        "range": span if span in {name for name, _, _ in SPANS} else "1h",
        "q": request.GET.get("q", "").strip()[:200],
        "level": level if level in LEVELS else "",
        "replica": request.GET.get("replica", ""),
        "previous": request.GET.get("previous") == "1",
        "since": timezone.now() - timedelta(minutes=minutes) if minutes else None,
    }


def _read(target, wanted: dict, limit: int, cursor: str = ""):
    """(lines with a key that names them in an address, the cursor after them, why there are none, problems).

    The problems are {replica id: why its log could not be read}.
    """
    try:
        found = target_logs(
            target,
            # With a cursor the beginning must not move: what comes after it is newer anyway.
            since=None if cursor else wanted["since"],
            search=wanted["q"],
            level=wanted["level"],
            replica=wanted["replica"] or None,
            cursor=cursor,
            limit=limit,
            previous=wanted["previous"],
        )
    except NotFoundError:
        return [], cursor, "This replica is gone, and its log with it.", {}
    except ProblemError as error:
        return [], cursor, error.detail, {}
    names = names_of(target)
    return [Shown(line, names) for line in found.lines], found.cursor, "", found.problems


def names_of(target) -> dict[str, str]:
    """{replica id: its pod's name} of a target in a cluster."""
    rows = target.replicas.exclude(pod_uid="").order_by("-pk").values_list("pk", "handle__pod")
    return dict(rows[:NAMED])


class Shown:
    """A line as the page shows it; `who` wrote it is a pod's name, or a replica's id."""

    def __init__(self, line, names: dict):
        self.who = names.get(line.replica_id, line.replica_id)
        self.replica_id, self.at, self.level, self.text = line.replica_id, line.at, line.level, line.text
        told = f"{line.replica_id} {line.cursor}".encode()
        self.key = f"line-{blake2s(told, digest_size=6).hexdigest()}"


@page()
def logs(request, name):
    found = target_or_404(request, name)
    wanted = _wanted(request)
    lines, cursor, problem, unread = _read(found, wanted, SHOWN)
    replicas = live_replicas(found)
    names = names_of(found) if unread else {}
    context = tab_context(
        request,
        found,
        "logs",
        wanted=wanted,
        lines=lines,
        cursor=cursor,
        problem=problem,
        spans=SPANS,
        levels=LEVELS,
        replicas=replicas,
        unread=[(names.get(pk, pk), why) for pk, why in unread.items()],
        full=len(lines) >= SHOWN,
        query=request.GET.urlencode(),
    )
    return render(request, "deployments/logs.html", context)


@page()
def lines(request, name):
    """Lines that came after a cursor, for a page that follows; the header X-Cursor goes on after them."""
    found = target_or_404(request, name)
    wanted = _wanted(request)
    fresh, cursor, _, _ = _read(found, wanted, SHOWN, request.GET.get("cursor", ""))
    response = render(request, "deployments/_log_lines.html", {"lines": fresh, "wanted": wanted})
    response["X-Cursor"] = cursor
    return response


@page()
def download(request, name):
    """The lines of the present filters as text."""
    found = target_or_404(request, name)
    wanted = _wanted(request)
    fresh, _, problem, _ = _read(found, wanted, DOWNLOADED)
    if problem:
        return HttpResponse(problem, status=503, content_type="text/plain; charset=utf-8")
    texts = (
        f"{line.at.astimezone(UTC).isoformat() if line.at else '-'} {line.level or '-'}"
        f" {line.who} {line.text}\n"
        for line in fresh
    )
    response = StreamingHttpResponse(texts, content_type="text/plain; charset=utf-8")
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    response["Content-Disposition"] = f'attachment; filename="{found.name}-{stamp}.log"'
    return response
