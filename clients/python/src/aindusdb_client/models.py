"""What the server answers, as frozen dataclasses, and how they are made of JSON.

Fields that a newer server adds are passed over, so that an older client goes on working.
"""

import dataclasses
import datetime
import functools
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from aindusdb_client.errors import UnexpectedAnswerError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Scores:
    """What the two lists of a hybrid query say of a match; None of the list that it is not on."""

    vector: float | None
    text: float | None


@dataclass(frozen=True, slots=True)
class Point:
    """A point, as it is given and as it comes back; a part that was not asked for is None.

    `vector` is a sequence of numbers, a NumPy array, or bytes of little-endian float32; bit vectors are bytes
    of packed bits (`numpy.packbits(bits).tobytes()`). What comes back is a list. `score` is set of matches
    alone, `scores` of those of a query with text.
    """

    id: str
    vector: Any = None
    content: str | None = None
    metadata: dict[str, Any] | None = None
    namespace: str | None = None
    score: float | None = None
    scores: Scores | None = None


@dataclass(frozen=True, slots=True)
class QueryResult:
    """The matches of a query, nearest first, and how they were found.

    `candidates` are the rows compared; `exhausted` says that no further point matches; `next_cursor` asks
    for the next page.
    """

    matches: list[Point]
    plan: str
    ef: int | None
    candidates: int
    exhausted: bool
    next_cursor: str | None = None
    took_ms: float | None = None

    def __iter__(self) -> Iterator[Point]:
        return iter(self.matches)

    def __len__(self) -> int:
        return len(self.matches)


@dataclass(frozen=True, slots=True)
class QueryAnswers:
    """The results of several queries, in the order asked."""

    answers: list[QueryResult]
    took_ms: float


@dataclass(frozen=True, slots=True)
class Group:
    """The nearest points that hold one value in the field grouped by."""

    value: Any
    matches: list[Point]


@dataclass(frozen=True, slots=True)
class GroupedResult:
    """The nearest groups, and how they were found."""

    groups: list[Group]
    plan: str
    ef: int | None
    candidates: int
    exhausted: bool
    took_ms: float


@dataclass(frozen=True, slots=True)
class FetchResult:
    """The points that are there, and the ids that are not."""

    points: list[Point]
    missing: list[str]


@dataclass(frozen=True, slots=True)
class ScrollPage:
    """A page of points in the order of namespace and id."""

    points: list[Point]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class UpsertResult:
    """How many points were written. `errors` is always empty: a batch is written whole or refused."""

    upserted: int
    errors: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class UpdateResult:
    """How many points were changed, and which of the ids asked for are not there."""

    updated: int
    missing: list[str]


@dataclass(frozen=True, slots=True)
class Deleted:
    """How many points are gone."""

    deleted: int


@dataclass(frozen=True, slots=True)
class Count:
    """How many points there are; `estimated` when they were not counted one by one."""

    count: int
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace and how many points it has."""

    name: str
    points: int


@dataclass(frozen=True, slots=True)
class IndexSummary:
    """A collection's index in short: `state` is none or ready, `built` the options of the one that serves."""

    state: str
    options: dict[str, Any]
    built: dict[str, Any] | None
    auto: bool
    segments: int
    unindexed_points: int


@dataclass(frozen=True, slots=True)
class DeclaredField:
    """A metadata field with an index of its own; `indexed`: the index is there and serves."""

    name: str
    type: str
    indexed: bool


@dataclass(frozen=True, slots=True)
class FullText:
    """Full-text search on content, in a language; `indexed`: it can be searched."""

    language: str
    indexed: bool


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """A collection's description; sizes in bytes, `points` exact or PostgreSQL's estimate."""

    id: str
    name: str
    dimension: int
    metric: str
    points: int
    points_are_exact: bool
    table_bytes: int
    index_bytes: int
    index: IndexSummary
    aliases: list[str]
    fields: list[DeclaredField]
    text: FullText | None
    created_at: datetime.datetime
    updated_at: datetime.datetime


@dataclass(frozen=True, slots=True)
class CollectionStats(CollectionInfo):
    """The same with exact counts, of each namespace too."""

    namespaces: list[Namespace]


@dataclass(frozen=True, slots=True)
class Alias:
    """A name that stands for a collection wherever a collection's name does."""

    alias: str
    collection: str
    created_at: datetime.datetime
    updated_at: datetime.datetime


@dataclass(frozen=True, slots=True)
class Job:
    """Long work. `state`: queued, running, succeeded, failed, cancelled; `percent` 0 to 100."""

    id: str
    collection: str
    kind: str
    state: str
    params: dict[str, Any]
    result: dict[str, Any] | None
    error: str
    attempt: int
    progress: dict[str, Any] | None
    percent: float
    phase: str | None
    seconds_left: float | None
    created_at: datetime.datetime
    started_at: datetime.datetime | None
    finished_at: datetime.datetime | None

    @property
    def ended(self) -> bool:
        """Whether nothing further happens to it."""
        return self.state in ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class IndexJob(Job):
    """A build of an index, and the memory it needs; `warning` says that it does not fit."""

    memory_needed_bytes: int
    memory_limit_bytes: int
    warning: str | None


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """A collection's index in full. `state`: none, queued, building, ready, failed (`job.error` says why)."""

    collection: str
    state: str
    percent: float
    seconds_left: float | None
    memory_needed_bytes: int
    memory_limit_bytes: int
    warning: str | None
    segments: int
    unindexed_points: int
    options: dict[str, Any]
    built: dict[str, Any] | None
    auto: bool
    job: Job | None


