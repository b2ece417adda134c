"""Points: upsert, fetch, delete, count, scroll."""

import base64
import binascii
import struct

import msgspec
import orjson
import psycopg
from psycopg.pq import TransactionStatus

from controlplane.errors import InvalidError, NotFoundError
from vectors import bits, vectors
from vectors.clauses import Clause, clause_of, text_array
from vectors.collections import Collection
from vectors.database import INT8, Connection
from vectors.kinds import METRICS

NAMESPACE_MOST = 128
ID_MOST = 512
METADATA_BYTES_MOST = 256 * 1024
COPY_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_TAIL = b"\xff\xff"
NULL = b"\xff\xff\xff\xff"
LENGTH = struct.Struct(">i").pack
FIELDS = struct.pack(">h", 4)
INCLUDES = ("metadata", "content", "vector")


class Batch:
    """A batch in the making: parallel lists of what goes to the database, already in binary."""

    def __init__(self, *, ids, packed, contents, metadata, places):
        self.ids: list[str] = ids
        self.packed: list[bytes] = packed
        self.contents: list[str | None] = contents
        self.metadata: list[bytes] = metadata
        # How to name the parts of point n in an error: (vector, metadata, content, id).
        self.places = places


def batch_from_points(points, dimension: int, form=vectors) -> Batch:
    """A batch of `{id, vector | vector_b64, content?, metadata?}`; `form`: vectors, or bits."""
    packed = []
    pack = vectors.packer(dimension).pack
    for at, point in enumerate(points):
        values = point.vector
        if (values is None) == (point.vector_b64 is None):
            raise InvalidError(
                "A point has vector or vector_b64, one of the two.",
                code="required",
                field=f"points[{at}].vector",
            )
        if values is None:
            packed.append(form.pack_base64(point.vector_b64, dimension, f"points[{at}].vector_b64"))
        elif form is not vectors:
            packed.append(form.pack(values, dimension, f"points[{at}].vector"))
        elif len(values) == dimension:
            try:
                packed.append(pack(dimension, 0, *values))
            except (OverflowError, struct.error):
                vectors.pack(values, dimension, f"points[{at}].vector")
        else:
            raise vectors.wrong_dimension(len(values), dimension, f"points[{at}].vector")
    return Batch(
        ids=[point.id for point in points],
        packed=packed,
        contents=[point.content for point in points],
        metadata=[bytes(point.metadata) for point in points],
        places=lambda at: {name: f"points[{at}].{name}" for name in ("vector", "metadata", "content", "id")},
    )


def batch_from_block(block, dimension: int, form=vectors) -> Batch:
    """A batch of `{ids, vectors_b64, contents?, metadata?}`; `form`: vectors, or bits."""
    count = len(block.ids)
    for name in ("contents", "metadata"):
        values = getattr(block, name)
        if values is not None and len(values) != count:
            raise InvalidError(
                f"There are {count} ids and {len(values)} {name}: send as many.",
                code="wrong_length",
                field=name,
            )
    return Batch(
        ids=block.ids,
        packed=form.pack_block(block.vectors_b64, count, dimension, "vectors_b64"),
        contents=block.contents if block.contents is not None else [None] * count,
        metadata=[bytes(item) for item in block.metadata] if block.metadata is not None else [b""] * count,
        places=lambda at: {
            "vector": f"vectors_b64[{at}]",
            "metadata": f"metadata[{at}]",
            "content": f"contents[{at}]",
            "id": f"ids[{at}]",
        },
    )


def _object_or_empty(raw: bytes, field: str) -> bytes:
    if not raw or raw == b"null":
        return b"{}"
    if raw[:1] != b"{":
        raise InvalidError('Metadata is an object, such as {"genre": "drama"}.', code="invalid", field=field)
    return raw


def prepared(batch: Batch, most_metadata_bytes: int = METADATA_BYTES_MOST) -> tuple[list[bytes], list[int]]:
    """Rows in COPY's binary form ordered by id, the last of each id, and which point each is."""
    last: dict[str, int] = {}
    for at, point_id in enumerate(batch.ids):
        if "\0" in point_id:
            raise InvalidError("An id must not hold the character NUL.", field=batch.places(at)["id"])
        last[point_id] = at
    rows, order = [], sorted(last)
    for point_id in order:
        at = last[point_id]
        key = point_id.encode()
        content = batch.contents[at]
        if content is None:
            text = NULL
        else:
            if "\0" in content:
                raise InvalidError(
                    "Content must not hold the character NUL.", field=batch.places(at)["content"]
                )
            content = content.encode()
            text = LENGTH(len(content)) + content
        packed = batch.packed[at]
        metadata = batch.metadata[at]
        if metadata[:1] != b"{":
            metadata = _object_or_empty(metadata, batch.places(at)["metadata"])
        elif len(metadata) > most_metadata_bytes:
            raise InvalidError(
                f"Metadata of a point holds up to {most_metadata_bytes} bytes.",
                code="too_large",
                field=batch.places(at)["metadata"],
            )
        rows.append(
            b"".join(
                (
                    *(FIELDS, LENGTH(len(key)), key),
                    *(LENGTH(len(packed)), packed, text),
                    *(LENGTH(len(metadata) + 1), b"\1", metadata),
                )
            )
        )
    return rows, [last[point_id] for point_id in order]


