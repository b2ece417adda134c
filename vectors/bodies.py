"""The bodies of requests: their shape is checked while they are decoded, unknown fields are refused."""

import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from controlplane.errors import InvalidError, ProblemError, TooLargeError
from vectors.points import ID_MOST, NAMESPACE_MOST

Id = Annotated[str, Meta(min_length=1, max_length=ID_MOST)]
Namespace = Annotated[str, Meta(max_length=NAMESPACE_MOST)]
Include = tuple[Literal["metadata", "content", "vector"], ...]
# Requests a second of a key (0: any number), and at once.
Rate = Annotated[float, Meta(ge=0, le=1_000_000)]
Burst = Annotated[int, Meta(ge=1, le=1_000_000)]
EMPTY = msgspec.Raw(b"")


class Body(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    """A request's body."""


class IndexOptions(Body):
    type: Literal["hnsw", "ivfflat", "flat"] | None = None
    m: int | None = None
    ef_construction: int | None = None
    lists: int | None = None
    precision: Literal["vector", "halfvec", "bit"] | None = None


class Field(Body):
    name: Annotated[str, Meta(min_length=1, max_length=512)]
    type: Literal["keyword", "number", "boolean", "datetime"]


class TextOptions(Body):
    language: Annotated[str, Meta(max_length=63)]


class CollectionCreate(Body):
    name: str
    dimension: int
    metric: Literal["cosine", "l2", "ip", "l1", "hamming", "jaccard"] = "cosine"
    index: IndexOptions | None = None
    auto_index: bool = True
    fields: list[Field] = []
    text: TextOptions | None = None


class CollectionUpdate(Body):
    """What changes: `fields` puts a list in the place of the old one, a `text` of null ends full text."""

    index: IndexOptions | None = None
    auto_index: bool | None = None
    fields: list[Field] | None = None
    text: TextOptions | msgspec.UnsetType | None = msgspec.UNSET


class AliasPut(Body):
    collection: str


class Point(Body):
    id: Id
    vector: list[float] | None = None
    vector_b64: str | None = None
    content: str | None = None
    metadata: msgspec.Raw = EMPTY


class Upsert(Body):
    """Points one by one, or as a block; `collection` of the two forms is told by the fields."""

    namespace: Namespace = ""
    points: list[Point] | None = None
    ids: list[Id] | None = None
    vectors_b64: str | None = None
    contents: list[str | None] | None = None
    metadata: list[msgspec.Raw] | None = None


class Fusion(Body):
    """How a query by vector and text makes one list of two: by ranks (rrf), or by weighted scores."""

    method: Literal["rrf", "weighted"] = "rrf"
    k: Annotated[int, Meta(ge=1, le=10_000)] = 60
    vector_weight: Annotated[float, Meta(ge=0, le=1)] = 0.5


class OneQuery(Body):
    """A query among several of a call, each with options of its own."""

    vector: list[float] | None = None
    vector_b64: str | None = None
    id: Id | None = None
    text: str | None = None
    fusion: Fusion | None = None
    top_k: Annotated[int, Meta(ge=1)] = 10
    namespace: Namespace = ""
    filter: dict[str, Any] | None = None
    include: Include = ("metadata",)
    recall: float | Literal["exact"] | None = None
    exact: bool = False
    score_threshold: float | None = None
    cursor: str | None = None


class Query(OneQuery):
    """One query, whose matches may be grouped by a metadata field, or several."""

    queries: list[OneQuery] | None = None
    group_by: Annotated[str, Meta(min_length=1)] | None = None
    group_size: Annotated[int, Meta(ge=1, le=100)] = 1


class Recommend(Body):
    positive: Annotated[list[Id], Meta(min_length=1)]
    negative: list[Id] = []
    top_k: Annotated[int, Meta(ge=1)] = 10
    namespace: Namespace = ""
    filter: dict[str, Any] | None = None
    include: Include = ("metadata",)
    recall: float | Literal["exact"] | None = None
    exact: bool = False
    score_threshold: float | None = None


class Fetch(Body):
    ids: list[Id]
    namespace: Namespace = ""
    include: Include = ("metadata", "content", "vector")


class Delete(Body):
    ids: list[Id] | None = None
    filter: dict[str, Any] | None = None
    all: bool = False
    namespace: Namespace | None = None


class Count(Body):
    namespace: Namespace | None = None
    filter: dict[str, Any] | None = None
    estimated: bool = False


class PointChange(Body):
    """What becomes of one point: the parts given; a content of null takes it away."""

    id: Id
    vector: list[float] | None = None
    vector_b64: str | None = None
    content: str | msgspec.UnsetType | None = msgspec.UNSET
    metadata: msgspec.Raw = EMPTY
    metadata_remove: list[str] = []


class Update(Body):
    """Each point's own changes, or one change of all points with these ids or this filter."""

    namespace: Namespace = ""
    metadata_mode: Literal["merge", "replace"] = "merge"
    points: list[PointChange] | None = None
    ids: list[Id] | None = None
    filter: dict[str, Any] | None = None
    vector: list[float] | None = None
    vector_b64: str | None = None
    content: str | msgspec.UnsetType | None = msgspec.UNSET
    metadata: msgspec.Raw = EMPTY
    metadata_remove: list[str] = []


class Scroll(Body):
    namespace: Namespace | None = None
    filter: dict[str, Any] | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    cursor: str | None = None
    include: Include = ("metadata",)


class UploadCreate(Body):
    size_bytes: Annotated[int, Meta(ge=0)] | None = None


class ImportColumns(Body):
    """The names of a Parquet file's columns, where they are others."""

    id: str = "id"
    namespace: str = "namespace"
    vector: str = "vector"
    content: str = "content"
    metadata: str = "metadata"


class ImportStart(Body):
    """What is imported: one of upload, url and path."""

    upload: str | None = None
    url: str | None = None
    path: str | None = None
    format: Literal["ndjson", "parquet"] = "ndjson"
    namespace: Namespace = ""
    on_error: Literal["fail", "skip"] = "fail"
    columns: ImportColumns | None = None
    other_columns: Literal["ignore", "metadata"] = "ignore"


class ExportStart(Body):
    """Where to: one of url and path."""

    url: str | None = None
    path: str | None = None
    format: Literal["ndjson", "parquet"] = "ndjson"
    namespace: Namespace | None = None
    filter: dict[str, Any] | None = None
    vectors: Literal["b64", "list", "none"] = "b64"


class ApiKeyCreate(Body):
    name: str
    role: Literal["viewer", "operator", "admin"] = "viewer"
    expires_at: Annotated[datetime.datetime, Meta(tz=True)] | None = None
    requests_per_second: Rate | None = None
    burst: Burst | None = None


class ApiKeyUpdate(Body):
    """What is given changes; null gives the settings' limit back."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    requests_per_second: Rate | msgspec.UnsetType | None = msgspec.UNSET
    burst: Burst | msgspec.UnsetType | None = msgspec.UNSET


class RecallMeasure(Body):
    """How many points of the collection are asked for, for how many others each, at what recall."""

    queries: Annotated[int, Meta(ge=1, le=1000)] = 100
    k: Annotated[int, Meta(ge=1, le=1000)] = 10
    recall: float | None = None


class SimpleAdd(Body):
    """Upstream's call: one vector into the collection `default`."""

    embedding: list[float]
    content: str | None = None
    metadata: msgspec.Raw = EMPTY


class SimpleSearch(Body):
    """Upstream's call: the nearest in the collection `default`."""

    query_vector: list[float]
    limit: Annotated[int, Meta(ge=1)] = 10
    threshold: float | None = None


class BadJsonError(ProblemError):
    """The body is not JSON."""

    status = 400
    code = "bad_json"


class MethodNotAllowedError(ProblemError):
    """This address does not take that method."""

    status = 405
    code = "method_not_allowed"


class MediaTypeError(ProblemError):
    """Send JSON: Content-Type application/json."""

    status = 415
    code = "unsupported_media_type"


_decoders = {
    kind: msgspec.json.Decoder(kind)
    for kind in (
        *(IndexOptions, CollectionCreate, CollectionUpdate, Upsert, Query, Fetch, Delete, Count, Scroll),
        *(Recommend, Update, RecallMeasure, ApiKeyUpdate),
        *(ApiKeyCreate, SimpleAdd, SimpleSearch),
    )
}


def decode(kind, body: bytes):
    """The body as `kind`; BadJsonError, or InvalidError that names the field."""
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `")
        field = place.rstrip("`").removeprefix("$").removeprefix(".")
        if message.startswith("Object contains unknown field") and "`" in message:
            name = message.split("`")[1]
            field = f"{field}.{name}" if field else name
            taken = ", ".join(_decoders_fields(kind, field))
            message = f"There is no field {name[:60]!r} here" + (f"; there are {taken}" if taken else "")
        raise InvalidError(f"{message}.", field=field or "(body)") from None
    except msgspec.DecodeError as error:
        raise BadJsonError(f"The body is not JSON that is understood: {error}.") from None
    except UnicodeDecodeError:
        raise BadJsonError("The body is not UTF-8.") from None
    except RecursionError:
        raise BadJsonError("The body nests too deep.") from None


def _decoders_fields(kind, field: str) -> tuple[str, ...]:
    return kind.__struct_fields__ if "." not in field else ()


def too_large(most: int) -> TooLargeError:
    return TooLargeError(
        f"The body is larger than {most} bytes (AINDUS_MAX_BODY_BYTES); send smaller batches.",
        max_body_bytes=most,
    )
