"""Files as answers."""

from collections.abc import Iterator

from django.db import connection
from django.http import HttpResponse, StreamingHttpResponse

from controlplane.threads import in_database

TYPES = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}


def _headed(answer, name: str):
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    answer["Cache-Control"] = "no-store"
    return answer


def attachment(data: bytes, name: str) -> HttpResponse:
    """A small file."""
    return _headed(HttpResponse(data, content_type=TYPES[name.rpartition(".")[2]]), name)


def streamed(request, chunks: Iterator[bytes], name: str) -> StreamingHttpResponse:
    """A file of any size, made chunk by chunk; the first chunk is made here, so that errors are told."""
    first = next(chunks, b"")

    def in_order():
        yield first
        yield from chunks

    async def in_threads():
        yield first
        while (chunk := await in_database(next, chunks, None)) is not None:
            yield chunk

    is_asynchronous = hasattr(request._request, "scope")
    if is_asynchronous and not connection.in_atomic_block:
        # Else it would be held until the file is sent.
        connection.close()
    body = in_threads() if is_asynchronous else in_order()
    return _headed(StreamingHttpResponse(body, content_type=TYPES[name.rpartition(".")[2]]), name)
