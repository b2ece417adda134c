"""Qdrant's REST API: its answers, and collections.

Its points lie in the default namespace of a collection. Hints on storage (shards, replicas, quantization,
on-disk, optimizers, write-ahead log) are accepted without effect: they change no answer.
"""

import time

import orjson

from controlplane.errors import InvalidError, NotFoundError
from vectors import aliases, attributes, bodies, collections, declarations, fields, indexes, kinds
from vectors.calls.base import JSON, OPERATOR, Response
from vectors.compat import qdrant_bodies as shapes
from vectors.compat.dialects import Dialect, NotServedError, Request, body_of

# The release whose REST API this follows; clients compare it with their own.
VERSION = "1.20.0"
METRICS = {"Cosine": "cosine", "Euclid": "l2", "Dot": "ip"}
NAMES = {ours: theirs for theirs, ours in METRICS.items()}
DEFAULT_M, DEFAULT_EF = 16, 100
# What the vendor's types of payload indexes are declared as here.
FIELD_TYPES = {
    "keyword": "keyword",
    "uuid": "keyword",
    "integer": "number",
    "float": "number",
    "bool": "boolean",
    "datetime": "datetime",
}
DECLARED_TYPES = {"keyword": "keyword", "number": "float", "boolean": "bool", "datetime": "datetime"}
NAMED = "Named vectors, multivectors and sparse vectors are not served: a collection has one dense vector."
CREATE_HINTS = (
    *("shard_number", "replication_factor", "write_consistency_factor", "on_disk_payload", "payload"),
    *("id_tracker", "wal_config", "optimizers_config", "quantization_config", "timeout", "metadata"),
)
UPDATE_HINTS = ("optimizers_config", "params", "quantization_config", "timeout", "metadata")
VECTOR_HINTS = ("size", "distance", "hnsw_config", "quantization_config", "on_disk", "memory", "datatype")


dialect = Dialect("qdrant")


def done(result, started: float) -> Response:
    """A result in the envelope that all answers have."""
    spent = round(time.perf_counter() - started, 6)
    return Response(
        200, orjson.dumps({"result": result, "status": "ok", "time": spent}, option=orjson.OPT_UTC_Z), (JSON,)
    )


def answering(method: str, address: str, role: str = "viewer"):
    """A decorator: the function's value is the result of a call."""

    def register(function):
        def call(request: Request, *arguments: str) -> Response:
            started = time.perf_counter()
            return done(function(request, *arguments), started)

        dialect.call(method, address, role)(call)
        return function

    return register


def completed() -> dict:
    """The result of a change: it is complete when it is answered, whatever `wait` says."""
    return {"operation_id": 0, "status": "completed"}


def kept_of(collection) -> dict:
    """What the dialect keeps of a collection: {metadata, fields}."""
    public_id = collection.public_id
    return attributes.attributes_of([public_id]).get(public_id, {}).get("qdrant", {})


def keep(collection, change) -> None:
    """Change what the dialect keeps of a collection."""
    attributes.attributes_change(
        collection, lambda before: before | {"qdrant": change(dict(before.get("qdrant", {})))}
    )


