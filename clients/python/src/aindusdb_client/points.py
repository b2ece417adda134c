"""The points of a collection: written, changed, found, read."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from aindusdb_client import endpoints, loading
from aindusdb_client.bodies import KEEP, Filter, Fusion, Include, PointChange, Query, Recall
from aindusdb_client.encoding import (
    Array,
    PointLike,
    Vector,
    base64_of,
    batches,
    rows_of,
    with_packed_vector,
)
from aindusdb_client.endpoints import Endpoint, calls
from aindusdb_client.models import (
    Count,
    Deleted,
    FetchResult,
    GroupedResult,
    Point,
    PointResult,
    Projection,
    QueryAnswers,
    QueryResult,
    ScrollPage,
    StreamResult,
    UpdateResult,
    UpsertResult,
    build,
)
from aindusdb_client.progress import Meter, Progress
from aindusdb_client.transport import Transport, given


class Points:
    """The calls on a collection's points; see Collection."""

    def __init__(self, transport: Transport, name: str) -> None:
        self._transport = transport
        self.name = name

    def __repr__(self) -> str:
        return f"Collection({self.name!r})"

    def _call(
        self, endpoint: Endpoint, body: Any = None, query: Mapping[str, Any] | None = None, **more: Any
    ) -> Any:
        return self._transport.call(endpoint, {"collection": self.name}, body, query, **more)

    # Writing

    @calls(endpoints.UPSERT)
    def upsert(
        self,
        points: Iterable[PointLike],
        *,
        namespace: str = "",
        batch_points: int = 500,
        batch_bytes: int = 8 * 2**20,
        parallel: int = 1,
        progress: Progress | bool | None = None,
        total: int | None = None,
    ) -> UpsertResult:
        """Insert or replace points of any number, in batches; each batch is written whole or not at all.

        `points`: Points, mappings of their fields, or (id, vector[, metadata]); they may be made while they
        are sent. A point's own namespace goes before `namespace`. With `parallel` batches at once it is not
        settled which of equal ids in different batches stays. `progress`: True for a bar, or a callable that
        takes a Status; `total` is how many there are, where `points` does not know. An ApiError tells in
        `rows_done` how many were written before.
        """
        meter = Meter(progress, label=self.name, rows_total=total or loading.length_of(points))
        made = batches(points, namespace=namespace, most_points=batch_points, most_bytes=batch_bytes)
        return loading.upsert_batches(self._transport, self.name, made, meter, parallel)

    @calls(endpoints.UPSERT, vectors=("vectors_b64",))
    def upsert_block(
        self,
        ids: Sequence[str],
        vectors: Sequence[Vector] | Array,
        *,
        contents: Sequence[str | None] | None = None,
        metadata: Sequence[Mapping[str, Any] | None] | None = None,
        namespace: str = "",
        batch_points: int = 500,
        batch_bytes: int = 8 * 2**20,
        parallel: int = 1,
        progress: Progress | bool | None = None,
    ) -> UpsertResult:
        """The same of columns; `vectors` is an array of shape (ids, dimension), or as many vectors."""
        columns: list[Iterable[Any]] = [ids, rows_of(vectors)]
        columns += [values if values is not None else (None,) * len(ids) for values in (contents, metadata)]
        points = (
            Point(point_id, vector, content, dict(fields) if fields is not None else None)
            for point_id, vector, content, fields in zip(*columns, strict=True)
        )
        return self.upsert(
            points,
            namespace=namespace,
            batch_points=batch_points,
            batch_bytes=batch_bytes,
            parallel=parallel,
            progress=progress,
            total=len(ids),
        )

    @calls(endpoints.UPSERT)
    def upsert_stream(
        self,
        points: Iterable[PointLike],
        *,
        namespace: str = "",
        batch: int | None = None,
        results: Literal["all", "errors"] = "errors",
        on_result: Callable[[PointResult], None] | None = None,
        progress: Progress | bool | None = None,
        total: int | None = None,
    ) -> StreamResult:
        """Insert or replace points of any number in one call, line by line; what is wrong is left out.

        `on_result` is given each line's result (with results="all"; else those that failed). After a lost
        connection all is sent again where `points` can be iterated again, or little was sent; else
        LoadIncompleteError or NoAnswerError.
        """
        return loading.upsert_lines(
            self._transport,
            self.name,
            points,
            query=given(namespace=namespace or None, batch=batch, results=results),
            on_result=on_result,
            meter=Meter(progress, label=self.name, rows_total=total or loading.length_of(points)),
        )

    @calls(endpoints.UPDATE, vector=("vector", "vector_b64"))
    def update(
        self,
        *,
        ids: Sequence[str] | None = None,
        filter: Filter | None = None,
        namespace: str = "",
        vector: Vector | None = None,
        content: str | None = KEEP,
        metadata: Mapping[str, Any] | None = None,
        metadata_remove: Sequence[str] = (),
        metadata_mode: Literal["merge", "replace"] = "merge",
    ) -> UpdateResult:
        """Change parts of points that are there, by ids or filter; `content=None` takes the content away."""
        change = change_of(vector=vector, content=content, metadata=metadata, metadata_remove=metadata_remove)
        chosen = given(ids=None if ids is None else list(ids), filter=filter)
        body = {"namespace": namespace, "metadata_mode": metadata_mode, **chosen, **change}
        return build(UpdateResult, self._call(endpoints.UPDATE, body))

    @calls(endpoints.UPDATE, changes=("points",))
    def update_each(
        self,
        changes: Iterable[PointChange],
        *,
        namespace: str = "",
        metadata_mode: Literal["merge", "replace"] = "merge",
    ) -> UpdateResult:
        """Change points each in its own way, all of them or none."""
        body = {
            "namespace": namespace,
            "metadata_mode": metadata_mode,
            "points": [with_packed_vector(change) for change in changes],
        }
        return build(UpdateResult, self._call(endpoints.UPDATE, body))

    @calls(endpoints.DELETE)
    def delete(
        self,
        *,
        ids: Sequence[str] | None = None,
        filter: Filter | None = None,
        all: bool = False,
        namespace: str | None = None,
    ) -> int:
        """Delete points by ids, by filter, or all; how many are gone.

        `namespace` left out is the unnamed one, with `all` every namespace. After a lost answer the call is
        made again and counts what was still there.
        """
        body = given(
            ids=None if ids is None else list(ids), filter=filter, all=all or None, namespace=namespace
        )
        return build(Deleted, self._call(endpoints.DELETE, body)).deleted

    # Reading

    @calls(endpoints.QUERY, vector=("vector", "vector_b64"))
    def query(
        self,
        vector: Vector | None = None,
        *,
        id: str | None = None,
        text: str | None = None,
        fusion: Fusion | None = None,
        top_k: int = 10,
        namespace: str = "",
        filter: Filter | None = None,
        include: Include = ("metadata",),
        recall: Recall | None = None,
        exact: bool = False,
        score_threshold: float | None = None,
        cursor: str | None = None,
    ) -> QueryResult:
        """The points nearest to a vector or a stored point, those whose content matches a text best, or with
        both the fusion of the two; a former result's `cursor` goes on behind it, but for text."""
        body = query_of(
            vector,
            id=id,
            text=text,
            fusion=fusion,
            top_k=top_k,
            namespace=namespace,
            filter=filter,
            include=list(include),
            recall=recall,
            exact=exact,
            score_threshold=score_threshold,
            cursor=cursor,
        )
        return build(QueryResult, self._call(endpoints.QUERY, body))

    def matches(self, vector: Vector | None = None, *, page: int = 100, **options: Any) -> Iterator[Point]:
        """All matches of a query, nearest first, read page by page as they are asked for."""
        cursor: str | None = None
        while True:
            found = self.query(vector, top_k=page, cursor=cursor, **options)
            yield from found.matches
            cursor = found.next_cursor
            if cursor is None:
                return

    @calls(endpoints.QUERY)
    def query_many(self, queries: Iterable[Query]) -> list[QueryResult]:
        """Several queries in one call; the results in the order asked."""
        body = {"queries": [with_packed_vector(query) for query in queries]}
        return build(QueryAnswers, self._call(endpoints.QUERY, body)).answers

    @calls(endpoints.QUERY, vector=("vector", "vector_b64"))
    def query_groups(
        self,
        vector: Vector | None = None,
        *,
        group_by: str,
        group_size: int = 1,
        id: str | None = None,
        top_k: int = 10,
        namespace: str = "",
        filter: Filter | None = None,
        include: Include = ("metadata",),
        recall: Recall | None = None,
        exact: bool = False,
        score_threshold: float | None = None,
    ) -> GroupedResult:
        """The nearest groups: points that share a value of a metadata field, each with its nearest."""
        body = query_of(
            vector,
            group_by=group_by,
            group_size=group_size,
            id=id,
            top_k=top_k,
            namespace=namespace,
            filter=filter,
            include=list(include),
            recall=recall,
            exact=exact,
            score_threshold=score_threshold,
        )
        return build(GroupedResult, self._call(endpoints.QUERY, body))

    @calls(endpoints.RECOMMEND)
    def recommend(
        self,
        positive: Sequence[str],
        negative: Sequence[str] = (),
        *,
        top_k: int = 10,
        namespace: str = "",
        filter: Filter | None = None,
        include: Include = ("metadata",),
        recall: Recall | None = None,
        exact: bool = False,
        score_threshold: float | None = None,
    ) -> QueryResult:
        """The points nearest to some stored points and away from others."""
        body = query_of(
            None,
            positive=list(positive),
            negative=list(negative),
            top_k=top_k,
            namespace=namespace,
            filter=filter,
            include=list(include),
            recall=recall,
            exact=exact,
            score_threshold=score_threshold,
        )
        return build(QueryResult, self._call(endpoints.RECOMMEND, body))

    @calls(endpoints.FETCH)
    def fetch(
        self,
        ids: Sequence[str],
        *,
        namespace: str = "",
        include: Include = ("metadata", "content", "vector"),
    ) -> FetchResult:
        """Points by ids, and the ids that are not there."""
        body = {"ids": list(ids), "namespace": namespace, "include": list(include)}
        return build(FetchResult, self._call(endpoints.FETCH, body))

    @calls(endpoints.PROJECTION)
    def projection(
        self,
        *,
        sample: int = 1000,
        namespace: str | None = None,
        color: str | None = None,
        seed: int | None = None,
    ) -> Projection:
        """A sample of points in two dimensions, each with what it holds in the metadata field `color`."""
        query = given(sample=sample, namespace=namespace, color=color, seed=seed)
        return build(Projection, self._call(endpoints.PROJECTION, query=query))

    @calls(endpoints.COUNT)
    def count(
        self, *, namespace: str | None = None, filter: Filter | None = None, estimated: bool = False
    ) -> Count:
        """How many points there are, in every namespace or one, exactly or estimated at once."""
        body = given(namespace=namespace, filter=filter, estimated=estimated or None)
        return build(Count, self._call(endpoints.COUNT, body))

    @calls(endpoints.SCROLL)
    def scroll_page(
        self,
        *,
        namespace: str | None = None,
        filter: Filter | None = None,
        limit: int = 100,
        cursor: str | None = None,
        include: Include = ("metadata", "content"),
    ) -> ScrollPage:
        """A page of points in the order of namespace and id, in every namespace or one."""
        body = given(namespace=namespace, filter=filter, limit=limit, cursor=cursor, include=list(include))
        return build(ScrollPage, self._call(endpoints.SCROLL, body))

    def scroll(
        self,
        *,
        namespace: str | None = None,
        filter: Filter | None = None,
        page: int = 1000,
        include: Include = ("metadata", "content"),
    ) -> Iterator[Point]:
        """All points, read page by page as they are asked for; what is there all along comes exactly once."""
        cursor: str | None = None
        while True:
            found = self.scroll_page(
                namespace=namespace, filter=filter, limit=page, cursor=cursor, include=include
            )
            yield from found.points
            cursor = found.next_cursor
            if cursor is None:
                return


def query_of(vector: Vector | None, **options: Any) -> dict[str, Any]:
    """A query's body without what is left out."""
    found = given(**options)
    if vector is not None:
        found["vector_b64"] = base64_of(vector)
    return found


def change_of(
    *,
    vector: Vector | None,
    content: str | None,
    metadata: Mapping[str, Any] | None,
    metadata_remove: Sequence[str],
) -> dict[str, Any]:
    """A change's body without what stays."""
    found = given(metadata=metadata, metadata_remove=list(metadata_remove) or None)
    if vector is not None:
        found["vector_b64"] = base64_of(vector)
    if content is not KEEP:
        found["content"] = content
    return found
