"""Bodies of Pinecone's data plane, as its clients send them; unknown fields are refused.

What is declared here as `Any` cannot be served: the calls say so when it is given.
"""

from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta, field

from vectors.bodies import EMPTY, Id, Namespace


class Body(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, rename="camel", gc=False):
    """A request's body."""


class Vector(Body):
    """A record; read by `batches.batch_from_points`, hence the names."""

    vector_b64: ClassVar[None] = None
    content: ClassVar[None] = None

    id: Id
    vector: list[float] | None = field(name="values", default=None)
    metadata: msgspec.Raw = EMPTY
    sparse_values: Any = None


class Upsert(Body):
    vectors: list[Vector]
    namespace: Namespace | None = None


class Query(Body):
    top_k: Annotated[int, Meta(ge=1)]
    vector: list[float] | None = None
    id: Id | None = None
    namespace: Namespace | None = None
    filter: dict[str, Any] | None = None
    include_values: bool = False
    include_metadata: bool = False
    # Hints for another engine's scan: ours needs none to be complete.
    scan_factor: float | None = None
    max_candidates: int | None = None
    sparse_vector: Any = None
    queries: Any = None


class Update(Body):
    id: Id | None = None
    values: list[float] | None = None
    set_metadata: msgspec.Raw = EMPTY
    namespace: Namespace | None = None
    filter: dict[str, Any] | None = None
    dry_run: bool = False
    sparse_values: Any = None


class Delete(Body):
    ids: list[Id] | None = None
    delete_all: bool = False
    namespace: Namespace | None = None
    filter: dict[str, Any] | None = None


class Stats(Body):
    filter: dict[str, Any] | None = None


class FetchByMetadata(Body):
    filter: dict[str, Any]
    namespace: Namespace | None = None
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 100
    pagination_token: str | None = None
