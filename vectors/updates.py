"""Changes to parts of points that are there: their metadata, their vector. What is not there stays away."""

import contextlib
from dataclasses import dataclass

import psycopg

from controlplane.errors import InvalidError
from vectors import vectors
from vectors.clauses import Clause, Ids, text_array
from vectors.collections import Collection
from vectors.database import Connection
from vectors.points import METADATA_BYTES_MOST, no_nul, where


@dataclass(frozen=True, slots=True)
class MetadataChange:
    """What becomes of metadata: `values` merged into it or put in its place; then `remove`: paths that go."""

    values: bytes | None = None
    replace: bool = False
    remove: tuple[tuple[str, ...], ...] = ()

    def sql(self, first: int) -> tuple[str, list[bytes]]:
        """SQL of the metadata to be, and its parameters from $first on."""
        text, parameters = "metadata", []
        if self.values is not None:
            text = f"${first}::jsonb" if self.replace else f"(metadata || ${first}::jsonb)"
            parameters.append(self.values)
        for path in self.remove:
            text = f"({text} #- ${first + len(parameters)}::text[])"
            parameters.append(text_array(path))
        return text, parameters

    def check(self, field: str) -> None:
        """InvalidError for what PostgreSQL would refuse or what is no object."""
        if self.values is not None:
            if self.values[:1] != b"{":
                raise InvalidError('Metadata is an object, such as {"genre": "drama"}.', field=field)
            if len(self.values) > METADATA_BYTES_MOST:
                raise InvalidError(
                    f"Metadata of a point holds up to {METADATA_BYTES_MOST} bytes.",
                    code="too_large",
                    field=field,
                )
            if b"\\u0000" in self.values:
                raise InvalidError("Texts in metadata must not hold the character NUL.", field=field)
        for path in self.remove:
            no_nul(list(path), field)


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of a point: the parts given, all others stay. `content` is (text,) or (None,)."""

    vector: bytes | None = None
    content: tuple[str | None] | None = None
    metadata: MetadataChange | None = None

    def sql(self, first: int, epoch: int) -> tuple[str, list[bytes | None], list[int]]:
        """SQL of the assignments, their parameters from $first on, and the formats of those."""
        sets, parameters, formats = [f"updated_at = now(), epoch = {epoch}"], [], []
        if self.vector is not None:
            sets.append(f"embedding = ${first}")
            parameters.append(self.vector)
            formats.append(1)
        if self.content is not None:
            sets.append(f"content = ${first + len(parameters)}")
            parameters.append(None if self.content[0] is None else self.content[0].encode())
            formats.append(0)
        if self.metadata is not None:
            text, more = self.metadata.sql(first + len(parameters))
            sets.append(f"metadata = {text}")
            parameters += more
            formats += [0] * len(more)
        return ", ".join(sets), parameters, formats

    def check(self, collection: Collection, at: str = "") -> None:
        """InvalidError for what PostgreSQL would refuse; `at` is how the point is named."""
        if self.vector is not None:
            collection.form.check(self.vector, collection.metric, f"{at}vector")
            if collection.half:
                vectors.check_half(self.vector, f"{at}vector")
        if self.content is not None and "\0" in (self.content[0] or ""):
            raise InvalidError("Content must not hold the character NUL.", field=f"{at}content")
        if self.metadata is not None:
            self.metadata.check(f"{at}metadata")


def points_update(
    connection: Connection,
    collection: Collection,
    *,
    namespace: str,
    select: dict | Clause,
    change: Change,
) -> list[str]:
    """Make one change to all points selected; their ids. Rows are locked in the order of upserts."""
    change.check(collection)
    conditions, parameters = where(namespace, select)
    sets, more, formats = change.sql(len(parameters) + 1, collection.epoch)
    table = collection.table
    with refusing("metadata"):
        result = connection.run(
            f"WITH chosen AS (SELECT namespace, id FROM {table} WHERE {' AND '.join(conditions)}"
            f" ORDER BY namespace, id FOR UPDATE) UPDATE {table} t SET {sets} FROM chosen"
            " WHERE t.namespace = chosen.namespace AND t.id = chosen.id RETURNING t.id",
            [*parameters, *more],
            [*[0] * len(parameters), *formats],
            prepare=False,
        )
    return [result.get_value(row, 0).decode() for row in range(result.ntuples)]


def points_update_each(
    connection: Connection, collection: Collection, *, namespace: str, changes: list[tuple[str, Change]]
) -> list[str]:
    """Make each point's own changes, in their order for each, all or none; the ids updated."""
    for at, (point_id, change) in enumerate(changes):
        no_nul([point_id], f"points[{at}].id")
        change.check(collection, f"points[{at}].")
    updated = []
    with connection.db.transaction():
        for at in sorted(range(len(changes)), key=lambda at: changes[at][0]):
            point_id, change = changes[at]
            sets, more, formats = change.sql(3, collection.epoch)
            with refusing(f"points[{at}].metadata"):
                result = connection.run(
                    f"UPDATE {collection.table} SET {sets} WHERE namespace = $1 AND id = $2",
                    [namespace.encode(), point_id.encode(), *more],
                    [0, 0, *formats],
                )
            if result.command_tuples:
                updated.append(point_id)
    return updated


@contextlib.contextmanager
def refusing(field: str):
    """A value that the database refuses comes out as InvalidError of this field."""
    try:
        yield
    except (
        psycopg.DataError,
        psycopg.errors.ProgramLimitExceeded,
        psycopg.errors.StatementTooComplex,
    ) as error:
        detail = error.diag.message_primary or "a value is out of range"
        raise InvalidError(f"The database refuses this metadata: {detail}.", field=field) from error


def points_update_metadata(
    connection: Connection,
    collection: Collection,
    *,
    namespace: str,
    select: dict | Clause | None,
    change: MetadataChange,
    field: str = "metadata",
) -> int:
    """Change the metadata of the points selected (None: of all in the namespace); how many there were.

    Rows are locked in the order in which upserts lock.
    """
    change.check(field)
    if isinstance(select, Ids):
        no_nul(list(select.ids), "ids")
    conditions, parameters = where(namespace, select)
    value, more = change.sql(len(parameters) + 1)
    table = collection.table
    with refusing(field):
        result = connection.run(
            f"WITH chosen AS (SELECT namespace, id FROM {table} WHERE {' AND '.join(conditions)}"
            " ORDER BY namespace, id FOR UPDATE)"
            f" UPDATE {table} t SET metadata = {value}, updated_at = now(), epoch = {collection.epoch}"
            " FROM chosen WHERE t.namespace = chosen.namespace AND t.id = chosen.id",
            [*parameters, *more],
            prepare=False,
        )
    return result.command_tuples or 0


def points_update_vectors(
    connection: Connection, collection: Collection, *, namespace: str, packed: dict[str, bytes], field: str
) -> list[str]:
    """Replace the vectors of points by id, all or none; the ids that there are no points of."""
    no_nul(list(packed), "ids")
    for vector in packed.values():
        collection.form.check(vector, collection.metric, field)
        if collection.half:
            vectors.check_half(vector, field)
    missing = []
    with connection.db.transaction():
        for point_id in sorted(packed):
            result = connection.run(
                f"UPDATE {collection.table} SET embedding = $3, updated_at = now(),"
                f" epoch = {collection.epoch} WHERE namespace = $1 AND id = $2",
                [namespace.encode(), point_id.encode(), packed[point_id]],
                [0, 0, 1],
            )
            if not result.command_tuples:
                missing.append(point_id)
    return missing
