"""One collection: its points, queries, namespaces and index."""

import datetime
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from aindusdb_client import endpoints
from aindusdb_client.bodies import FieldOptions, IndexOptions, TextOptions
from aindusdb_client.endpoints import calls
from aindusdb_client.errors import JobFailedError
from aindusdb_client.models import (
    CollectionInfo,
    CollectionStats,
    Deleted,
    IndexInfo,
    IndexJob,
    Job,
    Namespace,
    Page,
    RecallMeasurement,
    build,
)
from aindusdb_client.paging import MOST_ITEMS, every
from aindusdb_client.transfers import Transfers
from aindusdb_client.transport import given
from aindusdb_client.waiting import pauses


class Collection(Transfers):
    """A handle of a collection by name, id or alias: made without a request, good in all threads."""

    # The collection itself

    @calls(endpoints.COLLECTIONS_GET)
    def describe(self) -> CollectionInfo:
        """Its description; NotFoundError."""
        return build(CollectionInfo, self._call(endpoints.COLLECTIONS_GET))

    @calls(endpoints.COLLECTIONS_STATS)
    def stats(self) -> CollectionStats:
        """Its description with exact counts, of each namespace too."""
        return build(CollectionStats, self._call(endpoints.COLLECTIONS_STATS))

    @calls(endpoints.COLLECTIONS_UPDATE)
    def change(
        self,
        *,
        index: IndexOptions | None = None,
        auto_index: bool | None = None,
        fields: Sequence[FieldOptions] | None = None,
        text: TextOptions | Literal[False] | None = None,
    ) -> CollectionInfo:
        """Change the options of the index to come, whether one is built without being asked for, the declared
        fields (all of them), or full-text search (False: none any more)."""
        body = given(index=index, auto_index=auto_index)
        body |= given(fields=None if fields is None else list(fields))
        if text is not None:
            body["text"] = text or None
        return build(CollectionInfo, self._call(endpoints.COLLECTIONS_UPDATE, body))

    @calls(endpoints.COLLECTIONS_DELETE)
    def drop(self) -> None:
        """Delete it with all its points, at once whatever its size."""
        self._call(endpoints.COLLECTIONS_DELETE, lost=lambda error: error.status == 404)

    # Namespaces

    @calls(endpoints.NAMESPACES_LIST)
    def namespaces_page(
        self, *, limit: int = 50, cursor: str | None = None, prefix: str | None = None
    ) -> Page[Namespace]:
        """A page of the namespaces with their counts."""
        query = given(limit=limit, cursor=cursor, prefix=prefix)
        return build(Page[Namespace], self._call(endpoints.NAMESPACES_LIST, query=query))

    def namespaces(self, *, prefix: str | None = None) -> Iterator[Namespace]:
        """All namespaces with their counts."""
        return every(lambda cursor: self.namespaces_page(limit=MOST_ITEMS, cursor=cursor, prefix=prefix))

    @calls(endpoints.NAMESPACES_DELETE)
    def namespace_delete(self, name: str) -> int:
        """Delete a namespace with its points; how many are gone. NotFoundError."""
        answer = self._call(
            endpoints.NAMESPACES_DELETE,
            query={"name": name},
            lost=lambda error: error.code == "unknown_namespace",
        )
        return build(Deleted, answer).deleted if answer is not None else 0

    # The index

    @calls(endpoints.INDEX_GET)
    def index(self) -> IndexInfo:
        """The index's state, and how far a build is."""
        return build(IndexInfo, self._call(endpoints.INDEX_GET))

    @calls(endpoints.INDEX_BUILD)
    def index_build(
        self,
        *,
        type: Literal["hnsw", "ivfflat", "flat"] | None = None,
        m: int | None = None,
        ef_construction: int | None = None,
        lists: int | None = None,
        precision: Literal["vector", "halfvec", "bit"] | None = None,
    ) -> IndexJob:
        """Begin to build an index while reads and writes go on; ConflictError while another is built."""
        body = given(type=type, m=m, ef_construction=ef_construction, lists=lists, precision=precision)
        return build(IndexJob, self._call(endpoints.INDEX_BUILD, body))

    @calls(endpoints.INDEX_DELETE)
    def index_delete(self) -> None:
        """Stop a build, drop the index, and build none by itself."""
        self._call(endpoints.INDEX_DELETE)

    def index_wait(
        self,
        *,
        timeout: float | None = None,
        on_progress: Callable[[IndexInfo], None] | None = None,
    ) -> IndexInfo:
        """The index when no build is under way; JobFailedError, TimeoutError after `timeout` seconds."""
        for _ in pauses(timeout, f"the index of {self.name}"):
            found = self.index()
            if on_progress is not None:
                on_progress(found)
            if found.state == "failed":
                raise JobFailedError(found.job)
            if found.state not in ("queued", "building"):
                return found
        raise AssertionError("pauses ends by TimeoutError")

    # Measured recall

    @calls(endpoints.RECALL_MEASURE)
    def recall_measure(self, *, queries: int = 100, k: int = 10, recall: float | None = None) -> Job:
        """Begin to measure: how many of the `k` true nearest of stored points its queries find."""
        body = given(queries=queries, k=k, recall=recall)
        return build(Job, self._call(endpoints.RECALL_MEASURE, body))

    @calls(endpoints.RECALL_LIST)
    def recall_page(
        self,
        *,
        since: datetime.datetime | None = None,
        until: datetime.datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[RecallMeasurement]:
        """A page of the measurements, the newest first."""
        query = given(since=text_of(since), until=text_of(until), limit=limit, cursor=cursor)
        return build(Page[RecallMeasurement], self._call(endpoints.RECALL_LIST, query=query))

    def recalls(
        self, *, since: datetime.datetime | None = None, until: datetime.datetime | None = None
    ) -> Iterator[RecallMeasurement]:
        """All measurements of a time, the newest first."""
        return every(
            lambda cursor: self.recall_page(since=since, until=until, limit=MOST_ITEMS, cursor=cursor)
        )


def text_of(time: datetime.datetime | None) -> str | None:
    """A time as the server takes it; one without a zone is local."""
    return None if time is None else time.astimezone().isoformat()
