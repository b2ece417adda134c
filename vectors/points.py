"""Points: fetch, delete, count, scroll."""

import base64
import binascii

import msgspec
import orjson

from controlplane.errors import InvalidError, NotFoundError
from vectors.clauses import Clause, clause_of, text_array
from vectors.collections import Collection
from vectors.database import INT8, Connection

NAMESPACE_MOST = 128
ID_MOST = 512
METADATA_BYTES_MOST = 256 * 1024
INCLUDES = ("metadata", "content", "vector")


def columns(include, collection: Collection) -> str:
    """SQL of the parts asked for, after the leading ones; vectors as text that is JSON."""
    sql = {"metadata": "metadata::text", "content": "content", "vector": collection.form.SHOWN}
    return "".join(f", {sql[name]} AS {name}" for name in include)


def parts(result, row: int, column: int, include) -> dict:
    """The parts asked for of one row, as orjson takes them: stored JSON is passed through, never parsed."""
    answer = {}
    for name in include:
        value = result.get_value(row, column)
        column += 1
        if name == "content":
            answer[name] = value.decode() if value is not None else None
        else:
            answer[name] = orjson.Fragment(value)
    return answer


def parts_of(values, include) -> dict:
    """The same of a row that psycopg has read."""
    return {
        name: value if name == "content" else orjson.Fragment(value)
        for name, value in zip(include, values, strict=True)
    }


def points_fetch(
    connection: Connection, collection: Collection, *, namespace: str, ids: list[str], include
) -> dict:
    """The points of these ids in the order asked for, and the ids that there are none of."""
    no_nul(ids, "ids")
    result = connection.run(
        f"SELECT id{columns(include, collection)} FROM {collection.table}"
        " WHERE namespace = $1 AND id = ANY($2::text[])",
        [namespace.encode(), text_array(ids)],
    )
    found = {}
    for row in range(result.ntuples):
        point_id = result.get_value(row, 0).decode()
        found[point_id] = {"id": point_id, **parts(result, row, 1, include)}
    unique = dict.fromkeys(ids)
    return {
        "points": [found[point_id] for point_id in unique if point_id in found],
        "missing": [point_id for point_id in unique if point_id not in found],
    }


def no_nul(texts: list[str], field: str) -> None:
    for at, text in enumerate(texts):
        if "\0" in text:
            raise InvalidError("Texts must not hold the character NUL.", field=f"{field}[{at}]")


def where(
    namespace: str | None, filter: dict | Clause | None, first: int = 1
) -> tuple[list[str], list[bytes]]:
    """Conditions, and their parameters from $first on."""
    conditions, parameters = [], []
    if namespace is not None:
        conditions.append(f"namespace = ${first}")
        parameters.append(namespace.encode())
    if filter is not None:
        condition, more = clause_of(filter).sql(first + len(parameters))
        conditions.append(condition)
        parameters += more
    return conditions, parameters


def points_delete(
    connection: Connection,
    collection: Collection,
    *,
    namespace: str | None,
    ids: list[str] | None = None,
    filter: dict | Clause | None = None,
) -> int:
    """Delete by ids, by filter, or (neither given) a namespace or, with None, everything; how many went."""
    table = collection.table
    if ids is None and filter is None and namespace is None:
        with connection.db.transaction():
            connection.db.execute("SET LOCAL lock_timeout = '10s'")
            connection.db.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            count = connection.db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            connection.db.execute(f"TRUNCATE {table}")
        return count
    if ids is not None:
        no_nul(ids, "ids")
        condition = "namespace = $1 AND id = ANY($2::text[])"
        parameters = [(namespace or "").encode(), text_array(ids)]
    else:
        conditions, parameters = where(namespace, filter)
        condition = " AND ".join(conditions)
    # Locked in the order in which upserts lock.
    result = connection.run(
        f"WITH gone AS (SELECT namespace, id FROM {table} WHERE {condition}"
        " ORDER BY namespace, id FOR UPDATE)"
        f" DELETE FROM {table} t USING gone WHERE t.namespace = gone.namespace AND t.id = gone.id",
        parameters,
        prepare=ids is not None,
    )
    return result.command_tuples or 0


def points_count(
    connection: Connection, collection: Collection, *, namespace: str | None, filter: dict | Clause | None
) -> int:
    """How many points there are, exactly; namespace None: in all namespaces."""
    conditions, parameters = where(namespace, filter)
    condition = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    result = connection.run(f"SELECT count(*) FROM {collection.table}{condition}", parameters, prepare=False)
    return INT8(result.get_value(0, 0))[0]


def points_scroll(
    connection: Connection,
    collection: Collection,
    *,
    namespace: str | None,
    filter: dict | Clause | None,
    limit: int,
    cursor: str | None,
    include,
) -> dict:
    """A page of points by namespace and id. The cursor is a place in that order, so pages stay right while
    others write: what was there all along comes exactly once."""
    conditions, parameters = where(namespace, filter)
    if cursor is not None:
        after = cursor_decode(cursor)
        conditions.append(f"(namespace, id) > (${len(parameters) + 1}, ${len(parameters) + 2})")
        parameters += [after[0].encode(), after[1].encode()]
    condition = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    result = connection.run(
        f"SELECT namespace, id{columns(include, collection)} FROM {collection.table}{condition}"
        f" ORDER BY namespace, id LIMIT {limit + 1}",
        parameters,
        prepare=False,
    )
    points = [
        {
            "namespace": result.get_value(row, 0).decode(),
            "id": result.get_value(row, 1).decode(),
            **parts(result, row, 2, include),
        }
        for row in range(min(result.ntuples, limit))
    ]
    more = result.ntuples > limit
    return {
        "points": points,
        "next_cursor": cursor_encode(points[-1]["namespace"], points[-1]["id"]) if more else None,
    }


def cursor_encode(namespace: str, point_id: str) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode([namespace, point_id])).decode().rstrip("=")


def cursor_decode(cursor: str) -> tuple[str, str]:
    """The place of a cursor; InvalidError."""
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        place = msgspec.json.decode(raw, type=tuple[str, str])
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        place = None
    if place is None or "\0" in place[0] + place[1]:
        raise InvalidError("This is no cursor of a former answer.", code="invalid_cursor", field="cursor")
    return place


def point_vector(connection: Connection, collection: Collection, *, namespace: str, point_id: str) -> bytes:
    """The stored vector in binary; NotFoundError."""
    no_nul([point_id], "id")
    result = connection.run(
        f"SELECT embedding FROM {collection.table} WHERE namespace = $1 AND id = $2",
        [namespace.encode(), point_id.encode()],
    )
    if not result.ntuples:
        raise NotFoundError(f"There is no point {point_id[:100]!r} in this namespace.", code="unknown_point")
    return result.get_value(0, 0)
