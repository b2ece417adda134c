"""An operation's page, live: rendered again whenever PostgreSQL announces that it changed.

A listener that cannot connect costs liveness and not truth: every stream also looks by itself.
"""

import asyncio

from asgiref.sync import sync_to_async
from django.core.exceptions import ValidationError
from django.db import connections
from django.http import HttpResponse, StreamingHttpResponse
from django.template import loader

from controlplane.pages.access import allowed, membership
from deployments.pages.operations import operation_context
from worker.listener import subscribe
from worker.models import Operation

LOOK_SECONDS = 3.0
# Changes that come closer together than this are shown together.
GATHER_SECONDS = 0.15
LONGEST_SECONDS = 15 * 60


def _allowed_operation(request, operation_id: str) -> Operation | None:
    try:
        if not request.user.is_authenticated or not allowed(request, "project.read"):
            return None
        return Operation.objects.filter(project=membership(request).project, pk=operation_id).first()
    except ValidationError:
        return None
    finally:
        connections.close_all()


def _rendered(operation_id: str, request) -> tuple[str, bool]:
    """The page's live part now, and whether the operation has ended."""
    try:
        operation = Operation.objects.get(pk=operation_id)
        context = operation_context(operation)
        return loader.render_to_string("deployments/_operation.html", context, request), operation.is_finished
    finally:
        # A stream lives for minutes: it gives its connection back between two looks.
        connections.close_all()


def frame(event: str, text: str) -> str:
    """A server-sent event; a line break in the text starts another data line."""
    lines = "".join(f"data: {line}\n" for line in text.splitlines() or [""])
    return f"event: {event}\n{lines}\n"


async def operation_stream(request, operation_id):
    """Server-sent events: `update` with the page's live part, then `close` when the operation has ended."""
    found = await sync_to_async(_allowed_operation)(request, operation_id)
    if found is None:
        return HttpResponse(status=404)
    response = StreamingHttpResponse(_frames(request, operation_id), content_type="text/event-stream")
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"
    return response


async def _frames(request, operation_id):
    until = asyncio.get_running_loop().time() + LONGEST_SECONDS
    shown = ""
    async with subscribe(operation_id) as news:
        yield "retry: 2000\n\n"
        while asyncio.get_running_loop().time() < until:
            text, ended = await sync_to_async(_rendered)(operation_id, request)
            if text != shown:
                shown = text
                yield frame("update", text)
            else:
                yield ": still here\n\n"
            if ended:
                yield frame("close", "ended")
                return
            if await news.wait(LOOK_SECONDS):
                await asyncio.sleep(GATHER_SECONDS)
