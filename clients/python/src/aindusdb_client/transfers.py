"""Points in bulk: uploads, imports, exports, checksums."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal

from aindusdb_client import endpoints, streaming
from aindusdb_client.bodies import Filter, ImportColumns
from aindusdb_client.endpoints import calls
from aindusdb_client.models import Checksum, Exported, Job, Page, Point, Upload, build
from aindusdb_client.paging import MOST_ITEMS, every
from aindusdb_client.points import Points
from aindusdb_client.progress import Meter, Progress
from aindusdb_client.streaming import Source
from aindusdb_client.transport import encoded, given

# Of vectors of bits, which travel packed.
BIT_METRICS = ("hamming", "jaccard")
Format = Literal["ndjson", "parquet"]


class Transfers(Points):
    """The calls on a collection that move points in bulk; see Collection."""

    # Uploads

    @calls(endpoints.UPLOADS_LIST)
    def uploads_page(self, *, limit: int = 50, cursor: str | None = None) -> Page[Upload]:
        """A page of the uploads, the newest first."""
        query = given(limit=limit, cursor=cursor)
        return build(Page[Upload], self._call(endpoints.UPLOADS_LIST, query=query))

    def uploads(self) -> Iterator[Upload]:
        """All uploads, the newest first."""
        return every(lambda cursor: self.uploads_page(limit=MOST_ITEMS, cursor=cursor))

    @calls(endpoints.UPLOADS_CREATE)
    def upload_create(self, *, size_bytes: int | None = None) -> Upload:
        """Begin an upload, of which `size_bytes` is what it must become."""
        return build(Upload, self._call(endpoints.UPLOADS_CREATE, given(size_bytes=size_bytes)))

    @calls(endpoints.UPLOADS_GET)
    def upload_get(self, upload: str) -> Upload:
        """An upload by its id; NotFoundError."""
        return build(Upload, self._transport.call(endpoints.UPLOADS_GET, {"upload": upload}))

    @calls(endpoints.UPLOADS_WRITE)
    def upload_write(self, upload: str, data: bytes, *, offset: int) -> Upload:
        """Send the next bytes of an upload; ConflictError `wrong_offset` when another byte is expected."""
        answer = self._transport.call(
            endpoints.UPLOADS_WRITE, {"upload": upload}, data, query={"offset": offset}
        )
        return build(Upload, answer)

    @calls(endpoints.UPLOADS_DELETE)
    def upload_delete(self, upload: str) -> None:
        """Delete an upload; ConflictError while it is imported."""
        self._transport.call(
            endpoints.UPLOADS_DELETE, {"upload": upload}, lost=lambda error: error.status == 404
        )

    def upload(
        self,
        source: Source,
        *,
        resume: Upload | str | None = None,
        part_bytes: int = 8 * 2**20,
        progress: Progress | bool | None = None,
    ) -> Upload:
        """Send a file (a path, bytes, or what read(size) gives bytes of) for an import, part by part.

        What is lost on the way is sent again from where the server stopped. `resume` goes on with an upload
        of the same file that was begun before.
        """
        transport = self._transport.with_options(timeout=None)
        size = streaming.size_of(source)
        if resume is None:
            upload = self.upload_create(size_bytes=size)
        else:
            upload = self.upload_get(resume if isinstance(resume, str) else resume.id)
        meter = Meter(progress, label=self.name, bytes_total=size)
        return streaming.send_parts(transport, upload, source, part_bytes, meter)

    # Imports

    @calls(endpoints.IMPORT)
    def import_start(
        self,
        *,
        upload: Upload | str | None = None,
        url: str | None = None,
        path: str | None = None,
        format: Format = "ndjson",
        namespace: str = "",
        on_error: Literal["fail", "skip"] = "fail",
        columns: ImportColumns | None = None,
        other_columns: Literal["ignore", "metadata"] | None = None,
    ) -> Job:
        """Begin to import an upload, or a URL or path that the server may read. See job_wait."""
        body = given(
            upload=upload.id if isinstance(upload, Upload) else upload,
            url=url,
            path=path,
            format=format,
            namespace=namespace,
            on_error=on_error,
            columns=columns,
            other_columns=other_columns,
        )
        return build(Job, self._call(endpoints.IMPORT, body))

    def import_file(
        self,
        source: Source,
        *,
        format: Format | None = None,
        part_bytes: int = 8 * 2**20,
        progress: Progress | bool | None = None,
        **options: Any,
    ) -> Job:
        """Upload a file and begin to import it; `format` left out is told by the name (.parquet)."""
        if format is None:
            named = isinstance(source, str | os.PathLike) and Path(source).suffix == ".parquet"
            format = "parquet" if named else "ndjson"
        upload = self.upload(source, part_bytes=part_bytes, progress=progress)
        return self.import_start(upload=upload, format=format, **options)

    # Exports

    @calls(endpoints.EXPORT, after=("after_namespace", "after_id"))
    def export(
        self,
        *,
        namespace: str | None = None,
        filter: Filter | None = None,
        vectors: Literal["b64", "list", "none"] = "b64",
        after: tuple[str, str] | None = None,
    ) -> Iterator[Point]:
        """All points in the order of namespace and id, as they come.

        `after` (namespace, id) begins behind a point. A stream that breaks off is gone on with behind the
        last point that came. Vectors are lists of numbers, of packed bits bytes.
        """
        query = export_query(namespace=namespace, filter=filter, vectors=vectors)
        bits = vectors == "b64" and self._call(endpoints.COLLECTIONS_GET)["metric"] in BIT_METRICS
        for line in streaming.export_lines(self._transport, self.name, query, after):
            if isinstance(line, bytes):
                yield streaming.point_of_line(line, bits=bits)

    @calls(endpoints.EXPORT, after=("after_namespace", "after_id"))
    def export_to(
        self,
        destination: str | os.PathLike[str] | BinaryIO,
        *,
        format: Format = "ndjson",
        namespace: str | None = None,
        filter: Filter | None = None,
        vectors: Literal["b64", "list", "none"] = "b64",
        after: tuple[str, str] | None = None,
        progress: Progress | bool | None = None,
        total: int | None = None,
    ) -> Exported:
        """Write all points to a file that import_file takes.

        `total` is how many there will be, for `progress`. After an interruption the file goes on behind its
        last line, and has no summary that an import could hold it against; the checksum is None then.
        """
        query = export_query(namespace=namespace, filter=filter, vectors=vectors)
        meter = Meter(progress, label=self.name, rows_total=total)
        with streaming.opened_to_write(destination) as file:
            if format != "ndjson":
                return streaming.copy(self._transport, self.name, {"format": format, **query}, file, meter)
            return streaming.copy_lines(self._transport, self.name, query, after, file, meter)

    @calls(endpoints.EXPORT_START)
    def export_start(
        self,
        *,
        url: str | None = None,
        path: str | None = None,
        format: Format = "ndjson",
        namespace: str | None = None,
        filter: Filter | None = None,
        vectors: Literal["b64", "list", "none"] | None = None,
    ) -> Job:
        """Begin to export to a URL or path that the server may write; job_wait waits for its end."""
        body = given(url=url, path=path, format=format, namespace=namespace, filter=filter, vectors=vectors)
        return build(Job, self._call(endpoints.EXPORT_START, body))

    @calls(endpoints.CHECKSUM)
    def checksum(self, *, namespace: str | None = None) -> Checksum:
        """A checksum of all points, or of a namespace's: equal points have equal ones in whatever order."""
        return build(Checksum, self._call(endpoints.CHECKSUM, query=given(namespace=namespace)))


def export_query(*, namespace: str | None, filter: Filter | None, vectors: str) -> dict[str, Any]:
    """An export's query string."""
    text = None if filter is None else encoded(filter).decode()
    return given(namespace=namespace, filter=text, vectors=vectors)
