"""Collections: their rows, their tables, and what the hot path knows of them."""

import contextlib
import time
import uuid
from dataclasses import dataclass, field

import orjson
from psycopg import errors as pg_errors
from psycopg import sql
from psycopg.types.json import Jsonb

from controlplane import ids
from controlplane.errors import ConflictError, InvalidError, NotFoundError
from vectors import bits, database, declared, fields, kinds, names, segments, vectors, words

CACHE_SECONDS = 1.0
EXACT_COUNT_MOST = 50_000
# Tables up to this size are counted in lists; reading one takes about a millisecond.
COUNTED_BYTES_MOST = 4 * 2**20
UNINDEXED_COUNTED_MOST = 100_000
NORM_CHECK = "norm"


@dataclass(slots=True)
class Collection:
    """A collection as the hot path needs it; up to CACHE_SECONDS old."""

    id: uuid.UUID
    name: str
    dimension: int
    metric: str
    index_options: dict
    index_built: dict | None
    auto_index: bool
    created_at: object
    updated_at: object
    rows: int
    pages: int
    epoch: int
    aliases: list[str]
    fields: list[dict]
    text_language: str | None
    table: str
    parts: tuple[segments.Part, ...]
    # The declared fields whose index serves, by name; whether that of the content's words does, and whether
    # the words are kept in a column.
    declared: dict[str, fields.Declared]
    text_indexed: bool
    text_stored: bool
    # Whether its table refuses vectors of a size that cannot be searched.
    checked: bool
    statements: dict = field(default_factory=dict)
    estimates: dict = field(default_factory=dict)
    # What vectors/plain.py knows: of this very reading of the collection, so it is never carried over.
    plans: dict = field(default_factory=dict)
    fresh_until: float = 0.0

    @property
    def public_id(self) -> str:
        return ids.encode("col", self.id)

    @property
    def bits(self) -> bool:
        """Whether its vectors are of bits."""
        return kinds.METRICS[self.metric].form == "bit"

    @property
    def form(self):
        """The module that packs and unpacks its vectors."""
        return bits if self.bits else vectors

    @property
    def half(self) -> bool:
        """Whether an index holds the numbers at half precision, so that each must fit it."""
        return "halfvec" in (self.index_options.get("precision"), (self.index_built or {}).get("precision"))

    @property
    def copies(self) -> bool:
        """Whether the table judges by itself what is copied into it."""
        return self.bits or (self.checked and not self.half)

    @property
    def index_type(self) -> str:
        """The type of the index that serves: hnsw, or ivfflat."""
        return (self.index_built or {}).get("type", "hnsw")

    @property
    def lists(self) -> int:
        """How many lists the first part of an ivfflat index has."""
        return kinds.lists_of(self.index_built, self.parts[0].rows)

    @property
    def quantized(self) -> bool:
        """Whether what the index finds must be ranked anew by the numbers."""
        return kinds.quantized(self.metric, self.index_built)

    def distance(self, vector: str) -> str:
        """SQL of the distance to a placeholder."""
        return f"embedding OPERATOR({kinds.METRICS[self.metric].operator}) {vector}"

    def indexed_distance(self, vector: str) -> str:
        """SQL of the distance whose order the index that serves gives, at less precision about its own."""
        return kinds.indexed(self.metric, self.dimension, self.index_built, vector)[1]


