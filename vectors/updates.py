"""Changes to parts of points that are there: their metadata, their vector. What is not there stays away."""

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
    """What becomes of metadata: `values` merged into it or put in its place; `remove`: paths that go."""

    values: bytes | None = None
    replace: bool = False
    remove: tuple[tuple[str, ...], ...] = ()

    def sql(self, first: int) -> tuple[str, list[bytes]]:
        """SQL of the metadata to be, and its parameters from $first on."""
        if self.values is not None:
            kept = "" if self.replace else "metadata || "
            return f"{kept}${first}::jsonb", [self.values]
        text, parameters = "metadata", []
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
    try:
        result = connection.run(
            f"WITH chosen AS (SELECT namespace, id FROM {table} WHERE {' AND '.join(conditions)}"
            " ORDER BY namespace, id FOR UPDATE)"
            f" UPDATE {table} t SET metadata = {value}, updated_at = now() FROM chosen"
            " WHERE t.namespace = chosen.namespace AND t.id = chosen.id",
            [*parameters, *more],
            prepare=False,
        )
    except (
        psycopg.DataError,
        psycopg.errors.ProgramLimitExceeded,
        psycopg.errors.StatementTooComplex,
    ) as error:
        detail = error.diag.message_primary or "a value is out of range"
        raise InvalidError(f"The database refuses this metadata: {detail}.", field=field) from error
    return result.command_tuples or 0


def points_update_vectors(
    connection: Connection, collection: Collection, *, namespace: str, packed: dict[str, bytes], field: str
) -> list[str]:
    """Replace the vectors of points by id, all or none; the ids that there are no points of."""
    no_nul(list(packed), "ids")
    for vector in packed.values():
        vectors.check(vector, collection.metric, field)
    missing = []
    with connection.db.transaction():
        for point_id in sorted(packed):
            result = connection.run(
                f"UPDATE {collection.table} SET embedding = $3, updated_at = now()"
                " WHERE namespace = $1 AND id = $2",
                [namespace.encode(), point_id.encode(), packed[point_id]],
                [0, 0, 1],
            )
            if not result.command_tuples:
                missing.append(point_id)
    return missing
