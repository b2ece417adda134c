"""REST: operations, and their events as JSON and as a stream."""

from django.http import HttpResponse
from rest_framework import serializers

from controlplane.api import streams
from controlplane.api.pagination import ListQuery, Words
from controlplane.api.serializers import StrictSerializer
from controlplane.api.views import ApiView, Route, list_route
from controlplane.threads import in_database
from worker import listener, selectors, services
from worker.api.answers import accepted
from worker.api.serializers import EventOut, OperationOut
from worker.models import FINISHED, Operation, Status

LONGEST_WAIT_SECONDS = 2.0


class OperationQuery(ListQuery):
    """Query of the list of operations."""

    status = Words(choices=Status.values)
    kind = serializers.CharField(required=False, max_length=64)
    subject = serializers.CharField(required=False, max_length=200, help_text="As target:tgt_...")


class OperationsView(ApiView):
    tag = "Operations"
    routes = {"GET": list_route("operation.read", "List operations", OperationOut, OperationQuery)}

    def get(self, request):
        """Newest first."""
        rows = selectors.operations(self.project)
        if "status" in self.params:
            rows = rows.filter(status__in=self.params["status"])
        for name in ("kind", "subject"):
            if name in self.params:
                rows = rows.filter(**{name: self.params[name]})
        return self.answer_page(rows)


class OperationView(ApiView):
    tag = "Operations"
    routes = {"GET": Route("operation.read", "Show an operation", {200: OperationOut})}

    def get(self, request, operation):
        """An operation by id."""
        return self.answer(selectors.operation_find(self.project, operation))


class CancelView(ApiView):
    tag = "Operations"
    routes = {"POST": Route("operation.cancel", "Cancel an operation", {202: OperationOut})}

    def post(self, request, operation):
        """The running step ends, then what must be undone is undone. 409 when it has ended already."""
        found = selectors.operation_find(self.project, operation)
        return accepted(self, services.operation_cancel(operation=found, requested_by=self.actor.name))


class RetryView(ApiView):
    tag = "Operations"
    routes = {"POST": Route("operation.retry", "Retry an operation", {202: OperationOut})}

    def post(self, request, operation):
        """A new operation with the same input, after a failure or a cancellation."""
        found = selectors.operation_find(self.project, operation)
        return accepted(self, services.operation_retry(operation=found, requested_by=self.actor.name))


class EventQuery(StrictSerializer):
    """Which events."""

    after = serializers.IntegerField(
        min_value=0, max_value=2**31 - 1, default=0, help_text="Events with a higher number than this."
    )
    limit = serializers.IntegerField(min_value=1, max_value=1000, default=200, help_text="Not of the stream.")


class EventPage(serializers.Serializer):
    """Events in their order."""

    items = EventOut(many=True)
    next_after = serializers.IntegerField(help_text="Give it as ?after= for what comes later.")
    finished = serializers.BooleanField(help_text="Whether the operation has ended and these are all.")


class EventsView(ApiView):
    tag = "Operations"
    routes = {
        "GET": Route(
            "operation.read",
            "Read an operation's events",
            {200: EventPage, 204: None},
            query=EventQuery,
            headers={"Last-Event-ID": "Of the stream: go on after this event."},
            streams="With `Accept: text/event-stream` the events are streamed as they happen: each has its "
            "number as `id` and the event as JSON `data`. After the last event of a finished operation comes "
            "`event: end` with the operation, and the stream ends; connecting again answers 204.",
        )
    }

    def get(self, request, operation):
        """Events are numbered from 1 without gaps and never change."""
        found = selectors.operation_find(self.project, operation)
        if streams.wants_events(request):
            after = streams.last_event_number(request, self.params["after"])
            if found.is_finished and after >= found.last_sequence and "Last-Event-ID" in request.headers:
                return HttpResponse(status=204)
            return streams.event_stream(followed_events(found.pk, after))
        after, limit = self.params["after"], self.params["limit"]
        events = selectors.events_after(found.pk, after, limit)
        last = events[-1].sequence if events else after
        return self.answer(
            {
                "items": events,
                "next_after": last,
                "finished": found.is_finished and last >= found.last_sequence,
            }
        )


async def followed_events(operation_id: str, after: int):
    """The events after a number as server-sent events, until the operation has ended."""
    async with listener.subscribe(operation_id) as news:
        silent = 0.0
        while True:
            events, ended = await in_database(_look, operation_id, after)
            for event in events:
                yield streams.event(event, id=event["sequence"])
                after = event["sequence"]
            if ended is not None:
                yield streams.event(ended, name="end")
                return
            if events:
                silent = 0.0
                continue
            if not await news.wait(LONGEST_WAIT_SECONDS):
                silent += LONGEST_WAIT_SECONDS
            if silent >= streams.HEARTBEAT_SECONDS:
                silent = 0.0
                yield streams.heartbeat()


def _look(operation_id: str, after: int) -> tuple[list, dict | None]:
    """New events, and the operation once it has ended and every event of it was seen."""
    # The operation is read first: events that it counts are there when it says that it has ended.
    operation = Operation.objects.filter(pk=operation_id).first()
    events = EventOut(selectors.events_after(operation_id, after), many=True).data
    last = events[-1]["sequence"] if events else after
    if operation is None or (operation.status in FINISHED and last >= operation.last_sequence):
        return events, OperationOut(operation).data if operation else {}
    return events, None