# About how many rows a table `r` holds: as the planner reckons, by its size of now and its density of when it
# was last looked through. The counters of inserts are late, and count some rows twice.
ROWS = (
    "CASE WHEN r.reltuples > 0 AND r.relpages > 0"
    " THEN r.reltuples / r.relpages * (pg_relation_size(r.oid) / current_setting('block_size')::int)"
    " ELSE pg_stat_get_live_tuples(r.oid) END::bigint"
)
COLUMNS = (
    "c.id, c.name, c.dimension, c.metric, c.index_options, c.index_built, c.auto_index, c.created_at,"
    " c.updated_at,"
    f" {ROWS}, pg_relation_size(r.oid) / current_setting('block_size')::int, c.epoch,"
    " ARRAY(SELECT a.name FROM vectors_alias a WHERE a.collection_id = c.id ORDER BY a.name),"
    " c.fields, c.text_language, ARRAY(SELECT x.relname::text FROM pg_index i JOIN pg_class x"
    " ON x.oid = i.indexrelid WHERE i.indrelid = r.oid AND i.indisvalid AND x.relname ~ '^[ft]_'),"
    " EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = r.oid"
    f" AND a.attname = '{words.COLUMN}' AND NOT a.attisdropped),"
    f" EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conrelid = r.oid AND k.conname = '{NORM_CHECK}')"
)
SOURCE = (
    "vectors_collection c LEFT JOIN pg_class r ON r.relnamespace = 'vectors_data'::regnamespace"
    " AND r.relname = 'p_' || replace(c.id::text, '-', '')"
)

_cache: dict[str, Collection] = {}


def table_of(collection_id: uuid.UUID) -> str:
    return f"vectors_data.p_{collection_id.hex}"


def _collection(row) -> Collection:
    given, language, serving, stored, checked = row[13:18]
    known = [fields.declared(one["name"], one["type"]) for one in given]
    return Collection(
        *row[:9],
        rows=row[9] or 0,
        pages=row[10] or 0,
        epoch=row[11],
        aliases=row[12],
        fields=given,
        text_language=language,
        table=table_of(row[0]),
        parts=segments.parts_of(row[5]),
        declared={one.name: one for one in known if one.index_name(row[0]) in serving},
        text_indexed=language is not None and words.index_name(row[0], language, stored) in serving,
        text_stored=stored,
        checked=checked,
        fresh_until=time.monotonic() + CACHE_SECONDS,
    )


def unknown(name: str) -> NotFoundError:
    return NotFoundError(
        f"There is no collection {name[:100]!r}; create it with POST /api/v1/vectors/collections.",
        code="unknown_collection",
    )


def collection_get(name: str) -> Collection:
    """The collection of a name, id or alias, from this process's cache when fresh; NotFoundError."""
    found = _cache.get(name)
    if found is not None and found.fresh_until > time.monotonic():
        return found
    fresh = collection_load(name)
    if found is not None and found.id == fresh.id and found.index_built == fresh.index_built:
        fresh.statements, fresh.estimates = found.statements, found.estimates
    if len(_cache) > 5000:
        _cache.clear()
    _cache[name] = fresh
    return fresh


def collection_load(name: str) -> Collection:
    """The collection of a name, id or alias as the database has it; NotFoundError."""
    condition, parameters = named(name)
    with database.pool().connection() as connection:
        row = connection.db.execute(
            f"SELECT {COLUMNS} FROM {SOURCE} WHERE {condition}", parameters
        ).fetchone()
    if row is None:
        raise unknown(name)
    return _collection(row)


def collection_at(db, collection_id: uuid.UUID) -> Collection:
    """The collection of an id on a connection of the caller's; NotFoundError."""
    row = db.execute(f"SELECT {COLUMNS} FROM {SOURCE} WHERE c.id = %s", [collection_id]).fetchone()
    if row is None:
        raise unknown(ids.encode("col", collection_id))
    return _collection(row)


def named(name: str) -> tuple[str, list]:
    """The condition on a collection `c` that a name, id or alias stands for, and its parameters."""
    if "\0" in name or len(name) > 200:
        raise unknown(name)
    with contextlib.suppress(ValueError):
        return "c.id = %s", [ids.decode("col", name)]
    return (
        "c.id = coalesce((SELECT id FROM vectors_collection WHERE name = %s),"
        " (SELECT collection_id FROM vectors_alias WHERE name = %s))",
        [name, name],
    )


def collection_exists(name: str) -> bool:
    try:
        collection_get(name)
    except NotFoundError:
        return False
    return True


