"""Parts of requests that are given as mappings."""

from collections.abc import Mapping
from typing import Any, Literal, TypedDict

from aindusdb_client.encoding import Vector

Include = (
    list[Literal["metadata", "content", "vector"]] | tuple[Literal["metadata", "content", "vector"], ...]
)
Filter = Mapping[str, Any]
# Stands for a part that stays as it is, where None would take it away.
KEEP: Any = type("Keep", (), {"__repr__": lambda self: "KEEP"})()
Recall = float | Literal["exact"]


class IndexOptions(TypedDict, total=False):
    """An index's options; what is left out is the server's to choose."""

    type: Literal["hnsw", "ivfflat", "flat"]
    m: int
    ef_construction: int
    lists: int
    precision: Literal["vector", "halfvec", "bit"]


class FieldOptions(TypedDict):
    """A metadata field that gets an index of its own: its name, with dots into objects, and its type."""

    name: str
    type: Literal["keyword", "number", "boolean", "datetime"]


class TextOptions(TypedDict):
    """Full-text search on content in one of PostgreSQL's languages, such as english or simple."""

    language: str


class Fusion(TypedDict, total=False):
    """How a query by vector and text makes one list of two: by ranks (rrf, with the constant k), or by
    weighted scores."""

    method: Literal["rrf", "weighted"]
    k: int
    vector_weight: float


class Query(TypedDict, total=False):
    """One of several queries: one of `vector` and `id`, or `text`; options as of Collection.query."""

    vector: Vector
    id: str
    text: str
    fusion: Fusion
    top_k: int
    namespace: str
    filter: dict[str, Any]
    include: Include
    recall: Recall
    exact: bool
    score_threshold: float
    cursor: str


class ImportColumns(TypedDict, total=False):
    """The names of a Parquet file's columns, where they are others."""

    id: str
    namespace: str
    vector: str
    content: str
    metadata: str


class _Id(TypedDict):
    id: str


class PointChange(_Id, total=False):
    """What becomes of a point: the parts given; a content of None takes it away."""

    vector: Vector
    content: str | None
    metadata: dict[str, Any]
    metadata_remove: list[str]