@dataclass(frozen=True, slots=True)
class RecallMeasurement:
    """A measurement of the recall: the share of the `k` true nearest that `queries` queries found.

    `asked` is the recall asked for, None the default; the times are medians.
    """

    at: datetime.datetime
    k: int
    queries: int
    asked: float | None
    recall: float
    ef: int | None
    plan: str
    points: int
    p50_ms: float
    exact_p50_ms: float


@dataclass(frozen=True, slots=True)
class SlowQuery:
    """A query that took long, and how it was planned; `share` is that of the points its filter takes."""

    at: datetime.datetime
    collection: str
    took_ms: float
    kind: str
    namespace: str
    top_k: int
    recall: float | None
    exact: bool
    plan: str | None
    ef: int | None
    share: float | None
    candidates: int | None
    matches: int | None
    filter: Any
    filter_excerpt: str | None
    error: str | None
    explain: str | None


@dataclass(frozen=True, slots=True)
class ProjectedPoint:
    """A point in the plane; `value` is what it holds in the field asked for."""

    id: str
    namespace: str
    x: float
    y: float
    value: Any


@dataclass(frozen=True, slots=True)
class Projection:
    """A sample of points in the plane of the two directions that tell them apart best.

    `explained` are the shares of the variance that the two have.
    """

    points: list[ProjectedPoint]
    explained: list[float]
    sampled: int
    total: int
    took_ms: float


@dataclass(frozen=True, slots=True)
class Upload:
    """A file on its way into an import: what follows begins at `received_bytes`."""

    id: str
    collection: str
    size_bytes: int | None
    received_bytes: int
    complete: bool
    created_at: datetime.datetime
    updated_at: datetime.datetime
    expires_at: datetime.datetime


@dataclass(frozen=True, slots=True)
class Exported:
    """What was exported: how many points, and their checksum (None of an export without vectors)."""

    points: int
    checksum: str | None


@dataclass(frozen=True, slots=True)
class Checksum:
    """A checksum of points that does not depend on their order."""

    points: int
    checksum: str
    took_ms: float


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key of the target, without its text; `hint` is how it begins.

    Its limits are None where those of the settings hold.
    """

    id: str
    name: str
    role: str
    hint: str
    created_at: datetime.datetime
    expires_at: datetime.datetime | None
    requests_per_second: float | None
    burst: int | None


@dataclass(frozen=True, slots=True)
class NewApiKey(ApiKey):
    """A key that was just made: the only answer with its text."""

    key: str = dataclasses.field(repr=False)


@dataclass(frozen=True, slots=True)
class SimpleVector:
    """A vector of upstream's calls that was just added."""

    id: str
    content: str | None
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StoredVector(SimpleVector):
    """A vector of upstream's calls with its numbers."""

    embedding: list[float]


@dataclass(frozen=True, slots=True)
class SimpleResults:
    """The nearest by upstream's search."""

    results: list[Point]
    count: int


@dataclass(frozen=True, slots=True)
class PointResult:
    """What became of one line of a stream of points: `error` {field, code, message}, or None."""

    line: int
    id: str | None = None
    status: str | None = None
    error: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class StreamResult:
    """The end of a stream of points; `errors` has the first that failed, up to a thousand."""

    lines: int
    upserted: int
    failed: int
    took_ms: float
    errors: list[PointResult] = dataclasses.field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Page(typing.Generic[T]):
    """A page of a list; `next_cursor` asks for the next one."""

    items: list[T]
    next_cursor: str | None


def build(kind: type[T], value: Any) -> T:
    """An answer's JSON as `kind`; UnexpectedAnswerError when it is not one."""
    key: Any = kind
    try:
        made: T = _maker(key)(value)
    except (AttributeError, TypeError, ValueError) as error:
        raise UnexpectedAnswerError(f"This is no {getattr(kind, '__name__', kind)}: {error}") from error
    return made


@functools.cache
def _maker(kind: typing.Hashable) -> Callable[[Any], Any]:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is list:
        each = _maker(arguments[0])
        return _as_it_is if each is _as_it_is else lambda value: [each(item) for item in value]
    if origin in (types.UnionType, typing.Union):
        inner = [argument for argument in arguments if argument is not type(None)]
        one = _maker(inner[0]) if len(inner) == 1 else _as_it_is
        return _as_it_is if one is _as_it_is else lambda value: None if value is None else one(value)
    if kind is datetime.datetime:
        return datetime.datetime.fromisoformat
    plain = origin or kind
    if dataclasses.is_dataclass(plain) and isinstance(plain, type):
        return _maker_of_fields(
            plain, dict(zip(getattr(plain, "__parameters__", ()), arguments, strict=False))
        )
    return _as_it_is


def _maker_of_fields(kind: type, given: dict[Any, Any]) -> Callable[[Any], Any]:
    hints = typing.get_type_hints(kind)
    makers: dict[str, Callable[[Any], Any]] = {}
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        # A list of the class's type parameter is one of what was given for it.
        if typing.get_origin(hint) is list and typing.get_args(hint)[0] in given:
            hint = types.GenericAlias(list, (given[typing.get_args(hint)[0]],))
        makers[field.name] = _maker(hint)
    plain = frozenset(name for name, maker in makers.items() if maker is _as_it_is)

    def make(value: dict[str, Any]) -> Any:
        return kind(
            **{
                name: item if name in plain else makers[name](item)
                for name, item in value.items()
                if name in makers
            }
        )

    return make


def _as_it_is(value: Any) -> Any:
    return value