def collection_forget(name: str | None = None) -> None:
    """Drop what a name stands for, under all its names, or everything from the cache."""
    if name is None:
        _cache.clear()
        return
    found = _cache.pop(name, None)
    if found is not None:
        for other in [key for key, kept in list(_cache.items()) if kept.id == found.id]:
            _cache.pop(other, None)


def working_on(name: str, work):
    """work(collection), repeated once with a fresh collection when its table, or a column of it, has gone.

    A cached collection may have been deleted, deleted and made anew, or relieved of its words a moment ago.
    """
    collection = collection_get(name)
    try:
        return work(collection)
    except (pg_errors.UndefinedTable, pg_errors.UndefinedColumn):
        collection_forget(name)
        return work(collection_get(name))


def collection_create(
    *,
    name: str,
    dimension: int,
    metric: str = "cosine",
    index: dict | None = None,
    auto_index: bool = True,
    declare: list[dict] | None = None,
    language: str | None = None,
) -> Collection:
    """Make a collection and its table, with the fields declared and full text in a language.

    InvalidError, ConflictError when the name is taken.
    """
    names.check(name)
    if metric not in kinds.METRICS:
        raise InvalidError(f"The metric is one of {', '.join(kinds.METRICS)}.", field="metric")
    form = kinds.METRICS[metric].form
    if not 1 <= dimension <= kinds.DIMENSION_MOST[form]:
        raise InvalidError(
            f"The dimension is between 1 and {kinds.DIMENSION_MOST[form]} for metric {metric}.",
            field="dimension",
        )
    options = kinds.options_first(index, metric, dimension)
    declare = fields.checked(declare or [])
    collection_id = ids.uuid7()
    table = sql.SQL(table_of(collection_id))
    statements = [
        sql.SQL(
            'CREATE TABLE {} (namespace text COLLATE "C" NOT NULL DEFAULT \'\', id text COLLATE "C" NOT NULL,'
            " embedding {}({}) NOT NULL, content text, metadata jsonb NOT NULL DEFAULT '{{}}',"
            " created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(),"
            " epoch integer NOT NULL DEFAULT 0,{}{}"
            " PRIMARY KEY (namespace, id))"
        ).format(
            table,
            sql.SQL(form),
            sql.Literal(dimension),
            sql.SQL(f" {words.column(language)}," if language else ""),
            sql.SQL(
                f" CONSTRAINT {NORM_CHECK} CHECK ({vectors.sound_sql(metric)})," if form == "vector" else ""
            ),
        ),
        sql.SQL("CREATE INDEX {} ON {} (epoch)").format(sql.Identifier(f"e_{collection_id.hex}"), table),
        # The pending list makes loading faster by two thirds; queries read all of it, so it is kept short.
        sql.SQL(
            "CREATE INDEX ON {} USING gin (metadata jsonb_path_ops)"
            " WITH (fastupdate = on, gin_pending_list_limit = 1024)"
        ).format(table),
        *(
            f"CREATE INDEX {one.name} ON {table_of(collection_id)} {one.definition}"
            for one in declared.indexes(collection_id, declare, language, stored=True)
        ),
    ]
    with database.pool().connection() as connection, connection.db.transaction():
        if language is not None:
            words.checked(connection.db, language)
        names.lock(connection.db, name)
        if connection.db.execute("SELECT 1 FROM vectors_alias WHERE name = %s", [name]).fetchone():
            raise ConflictError(f"An alias {name} exists already.", code="exists", field="name")
        try:
            connection.db.execute(
                "INSERT INTO vectors_collection"
                " (id, name, dimension, metric, index_options, auto_index, fields, text_language,"
                " created_at, updated_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, now(), now())",
                [
                    *(collection_id, name, dimension, metric, Jsonb(options), auto_index),
                    *(Jsonb(declare), language),
                ],
            )
        except pg_errors.UniqueViolation:
            raise ConflictError(f"A collection {name} exists already.", code="exists", field="name") from None
        for statement in statements:
            connection.db.execute(statement)
    collection_forget(name)
    return collection_get(name)