def points_upsert(connection: Connection, collection: Collection, *, namespace: str, batch: Batch) -> int:
    """Write a batch whole or not at all; how many points it holds. Of equal ids the last wins.

    Keys are written in one order, so that concurrent batches wait for each other and never deadlock.
    """
    rows, order = prepared(batch)
    if not rows:
        return 0
    form = collection.form
    staging = staging_of(collection)
    # Commits empty the staging table; within a transaction of the caller's another batch may follow.
    within = connection.pg.transaction_status == TransactionStatus.INTRANS
    try:
        with connection.db.transaction():
            if form not in connection.staging:
                connection.db.execute(
                    f"CREATE TEMP TABLE IF NOT EXISTS {staging}"
                    f' (id text COLLATE "C", embedding {form.STAGED}, content text, metadata jsonb)'
                    " ON COMMIT DELETE ROWS"
                )
            with (
                connection.db.cursor() as cursor,
                cursor.copy(f"COPY {staging} FROM STDIN (FORMAT BINARY)") as copy,
            ):
                copy.write(b"".join((COPY_HEAD, *rows, COPY_TAIL)))
            # The norm is checked here, in C, rather than number by number in Python.
            result = connection.run(
                f"INSERT INTO {collection.table} (namespace, id, embedding, content, metadata, epoch)"
                f" SELECT $1, id, embedding, content, metadata, $2::int FROM {staging}"
                f" WHERE {acceptable(collection)} ORDER BY id"
                " ON CONFLICT (namespace, id) DO UPDATE SET embedding = excluded.embedding,"
                " content = excluded.content, metadata = excluded.metadata, epoch = excluded.epoch,"
                " updated_at = now()",
                [namespace.encode(), b"%d" % collection.epoch],
            )
            if result.command_tuples != len(rows):
                raise located(batch, order, collection, None)
            if within:
                connection.simple(f"TRUNCATE {staging}")
        connection.staging.add(form)
    except (
        psycopg.DataError,
        psycopg.errors.ProgramLimitExceeded,
        psycopg.errors.StatementTooComplex,
    ) as error:
        raise located(batch, order, collection, error) from error
    return len(rows)


def staging_of(collection: Collection) -> str:
    """The temporary table that batches of a collection go through."""
    return f"pg_temp.vectors_staging_{collection.form.STAGED}"


def acceptable(collection: Collection) -> str:
    """SQL of the staged rows whose vectors the collection can hold and its indexes take."""
    if collection.bits:
        return "true"
    least = vectors.NORM_LEAST if collection.metric == "cosine" else 0
    # The index is made later, of many rows at once: none may be there that it would refuse.
    fits = " AND embedding::halfvec IS NOT NULL" if collection.half else ""
    return f"vector_norm(embedding) BETWEEN {least} AND {vectors.NORM_MOST:.0f}{fits}"


def fault(batch: Batch, order, metric: str, half: bool = False) -> InvalidError | None:
    """What the database would refuse of a batch: the first point and its part; None when all is well."""
    for at in order:
        places = batch.places(at)
        try:
            form = bits if METRICS[metric].form == "bit" else vectors
            form.check(batch.packed[at], metric, places["vector"])
            if half:
                vectors.check_half(batch.packed[at], places["vector"])
        except InvalidError as found:
            return found
        raw = batch.metadata[at]
        problem = ""
        if b"\\u0000" in raw:
            problem = "Texts in metadata must not hold the character NUL (\\u0000)."
        else:
            try:
                orjson.loads(raw or b"{}")
            except orjson.JSONDecodeError as wrong:
                problem = f"This metadata is not JSON that can be kept: {wrong}."
        if problem:
            return InvalidError(problem, code="invalid_metadata", field=places["metadata"])
    return None


def located(batch: Batch, order: list[int], collection: Collection, error) -> InvalidError:
    """The error of a batch that the database refused, with the point and part that is wrong."""
    found = fault(batch, order, collection.metric, collection.half)
    if found is not None:
        return found
    detail = (error.diag.message_primary or "") if error is not None else "a vector is out of range"
    return InvalidError(
        f"The database refuses a value of this batch: {detail}. Look for numbers out of range and for nesting"
        " hundreds deep in metadata.",
        code="invalid_metadata",
        field=batch.places(order[0])["metadata"].partition("[")[0],
    )


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
