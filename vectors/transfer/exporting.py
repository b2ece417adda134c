"""Exports: a stream of a collection's points, or a job that writes them to a file or URL."""

from collections.abc import Iterator

from controlplane.errors import ProblemError, TooManyRequestsError
from vectors import collections, points, streams
from vectors.transfer import ndjson
from vectors.transfer.reading import Pages


def export_stream(
    name: str,
    *,
    vectors: str = "b64",
    namespace: str | None = None,
    filter: dict | None = None,
    after: tuple[str, str] | None = None,
):
    """The stream of a collection's NDJSON; what concerns all of it is raised before it begins."""
    collections.collection_get(name)
    points.where(namespace, filter)
    if not streams.place().acquire(blocking=False):
        raise TooManyRequestsError(
            "As many streams as this replica takes are running; try again.", retry_after_seconds=5
        )
    return Stream(Pages(name, namespace=namespace, filter=filter, after=after), vectors)


class Stream:
    """One export being sent: iterate over it, then close it."""

    def __init__(self, pages: Pages, vectors: str):
        self.pages = pages
        self.vectors = vectors
        self.after = pages.after
        self.closed = False
        self.parts = self.run()

    def __iter__(self) -> Iterator[bytes]:
        return self.parts

    def close(self) -> None:
        """Give the stream's place free; whoever serves it calls this at its end, however it ends."""
        if not self.closed:
            self.closed = True
            self.parts.close()
            streams.place().release()

    def run(self) -> Iterator[bytes]:
        manifest: dict = {}
        try:
            for page in self.pages:
                yield b"".join([ndjson.line_of(row, self.vectors) for row in page])
        except ProblemError as problem:
            manifest["error"] = problem.as_dict("")
        manifest |= {"points": self.pages.points}
        manifest["checksum"] = self.pages.checksum if self.vectors != "none" else None
        if self.after is not None:
            manifest["after"] = self.after
        yield ndjson.manifest_line(**manifest)