def collection_update(*, name: str, auto_index: bool | None = None, index: dict | None = None) -> Collection:
    """Change what may change: whether an index is built by itself, and the options of the next build."""
    collection = collection_load(name)
    options = collection.index_options
    if index is not None:
        options = kinds.options(index, collection.metric, collection.dimension, collection.index_options)
    with database.pool().connection() as connection:
        connection.db.execute(
            "UPDATE vectors_collection SET index_options = %s, auto_index = coalesce(%s, auto_index),"
            " updated_at = now() WHERE id = %s",
            [Jsonb(options), auto_index, collection.id],
        )
    collection_forget(name)
    return collection_get(name)


def collection_delete(*, name: str) -> None:
    """Drop a collection with its points; a build that runs on it is stopped. NotFoundError."""
    collection = collection_load(name)
    with database.pool().connection() as connection:
        with connection.db.transaction():
            connection.db.execute(
                "UPDATE vectors_job SET state = 'cancelled', finished_at = now()"
                " WHERE collection_id = %s AND state IN ('queued', 'running')",
                [collection.id],
            )
        connection.db.execute(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_progress_create_index WHERE relid = to_regclass(%s)",
            [collection.table],
        )
        with connection.db.transaction():
            connection.db.execute("SET LOCAL lock_timeout = '10s'")
            # Whoever adds an alias or a job from here on waits, and then finds it gone.
            connection.db.execute(
                "SELECT 1 FROM vectors_collection WHERE id = %s FOR UPDATE", [collection.id]
            )
            connection.db.execute(
                "SELECT 1 FROM vectors_upload WHERE collection_id = %s FOR UPDATE", [collection.id]
            )
            connection.db.execute(
                "DELETE FROM vectors_upload_part p USING vectors_upload u"
                " WHERE u.id = p.upload_id AND u.collection_id = %s",
                [collection.id],
            )
            for dependent in ("vectors_job", "vectors_alias", "vectors_recall", "vectors_upload"):
                connection.db.execute(f"DELETE FROM {dependent} WHERE collection_id = %s", [collection.id])
            connection.db.execute("DELETE FROM vectors_collection WHERE id = %s", [collection.id])
            connection.db.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.SQL(collection.table)))
    collection_forget(name)
    collection_forget(collection.name)


def collection_list(*, limit: int, after: str = "") -> tuple[list[dict], str | None]:
    """Descriptions by name, and the name to go on after."""
    with database.pool().connection() as connection:
        rows = connection.db.execute(
            f"SELECT {COLUMNS} FROM {SOURCE} WHERE c.name > %s ORDER BY c.name LIMIT %s", [after, limit + 1]
        ).fetchall()
    found = [_collection(row) for row in rows[:limit]]
    items = descriptions(found)
    small = {
        item["id"]: collection.table
        for item, collection in zip(items, found, strict=True)
        if item["table_bytes"] <= COUNTED_BYTES_MOST
    }
    with database.pool().connection() as connection:
        counts = exact_counts(connection, small)
    for item in items:
        if item["id"] in counts:
            item.update(points=counts[item["id"]], points_are_exact=True)
    return items, found[-1].name if len(rows) > limit else None


def exact_counts(connection: database.Connection, tables: dict[str, str]) -> dict[str, int]:
    """How many points small tables hold, by the key of each; none when one was dropped meanwhile.

    Statistics of a small table are far off: it is analysed late, and each upsert moves them by much.
    """
    if not tables:
        return {}
    statement = " UNION ALL ".join(f"SELECT %s, count(*) FROM {table}" for table in tables.values())
    try:
        return dict(connection.db.execute(statement, list(tables)).fetchall())
    except pg_errors.UndefinedTable:
        return {}


