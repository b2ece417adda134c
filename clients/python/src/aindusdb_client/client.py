"""The client: collections, jobs and keys of one target, and upstream's calls."""

import datetime
import ssl
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from aindusdb_client import endpoints
from aindusdb_client.bodies import KEEP, FieldOptions, IndexOptions, TextOptions
from aindusdb_client.collection import Collection, text_of
from aindusdb_client.encoding import Vector, packed
from aindusdb_client.endpoints import calls
from aindusdb_client.errors import ConflictError, JobFailedError
from aindusdb_client.models import (
    Alias,
    ApiKey,
    CollectionInfo,
    Job,
    NewApiKey,
    Page,
    SimpleResults,
    SimpleVector,
    SlowQuery,
    StoredVector,
    build,
)
from aindusdb_client.paging import MOST_ITEMS, every
from aindusdb_client.retrying import RetryPolicy
from aindusdb_client.transport import Connections, Options, Transport, given
from aindusdb_client.waiting import pauses

Metric = Literal["cosine", "l2", "ip", "l1", "hamming", "jaccard"]
PREFIX = "/api/v1/vectors"


class Client:
    """Calls the vector API of a target: good in all threads, over connections that are kept.

    `url` is where a replica or the control plane listens, `https://vectors.example.org:8000`. With `target`
    (a name or an id) the calls go through the control plane to that target, without it to the vectors that
    `url` itself serves. `api_key`: a key of the target, or of the control plane; a JWT does as well.

    `timeout`: seconds for a call, all its tries and waits together; None for no end. A stream of points has
    none; it ends when nothing moves for `idle_timeout` seconds. `retry`: how calls are tried again.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        target: str | None = None,
        timeout: float | None = 30.0,
        connect_timeout: float = 5.0,
        idle_timeout: float = 120.0,
        retry: RetryPolicy | None = None,
        pool_size: int = 32,
        headers: Mapping[str, str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
    ) -> None:
        connections = Connections(
            pool_size=pool_size, connect_timeout=connect_timeout, ssl_context=ssl_context, proxy=proxy
        )
        options = Options(timeout, idle_timeout, retry or RetryPolicy(), dict(headers or {}))
        self._transport = Transport(root_of(url, target), api_key, connections, options)

    def __repr__(self) -> str:
        return f"Client({self._transport.root!r})"

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are kept; a later call opens new ones."""
        self._transport.connections.close()

    def with_options(self, **changes: Any) -> "Client":
        """The same client over the same connections with another timeout, idle_timeout, retry or headers."""
        other = object.__new__(Client)
        other._transport = self._transport.with_options(**changes)
        return other

    # Collections

    def collection(self, name: str) -> Collection:
        """A handle of a collection by name, id or alias; asks nothing of the server."""
        return Collection(self._transport, name)

    @calls(endpoints.COLLECTIONS_CREATE)
    def collection_create(
        self,
        name: str,
        dimension: int,
        *,
        metric: Metric = "cosine",
        index: IndexOptions | None = None,
        auto_index: bool = True,
        fields: Sequence[FieldOptions] = (),
        text: TextOptions | None = None,
    ) -> Collection:
        """Make a collection; ConflictError when there is one of that name.

        When an answer was lost, so that the next try is told that the collection exists, it is looked at: one
        that is as it was asked for is taken for the one that was made.
        """
        body = given(name=name, dimension=dimension, metric=metric, index=index, auto_index=auto_index)
        body |= given(fields=list(fields) or None, text=text)

        def made_before(error: Exception) -> bool:
            if not isinstance(error, ConflictError):
                return False
            found = self.collection(name).describe()
            return (
                found.dimension == dimension
                and found.metric == metric
                and found.index.auto == auto_index
                and dict(index or {}).items() <= found.index.options.items()
                and {(one.name, one.type) for one in found.fields} == {(f["name"], f["type"]) for f in fields}
                and (found.text and found.text.language) == (text and text["language"])
            )

        self._transport.call(endpoints.COLLECTIONS_CREATE, body=body, lost=made_before)
        return self.collection(name)

    @calls(endpoints.COLLECTIONS_LIST)
    def collections_page(self, *, limit: int = 50, cursor: str | None = None) -> Page[CollectionInfo]:
        """A page of the collections, by name."""
        query = given(limit=limit, cursor=cursor)
        answer = self._transport.call(endpoints.COLLECTIONS_LIST, query=query)
        return build(Page[CollectionInfo], answer)

    def collections(self) -> Iterator[CollectionInfo]:
        """All collections, by name."""
        return every(lambda cursor: self.collections_page(limit=MOST_ITEMS, cursor=cursor))

    # Aliases

    @calls(endpoints.ALIASES_LIST)
    def aliases_page(self, *, limit: int = 50, cursor: str | None = None) -> Page[Alias]:
        """A page of the aliases, by name."""
        query = given(limit=limit, cursor=cursor)
        return build(Page[Alias], self._transport.call(endpoints.ALIASES_LIST, query=query))

    def aliases(self) -> Iterator[Alias]:
        """All aliases, by name."""
        return every(lambda cursor: self.aliases_page(limit=MOST_ITEMS, cursor=cursor))

    @calls(endpoints.ALIASES_GET)
    def alias(self, alias: str) -> Alias:
        """An alias by its name; NotFoundError."""
        return build(Alias, self._transport.call(endpoints.ALIASES_GET, {"alias": alias}))

    @calls(endpoints.ALIASES_PUT)
    def alias_set(self, alias: str, collection: str) -> Alias:
        """Make an alias, or switch it to another collection at once."""
        body = {"collection": collection}
        return build(Alias, self._transport.call(endpoints.ALIASES_PUT, {"alias": alias}, body))

    @calls(endpoints.ALIASES_DELETE)
    def alias_delete(self, alias: str) -> None:
        """Take an alias away; the collection stays."""
        self._transport.call(
            endpoints.ALIASES_DELETE, {"alias": alias}, lost=lambda error: error.status == 404
        )

    # Jobs

    @calls(endpoints.JOBS_LIST)
    def jobs_page(self, *, limit: int = 50, cursor: str | None = None) -> Page[Job]:
        """A page of the jobs, the newest first."""
        query = given(limit=limit, cursor=cursor)
        return build(Page[Job], self._transport.call(endpoints.JOBS_LIST, query=query))

    def jobs(self) -> Iterator[Job]:
        """All jobs, the newest first."""
        return every(lambda cursor: self.jobs_page(limit=MOST_ITEMS, cursor=cursor))

    @calls(endpoints.JOBS_GET)
    def job(self, job: str) -> Job:
        """A job by its id; NotFoundError."""
        return build(Job, self._transport.call(endpoints.JOBS_GET, {"job": job}))

    @calls(endpoints.JOBS_CANCEL)
    def job_cancel(self, job: str) -> Job:
        """Stop a job; ConflictError when it has ended."""
        return build(Job, self._transport.call(endpoints.JOBS_CANCEL, {"job": job}))

    def job_wait(
        self,
        job: Job | str,
        *,
        timeout: float | None = None,
        on_progress: Callable[[Job], None] | None = None,
    ) -> Job:
        """The job when it has succeeded; JobFailedError, TimeoutError after `timeout` seconds."""
        name = job if isinstance(job, str) else job.id
        for _ in pauses(timeout, f"the job {name}"):
            found = self.job(name)
            if on_progress is not None:
                on_progress(found)
            if found.state == "succeeded":
                return found
            if found.ended:
                raise JobFailedError(found)
        raise AssertionError("pauses ends by TimeoutError")

    # Slow queries

    @calls(endpoints.SLOW_QUERIES_LIST)
    def slow_queries_page(
        self,
        *,
        collection: str | None = None,
        since: datetime.datetime | None = None,
        until: datetime.datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[SlowQuery]:
        """A page of the queries that took long, the newest first."""
        query = given(
            collection=collection, since=text_of(since), until=text_of(until), limit=limit, cursor=cursor
        )
        return build(Page[SlowQuery], self._transport.call(endpoints.SLOW_QUERIES_LIST, query=query))

    def slow_queries(
        self,
        *,
        collection: str | None = None,
        since: datetime.datetime | None = None,
        until: datetime.datetime | None = None,
    ) -> Iterator[SlowQuery]:
        """All queries that took long, the newest first."""
        return every(
            lambda cursor: self.slow_queries_page(
                collection=collection, since=since, until=until, limit=MOST_ITEMS, cursor=cursor
            )
        )

    # Keys

    @calls(endpoints.KEYS_LIST)
    def api_keys(self) -> list[ApiKey]:
        """The target's keys, without their texts."""
        return build(Page[ApiKey], self._transport.call(endpoints.KEYS_LIST)).items

    @calls(endpoints.KEYS_CREATE)
    def api_key_create(
        self,
        name: str,
        role: Literal["viewer", "operator", "admin"] = "viewer",
        *,
        expires_at: datetime.datetime | None = None,
        requests_per_second: float | None = None,
        burst: int | None = None,
    ) -> NewApiKey:
        """Make a key of the target; the only answer that shows it. Limits left out are the settings'."""
        body = given(
            name=name,
            role=role,
            expires_at=text_of(expires_at),
            requests_per_second=requests_per_second,
            burst=burst,
        )
        return build(NewApiKey, self._transport.call(endpoints.KEYS_CREATE, body=body))

    @calls(endpoints.KEYS_UPDATE)
    def api_key_change(
        self,
        key: str,
        *,
        name: str = KEEP,
        requests_per_second: float | None = KEEP,
        burst: int | None = KEEP,
    ) -> ApiKey:
        """Change a key's name or limits; None gives the settings' limit back."""
        parts = {"name": name, "requests_per_second": requests_per_second, "burst": burst}
        body = {part: value for part, value in parts.items() if value is not KEEP}
        return build(ApiKey, self._transport.call(endpoints.KEYS_UPDATE, {"key": key}, body))

    @calls(endpoints.KEYS_DELETE)
    def api_key_delete(self, key: str) -> None:
        """Delete a key of the target."""
        self._transport.call(
            endpoints.KEYS_DELETE, {"key": key}, lost=lambda error: error.code == "unknown_key"
        )

    # Upstream's calls on the collection `default`

    @calls(endpoints.SIMPLE_ADD)
    def simple_add(
        self, embedding: Vector, *, content: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> SimpleVector:
        """Add one vector to the collection `default`, under an id that the server makes.

        It is not sent again after a lost answer, as it would be there twice.
        """
        body = given(embedding=numbers(embedding), content=content, metadata=metadata)
        return build(SimpleVector, self._transport.call(endpoints.SIMPLE_ADD, body=body))

    @calls(endpoints.SIMPLE_SEARCH)
    def simple_search(
        self, query_vector: Vector, *, limit: int = 10, threshold: float | None = None
    ) -> SimpleResults:
        """The nearest in the collection `default`."""
        body = given(query_vector=numbers(query_vector), limit=limit, threshold=threshold)
        return build(SimpleResults, self._transport.call(endpoints.SIMPLE_SEARCH, body=body))

    @calls(endpoints.SIMPLE_GET)
    def simple_get(self, id: str) -> StoredVector:
        """A vector of the collection `default`."""
        return build(StoredVector, self._transport.call(endpoints.SIMPLE_GET, {"id": id}))

    @calls(endpoints.SIMPLE_DELETE)
    def simple_delete(self, id: str) -> None:
        """Delete a vector of the collection `default`."""
        self._transport.call(
            endpoints.SIMPLE_DELETE, {"id": id}, lost=lambda error: error.code == "unknown_point"
        )


def root_of(url: str, target: str | None) -> str:
    """Where the calls of a target begin; ValueError for what is no address."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"This is no address such as https://vectors.example.org: {url!r}")
    base = url.rstrip("/")
    if target is not None:
        return f"{base}/api/v1/targets/{quote(target, safe='')}/vectors"
    return base if base.endswith("/vectors") else f"{base}{PREFIX}"


def numbers(vector: Vector) -> list[float]:
    """A vector as a list of numbers."""
    return [number for (number,) in struct.iter_unpack("<f", packed(vector))]
