"""REST: what a target's replicas do and what happened to it."""

from django.utils.dateparse import parse_datetime
from rest_framework.response import Response

from controlplane.api.pagination import decode_cursor, encode_cursor, invalid_cursor
from controlplane.api.views import ApiView, Route, list_route
from deployments import selectors
from deployments.api import serializers as shapes
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
        """Events of its operations and changes of its health in one list, newest first."""
        found = selectors.target_find(self.project, target)
        params = dict(self.params)
        limit, cursor = params.pop("limit"), params.pop("cursor", None)
        before = _position(cursor) if cursor else None
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
    if at is None or at.tzinfo is None or source not in ("operation", "health"):
        raise invalid_cursor()
    if not isinstance(key, int) or isinstance(key, bool) or not 0 <= key < 2**63:
        raise invalid_cursor()
    return at, source, key