def _sizes(connection, collections: list[Collection]) -> dict:
    rows = connection.db.execute(
        "SELECT i, pg_table_size(t), pg_indexes_size(t) FROM unnest(%s::uuid[], %s::text[]) AS x (i, n),"
        " to_regclass(n) AS t",
        [[c.id for c in collections], [c.table for c in collections]],
    ).fetchall()
    return {row[0]: {"table_bytes": row[1] or 0, "index_bytes": row[2] or 0} for row in rows}


def _unindexed(connection, collections: list[Collection]) -> dict:
    """How many rows of each lie behind its index, counted up to UNINDEXED_COUNTED_MOST."""
    statement = " UNION ALL ".join(
        f"SELECT %s, (SELECT count(*) FROM (SELECT FROM {collection.table}"
        f" WHERE epoch >= {segments.unindexed_from(collection.parts)} LIMIT {UNINDEXED_COUNTED_MOST}) newer)"
        for collection in collections
    )
    if not statement:
        return {}
    try:
        return dict(connection.db.execute(statement, [c.id for c in collections]).fetchall())
    except pg_errors.UndefinedTable:
        return {}


def descriptions(collections: list[Collection]) -> list[dict]:
    """The public forms of collections; `points` is the statistics' estimate."""
    with database.pool().connection() as connection:
        sizes = _sizes(connection, collections)
        behind = [c for c in collections if c.parts and segments.unindexed_from(c.parts) is not None]
        unindexed = _unindexed(connection, behind)
    return [
        _description(
            collection,
            sizes.get(collection.id, {"table_bytes": 0, "index_bytes": 0}),
            unindexed.get(collection.id, 0) if collection.parts else collection.rows,
        )
        for collection in collections
    ]


def describe(collection: Collection) -> dict:
    """One collection's public form."""
    return descriptions([collection])[0]


def _description(collection: Collection, sizes: dict, unindexed: int) -> dict:
    return {
        "id": collection.public_id,
        "name": collection.name,
        "dimension": collection.dimension,
        "metric": collection.metric,
        "aliases": collection.aliases,
        "fields": [one | {"indexed": one["name"] in collection.declared} for one in collection.fields],
        "text": collection.text_language
        and {"language": collection.text_language, "indexed": collection.text_indexed},
        "points": collection.rows,
        "points_are_exact": False,
        **sizes,
        "index": {
            "state": "ready" if collection.parts else "none",
            "options": collection.index_options,
            "built": built_public(collection.index_built),
            "auto": collection.auto_index,
            "segments": len(collection.parts),
            "unindexed_points": unindexed,
        },
        "created_at": collection.created_at,
        "updated_at": collection.updated_at,
    }


def built_public(index_built: dict | None) -> dict | None:
    """What is shown of the index that serves."""
    if not index_built:
        return None
    return {key: value for key, value in index_built.items() if key not in ("name", "parts")}


def collection_stats(collection: Collection, *, namespaces: bool = False) -> dict:
    """The description with an exact count where that is cheap or namespaces are asked for (exact too)."""
    answer = describe(collection)
    with database.pool().connection() as connection:
        if namespaces:
            result = connection.run(
                f"SELECT namespace, count(*) FROM {collection.table} GROUP BY namespace ORDER BY namespace"
            )
            answer["namespaces"] = [
                {
                    "name": result.get_value(at, 0).decode(),
                    "points": database.INT8(result.get_value(at, 1))[0],
                }
                for at in range(result.ntuples)
            ]
            answer["points"] = sum(item["points"] for item in answer["namespaces"])
            answer["points_are_exact"] = True
        elif collection.rows <= EXACT_COUNT_MOST:
            result = connection.run(f"SELECT count(*) FROM {collection.table}")
            answer["points"] = database.INT8(result.get_value(0, 0))[0]
            answer["points_are_exact"] = True
    return answer


def encoded(value) -> bytes:
    """JSON of a description: times in RFC 3339 UTC with Z."""
    return orjson.dumps(value, option=orjson.OPT_UTC_Z)
