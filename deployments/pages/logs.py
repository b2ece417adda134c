"""A target's logs: filtered, searched, followed, downloaded."""

from datetime import UTC, datetime, timedelta

from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.utils import timezone

from controlplane.pages.access import page
from deployments.models import LIVE_REPLICA
from deployments.pages import log_lines
from deployments.pages.targets import tab_context, target_or_404

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
        "since": timezone.now() - timedelta(minutes=minutes) if minutes else None,
    }


@page()
def logs(request, name):
    found = target_or_404(request, name)
    wanted = _wanted(request)
    lines, cursor, problem = log_lines.newest(found, wanted, SHOWN)
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
        replicas=list(found.replicas.filter(status__in=LIVE_REPLICA).order_by("pk")),
        full=len(lines) >= SHOWN,
        query=request.GET.urlencode(),
    )
    return render(request, "deployments/logs.html", context)


@page()
def lines(request, name):
    """Lines that came after a cursor, for a page that follows; the header X-Cursor goes on after them."""
    found = target_or_404(request, name)
    wanted = _wanted(request)
    fresh, cursor, _ = log_lines.after(found, wanted, request.GET.get("cursor", ""), SHOWN)
    response = render(request, "deployments/_log_lines.html", {"lines": fresh, "wanted": wanted})
    response["X-Cursor"] = cursor
    return response


@page()
def download(request, name):
    """The lines of the present filters as text."""
    found = target_or_404(request, name)
    wanted = _wanted(request)
    fresh, _, problem = log_lines.newest(found, wanted, DOWNLOADED)
    if problem:
        return HttpResponse(problem, status=503, content_type="text/plain; charset=utf-8")
    texts = (
        f"{line.at.astimezone(UTC).isoformat() if line.at else '-'} {line.level or '-'} {line.replica} {line.text}\n"
        for line in fresh
    )
    response = StreamingHttpResponse(texts, content_type="text/plain; charset=utf-8")
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    response["Content-Disposition"] = f'attachment; filename="{found.name}-{stamp}.log"'
    return response
