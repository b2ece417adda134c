"""Server-sent events: how an answer is asked for, framed and kept alive."""

import json
from collections.abc import AsyncIterator

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection
from django.http import StreamingHttpResponse

from controlplane.errors import InvalidError

HEARTBEAT_SECONDS = 15.0
# What a browser's EventSource waits before it connects again.
RETRY_MILLISECONDS = 2000


def wants_events(request) -> bool:
    """Whether Accept asks for a stream."""
    return "text/event-stream" in request.headers.get("Accept", "")


def event(data, *, id: str | int | None = None, name: str = "") -> str:
    """One event with JSON data."""
    lines = []
    if id is not None:
        lines.append(f"id: {id}")
    if name:
        lines.append(f"event: {name}")
    lines.append(f"data: {json.dumps(data, cls=DjangoJSONEncoder, separators=(',', ':'))}")
    return "\n".join(lines) + "\n\n"


def heartbeat() -> str:
    """A comment, so that proxies keep the connection and a dead reader is noticed."""
    return ": still here\n\n"


def last_event_number(request, default: int = 0) -> int:
    """Last-Event-ID as a number from 0; InvalidError for anything else."""
    text = request.headers.get("Last-Event-ID", "").strip()
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise InvalidError("Last-Event-ID is the id of an event of this stream.", field="Last-Event-ID")
    return int(text)


def event_stream(parts: AsyncIterator[str]) -> StreamingHttpResponse:
    """The answer that sends the parts as they come; the view's own database connection is given back."""
    # Else it would be held until the stream ends, and a few readers would take all there are.
    if not connection.in_atomic_block:
        connection.close()

    async def framed():
        yield f"retry: {RETRY_MILLISECONDS}\n\n"
        async for part in parts:
            yield part

    answer = StreamingHttpResponse(framed(), content_type="text/event-stream")
    answer["Cache-Control"] = "no-cache, no-transform"
    answer["X-Accel-Buffering"] = "no"
    return answer