def hnsw_options(given, dimension: int) -> dict | None:
    """Index options of an hnsw_config; m = 0 asks for no graph."""
    if not isinstance(given, dict):
        if given is not None:
            raise InvalidError("hnsw_config is an object.", field="hnsw_config")
        return None
    m, ef = given.get("m"), given.get("ef_construct")
    for name, value in (("m", m), ("ef_construct", ef)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            raise InvalidError(f"{name} is a whole number.", field=f"hnsw_config.{name}")
    if m == 0 or dimension > kinds.INDEX_DIMENSION_MOST["halfvec"]:
        return {"type": "flat"}
    m = DEFAULT_M if m is None else min(max(m, 2), 100)
    return {
        "type": "hnsw",
        "m": m,
        "ef_construction": min(max(DEFAULT_EF if ef is None else ef, 2 * m, 4), 1000),
    }


def vector_params(given, field: str = "vectors") -> dict:
    """The parameters of the one unnamed vector, which may go by the empty name; NotServedError."""
    if isinstance(given, dict) and set(given) == {""}:
        given = given[""]
    if not isinstance(given, dict) or (given and "size" not in given):
        raise NotServedError(NAMED, field=field)
    for name, value in given.items():
        if name not in VECTOR_HINTS and value is not None:
            raise NotServedError(f"{name[:40]} is not served. {NAMED}", field=f"{field}.{name[:40]}")
    return given


def only(body: dict, *names: str) -> None:
    """NotServedError for a field with a value that is not among `names`."""
    for name, value in body.items():
        if name not in names and value not in (None, {}, []):
            raise NotServedError(f"{name[:60]} is not served.", field=name[:60])


@dialect.call("GET", "")
def version(request: Request) -> Response:
    """What clients ask first, before they show a key elsewhere."""
    body = {"title": "AindusDB, Qdrant-compatible REST", "version": VERSION}
    return Response(200, orjson.dumps(body), (JSON,))


@answering("GET", "collections")
def collections_list(request: Request) -> dict:
    names, after = [], ""
    while after is not None:
        page, after = collections.collection_list(limit=200, after=after)
        names += [{"name": item["name"]} for item in page]
    return {"collections": names}


@answering("PUT", "collections/{}", OPERATOR)
def collections_create(request: Request, name: str) -> bool:
    body = body_of(request)
    dialect.refuse(sparse_vectors=(body.get("sparse_vectors"), NAMED))
    if body.get("sharding_method") not in (None, "auto"):
        raise NotServedError("Shard keys are not served.", field="sharding_method")
    only(body, "vectors", "hnsw_config", "sparse_vectors", "sharding_method", *CREATE_HINTS)
    params = vector_params(body.get("vectors"))
    size, distance = params.get("size"), params.get("distance")
    if not isinstance(size, int) or isinstance(size, bool):
        raise InvalidError("A vector has a size.", field="vectors.size")
    if distance not in METRICS:
        raise InvalidError(f"The distance is one of {', '.join(METRICS)}.", field="vectors.distance")
    wanted = params.get("hnsw_config") or body.get("hnsw_config") or {}
    made = collections.collection_create(
        name=name, dimension=size, metric=METRICS[distance], index=hnsw_options(wanted, size)
    )
    if body.get("metadata"):
        keep(made, lambda kept: kept | {"metadata": body["metadata"]})
    return True


@answering("GET", "collections/{}")
def collections_get(request: Request, name: str) -> dict:
    collections.collection_forget(name)
    found = collections.collection_get(name)
    described = collections.working_on(name, collections.collection_stats)
    options, kept = described["index"]["options"], kept_of(found)
    building = indexes.index_get(found)["state"] in ("queued", "building", "running")
    points = described["points"]
    m = options["m"] if options["type"] == "hnsw" else 0
    told = {one["name"]: DECLARED_TYPES[one["type"]] for one in found.fields} | (kept.get("fields") or {})
    schema = {field: {"data_type": kind, "points": points} for field, kind in told.items()}
    config = {
        "params": {
            "vectors": {
                "size": found.dimension,
                "distance": NAMES.get(found.metric, found.metric.capitalize()),
            },
            "shard_number": 1,
            "replication_factor": 1,
            "write_consistency_factor": 1,
            "on_disk_payload": True,
        },
        "hnsw_config": {
            "m": m,
            "ef_construct": options["ef_construction"],
            "full_scan_threshold": 10_000,
            "max_indexing_threads": 0,
            "on_disk": True,
        },
        "optimizer_config": {
            "deleted_threshold": 0.2,
            "vacuum_min_vector_number": 1000,
            "default_segment_number": 1,
            "flush_interval_sec": 1,
        },
        "wal_config": None,
        "quantization_config": None,
        "metadata": kept.get("metadata"),
    }
    return {
        "status": "yellow" if building else "green",
        "optimizer_status": "ok",
        "points_count": points,
        "indexed_vectors_count": points if found.index_built else 0,
        "segments_count": 1,
        "config": config,
        "payload_schema": schema,
    }


@answering("GET", "collections/{}/exists")
def collections_exists(request: Request, name: str) -> dict:
    try:
        collections.collection_load(name)
    except NotFoundError:
        return {"exists": False}
    return {"exists": True}


@answering("PATCH", "collections/{}", OPERATOR)
def collections_update(request: Request, name: str) -> bool:
    body = body_of(request)
    dialect.refuse(sparse_vectors=(body.get("sparse_vectors"), NAMED))
    only(body, "vectors", "hnsw_config", "sparse_vectors", *UPDATE_HINTS)
    found = collections.collection_load(name)
    vectors = body.get("vectors") or {}
    if not isinstance(vectors, dict) or set(vectors) - {""}:
        raise NotServedError(NAMED, field="vectors")
    wanted = (vectors.get("") or {}).get("hnsw_config") or body.get("hnsw_config")
    if wanted:
        collections.collection_update(name=name, index=hnsw_options(wanted, found.dimension))
    if isinstance(body.get("metadata"), dict):
        keep(found, lambda kept: kept | {"metadata": (kept.get("metadata") or {}) | body["metadata"]})
    return True


@answering("DELETE", "collections/{}", OPERATOR)
def collections_delete(request: Request, name: str) -> bool:
    """Whether there was one: clients delete before they create anew. An alias is none, as with the vendor."""
    try:
        if name in collections.collection_load(name).aliases:
            return False
        collections.collection_delete(name=name)
    except NotFoundError:
        return False
    return True


def aliases_of(collection_id=None) -> dict:
    """{aliases: [{alias_name, collection_name}]} of a collection or of all."""
    found, after = [], ""
    while after is not None:
        page, after = aliases.alias_list(limit=200, after=after, collection_id=collection_id)
        found += [{"alias_name": item["alias"], "collection_name": item["collection"]} for item in page]
    return {"aliases": found}


@answering("GET", "aliases")
def aliases_list(request: Request) -> dict:
    return aliases_of()


@answering("GET", "collections/{}/aliases")
def collection_aliases(request: Request, name: str) -> dict:
    return aliases_of(collections.collection_load(name).id)


@answering("POST", "collections/aliases", OPERATOR)
def aliases_update(request: Request) -> bool:
    """All actions at once, or none."""
    body = bodies.decode(shapes.AliasActions, request.body)
    changes = []
    for at, action in enumerate(body.actions):
        given = [name for name in action.__struct_fields__ if getattr(action, name) is not None]
        if len(given) != 1:
            raise InvalidError(
                f"An action is one of {', '.join(action.__struct_fields__)}.", field=f"actions[{at}]"
            )
        changes.append(getattr(action, given[0]).change())
    aliases.aliases_change(changes)
    return True


@answering("PUT", "collections/{}/index", OPERATOR)
def field_index_create(request: Request, name: str) -> dict:
    """Declares the field. A key that goes into lists by brackets is kept and told again: its equalities are
    served by the index of all payloads, as those of every field."""
    body = bodies.decode(shapes.FieldIndex, request.body)
    given = body.field_schema
    kind = given.get("type") if isinstance(given, dict) else given
    kind = "keyword" if kind is None else kind
    if kind not in FIELD_TYPES:
        raise NotServedError(
            f"An index of type {str(kind)[:40]!r} is not served; there are {', '.join(FIELD_TYPES)}.",
            field="field_schema",
        )
    found = collections.collection_load(name)
    wanted = {"name": body.field_name, "type": FIELD_TYPES[kind]}
    if plain(body.field_name):
        found = declarations.fields_change(
            name=name,
            change=lambda given: fields.checked(
                [one for one in given if one["name"] != body.field_name] + [wanted]
            ),
        )
    keep(found, lambda kept: kept | {"fields": (kept.get("fields") or {}) | {body.field_name: kind}})
    serves = not plain(body.field_name) or body.field_name in found.declared
    return completed() if serves else completed() | {"status": "acknowledged"}


def plain(key: str) -> bool:
    """Whether a key is a dotted name, as declared fields have."""
    return not set(key) & set('[]"') and all(key.split(".")) and not key.startswith("$")


@answering("DELETE", "collections/{}/index/{rest}", OPERATOR)
def field_index_delete(request: Request, name: str, field: str) -> dict:
    found = collections.collection_load(name)
    if field in {one["name"] for one in found.fields}:
        declarations.fields_change(
            name=name, change=lambda given: [one for one in given if one["name"] != field]
        )

    def without(kept: dict) -> dict:
        fields = {key: value for key, value in (kept.get("fields") or {}).items() if key != field}
        return kept | {"fields": fields}

    keep(found, without)
    return completed()
