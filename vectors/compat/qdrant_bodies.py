"""Bodies of Qdrant's points API, as its clients send them; unknown fields are refused.

What is declared as `Any` and is no filter or selector cannot be served: the calls say so when it is given.
"""

from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from vectors import aliases
from vectors.bodies import EMPTY

PointId = int | str


class Body(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    """A request's body."""


class Stored:
    """What `batches.batch_from_points` reads of a point."""

    __slots__ = ("content", "id", "metadata", "vector", "vector_b64")

    def __init__(self, point_id: str, vector: list[float], metadata: msgspec.Raw):
        self.id = point_id
        self.vector = vector
        self.vector_b64 = None
        self.content = None
        self.metadata = metadata


class Point(Body):
    id: PointId
    vector: list[float] | dict[str, Any]
    payload: msgspec.Raw = EMPTY


class Batch(Body):
    ids: list[PointId]
    vectors: list[list[float]] | dict[str, Any]
    payloads: list[msgspec.Raw] | None = None


class Upsert(Body):
    points: list[Point] | None = None
    batch: Batch | None = None
    update_mode: Literal["upsert"] | None = None
    update_filter: Any = None
    shard_key: Any = None


class Retrieve(Body):
    ids: list[PointId]
    with_payload: Any = None
    with_vector: Any = None
    shard_key: Any = None


class SearchParams(Body):
    exact: bool | None = None
    # The width of the graph search is chosen by the recall promised, not asked for.
    hnsw_ef: int | None = None
    quantization: Any = None
    indexed_only: bool | None = None
    acorn: Any = None
    idf: Any = None


class Query(Body):
    query: Any = None
    filter: Any = None
    params: SearchParams | None = None
    score_threshold: float | None = None
    limit: Annotated[int, Meta(ge=1)] | None = None
    offset: Annotated[int, Meta(ge=0)] | None = None
    with_vector: Any = None
    with_payload: Any = None
    prefetch: Any = None
    using: str | None = None
    lookup_from: Any = None
    shard_key: Any = None


class Queries(Body):
    searches: list[Query]


class Scroll(Body):
    offset: PointId | None = None
    limit: Annotated[int, Meta(ge=1)] | None = None
    filter: Any = None
    with_payload: Any = None
    with_vector: Any = None
    order_by: Any = None
    shard_key: Any = None


class Count(Body):
    filter: Any = None
    exact: bool | None = None
    shard_key: Any = None


class Select(Body):
    """Points by ids or by a filter."""

    points: list[PointId] | None = None
    filter: Any = None
    shard_key: Any = None


class SetPayload(Select, kw_only=True):
    payload: msgspec.Raw
    key: Any = None


class DeletePayload(Select, kw_only=True):
    keys: list[str]


class PointVectors(Body):
    id: PointId
    vector: list[float] | dict[str, Any]


class UpdateVectors(Body):
    points: list[PointVectors]
    update_filter: Any = None
    shard_key: Any = None


class Operation(Body):
    """One of a batch of changes; one field of it is given."""

    upsert: Upsert | None = None
    delete: Select | None = None
    set_payload: SetPayload | None = None
    overwrite_payload: SetPayload | None = None
    delete_payload: DeletePayload | None = None
    clear_payload: Select | None = None
    update_vectors: UpdateVectors | None = None
    delete_vectors: Any = None

    NAMES: ClassVar[tuple[str, ...]] = (
        *("upsert", "delete", "set_payload", "overwrite_payload", "delete_payload", "clear_payload"),
        *("update_vectors", "delete_vectors"),
    )


class Operations(Body):
    operations: list[Operation]


class CreateAlias(Body):
    collection_name: str
    alias_name: str

    def change(self) -> aliases.Put:
        return aliases.Put(self.alias_name, self.collection_name)


class DeleteAlias(Body):
    alias_name: str

    def change(self) -> aliases.Drop:
        return aliases.Drop(self.alias_name)


class RenameAlias(Body):
    old_alias_name: str
    new_alias_name: str

    def change(self) -> aliases.Rename:
        return aliases.Rename(self.old_alias_name, self.new_alias_name)


class AliasAction(Body):
    """One of a list of changes; one field of it is given."""

    create_alias: CreateAlias | None = None
    delete_alias: DeleteAlias | None = None
    rename_alias: RenameAlias | None = None


class AliasActions(Body):
    actions: Annotated[list[AliasAction], Meta(min_length=1, max_length=100)]


class FieldIndex(Body):
    field_name: Annotated[str, Meta(min_length=1, max_length=512)]
    field_schema: str | dict[str, Any] | None = None
