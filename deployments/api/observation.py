"""REST: what a target's replicas do and what happened to it."""

from datetime import timedelta

from django.utils import timezone
from django.utils.dateparse import parse_datetime
from rest_framework.response import Response

from controlplane.api import streams
from controlplane.api.pagination import decode_cursor, encode_cursor, invalid_cursor
from controlplane.api.views import ApiView, Route, list_route
from deployments import health, logs, metrics, selectors
from deployments.api import observed as shapes
from deployments.models import LIVE_REPLICA


class ReplicasView(ApiView):
    tag = "Observation"
    routes = {
        "GET": list_route("target.read", "List a target's replicas", shapes.ReplicaOut, shapes.ReplicaQuery)
    }

    def get(self, request, target):
        """Newest first."""
        rows = selectors.replicas(selectors.target_find(self.project, target))
        return self.answer_page(rows.filter(status__in=self.params.get("status", LIVE_REPLICA)))


class TargetEventsView(ApiView):
    tag = "Observation"
    routes = {
        "GET": Route(
            "target.read",
            "Read what happened to a target",
            {200: shapes.TargetEventPage},
            query=shapes.TargetEventQuery,
        )
    }

    def get(self, request, target):
        """Events of its operations, changes of its health, events of its cluster: one list, newest first."""
        found = selectors.target_find(self.project, target)
        params = dict(self.params)
        limit, cursor = params.pop("limit"), params.pop("cursor", None)
        before = _position(cursor) if cursor else None
        sources = params.pop("source", None)
        params |= {"sources": tuple(sorted(sources))} if sources else {}
        events = selectors.target_events(found, before=before, limit=limit + 1, **params)
        more = len(events) > limit
        events = events[:limit]
        items = shapes.TargetEventOut(events, many=True).data
        following = None
        if more:
            at, source, key = events[-1]["position"]
            following = encode_cursor(at.isoformat(), source, key)
        return Response({"items": items, "next_cursor": following})


def _position(cursor: str) -> tuple:
    at, source, key = decode_cursor(cursor, 3)
    try:
        at = parse_datetime(at)
    except (TypeError, ValueError):
        at = None
    if at is None or at.tzinfo is None or source not in selectors.EVENT_SOURCES:
        raise invalid_cursor()
    if not isinstance(key, int) or isinstance(key, bool) or not 0 <= key < 2**63:
        raise invalid_cursor()
    return at, source, key


class HealthView(ApiView):
    tag = "Observation"
    routes = {"GET": Route("target.read", "Show a target's health", {200: shapes.HealthOut})}

    def get(self, request, target):
        """The present health of the target and its replicas, and uptime."""
        return self.answer(health.target_health(selectors.target_find(self.project, target)))


class MetricsView(ApiView):
    tag = "Observation"
    routes = {
        "GET": Route(
            "target.read", "Show a target's metrics", {200: shapes.MetricsOut}, query=shapes.MetricsQuery
        )
    }

    def get(self, request, target):
        """Request rate, errors, latency and sizes over time; the last hour when no range is given."""
        found = selectors.target_find(self.project, target)
        until = self.params.get("until", timezone.now())
        since = self.params.get("since", until - timedelta(hours=1))
        series = metrics.series(found, since, until, self.params.get("step_seconds"))
        return self.answer(series | {"latest": metrics.latest(found)})


class LogsView(ApiView):
    tag = "Observation"
    routes = {
        "GET": Route(
            "target.read",
            "Read a target's logs",
            {200: shapes.LogPageOut},
            query=shapes.LogQuery,
            headers={"Last-Event-ID": "Of the stream: go on after this event."},
            streams="With `Accept: text/event-stream` the lines are followed: each event is a line as "
            "JSON, and the last of those read together has the cursor as `id`.",
        )
    }

    def get(self, request, target):
        """The newest lines of all replicas in time order; with a cursor what was written after it."""
        found = selectors.target_find(self.project, target)
        params = dict(self.params)
        if not streams.wants_events(request):
            return self.answer(logs.target_logs(found, **params))
        params["cursor"] = request.headers.get("Last-Event-ID") or params["cursor"]
        # Read once before the stream begins, so that what is wrong is told by the answer's status.
        page = logs.target_logs(found, **params)
        return streams.event_stream(followed_lines(found, page, params))


async def followed_lines(target, page, params: dict):
    """Log lines as server-sent events, until logs.follow ends; then the reader connects again."""
    for part in _line_events(page):
        yield part
    params = params | {"cursor": page.cursor}
    async for following in logs.follow(target, **params):
        if following.lines:
            for part in _line_events(following):
                yield part
        else:
            yield streams.heartbeat()


def _line_events(page):
    lines = shapes.LogLineOut(page.lines, many=True).data
    for number, line in enumerate(lines, start=1):
        yield streams.event(line, id=page.cursor if number == len(lines) else None, name="line")
