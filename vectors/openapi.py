"""The vector API in OpenAPI: the calls come from `endpoints.ROUTES`, the bodies from `bodies`."""

import msgspec

from vectors import bodies, endpoints
from vectors.calls.base import Route

STRING, NUMBER, INTEGER, BOOLEAN = ({"type": kind} for kind in ("string", "number", "integer", "boolean"))
OBJECT = {"type": "object", "additionalProperties": True}
NULLABLE = {"type": ["string", "null"]}
NULLABLE_OBJECT = {"type": ["object", "null"], "additionalProperties": True}
NULLABLE_NUMBER = {"type": ["number", "null"]}
NULLABLE_INTEGER = {"type": ["integer", "null"]}
VECTOR = {"type": "array", "items": NUMBER}
BINARY = {"type": "string", "format": "binary"}


def _object(**properties) -> dict:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _more(schema: dict, **properties) -> dict:
    return _object(**schema["properties"], **properties)


def _list(items: dict) -> dict:
    return {"type": "array", "items": items}


def _reference(name: str) -> dict:
    return {"$ref": f"#/components/schemas/{name}"}


def _page(items: dict) -> dict:
    return _object(items=_list(items), next_cursor=NULLABLE)


POINT = {
    "type": "object",
    "properties": {
        "id": STRING,
        "namespace": STRING,
        "score": NUMBER,
        "scores": _object(vector=NULLABLE_NUMBER, text=NULLABLE_NUMBER),
        "content": NULLABLE,
        "metadata": OBJECT,
        "vector": VECTOR,
    },
    "required": ["id"],
}
FIELD_TYPE = {"enum": ["keyword", "number", "boolean", "datetime"]}
COLLECTION = _object(
    id=STRING,
    name=STRING,
    dimension=INTEGER,
    metric={"enum": ["cosine", "l2", "ip", "l1", "hamming", "jaccard"]},
    aliases=_list(STRING),
    fields=_list(_object(name=STRING, type=FIELD_TYPE, indexed=BOOLEAN)),
    text={"oneOf": [_object(language=STRING, indexed=BOOLEAN), {"type": "null"}]},
    points=INTEGER,
    points_are_exact=BOOLEAN,
    table_bytes=INTEGER,
    index_bytes=INTEGER,
    index=_object(
        state={"enum": ["none", "ready"]},
        options=OBJECT,
        built=NULLABLE_OBJECT,
        auto=BOOLEAN,
        segments=INTEGER,
        unindexed_points=INTEGER,
    ),
    created_at=STRING,
    updated_at=STRING,
)
ALIAS = _object(alias=STRING, collection=STRING, created_at=STRING, updated_at=STRING)
SLOW_QUERY = _object(
    at=STRING,
    collection=STRING,
    took_ms=NUMBER,
    kind={"enum": ["query", "groups", "text"]},
    namespace=STRING,
    top_k=INTEGER,
    recall=NULLABLE_NUMBER,
    exact=BOOLEAN,
    plan=NULLABLE,
    ef=NULLABLE_INTEGER,
    share=NULLABLE_NUMBER,
    candidates=NULLABLE_INTEGER,
    matches=NULLABLE_INTEGER,
    filter={},
    filter_excerpt=NULLABLE,
    error=NULLABLE,
    explain=NULLABLE,
)
RECALL = _object(
    at=STRING,
    k=INTEGER,
    queries=INTEGER,
    asked=NULLABLE_NUMBER,
    recall=NUMBER,
    ef=NULLABLE_INTEGER,
    plan=STRING,
    points=INTEGER,
    p50_ms=NUMBER,
    exact_p50_ms=NUMBER,
)
NAMESPACE = _object(name=STRING, points=INTEGER)
API_KEY = _object(
    id=STRING,
    name=STRING,
    role=STRING,
    hint=STRING,
    created_at=STRING,
    expires_at=NULLABLE,
    requests_per_second=NULLABLE_NUMBER,
    burst=NULLABLE_INTEGER,
)
SIMPLE = _object(id=STRING, content=NULLABLE, metadata=OBJECT)
# What a build will take; the warning says that it does not fit.
BUILD_NEEDS = {"memory_needed_bytes": INTEGER, "memory_limit_bytes": INTEGER, "warning": NULLABLE}
JOB = _object(
    id=STRING,
    collection=STRING,
    kind=STRING,
    state={"enum": ["queued", "running", "succeeded", "failed", "cancelled"]},
    params=OBJECT,
    result=NULLABLE_OBJECT,
    error=STRING,
    attempt=INTEGER,
    progress=NULLABLE_OBJECT,
    percent=NUMBER,
    phase=NULLABLE,
    seconds_left=NULLABLE_NUMBER,
    created_at=STRING,
    started_at=NULLABLE,
    finished_at=NULLABLE,
)
SCHEMAS = {
    "VectorsPoint": POINT,
    "VectorsCollection": COLLECTION,
    "VectorsStats": _more(COLLECTION, namespaces=_list(NAMESPACE)),
    "VectorsAlias": ALIAS,
    "VectorsNamespace": NAMESPACE,
    "VectorsRecall": RECALL,
    "VectorsSlowQuery": SLOW_QUERY,
    "VectorsIndex": _object(
        collection=STRING,
        state={"enum": ["none", "queued", "building", "ready", "failed"]},
        percent=NUMBER,
        seconds_left=NULLABLE_NUMBER,
        **BUILD_NEEDS,
        segments=INTEGER,
        unindexed_points=INTEGER,
        options=OBJECT,
        built=NULLABLE_OBJECT,
        auto=BOOLEAN,
        job={"oneOf": [_reference("VectorsJob"), {"type": "null"}]},
    ),
    "VectorsUpload": _object(
        id=STRING,
        collection=STRING,
        size_bytes=NULLABLE_INTEGER,
        received_bytes=INTEGER,
        complete=BOOLEAN,
        created_at=STRING,
        updated_at=STRING,
        expires_at=STRING,
    ),
    "VectorsExportLine": {
        "type": "object",
        "description": "A point; at the end what was exported.",
        "properties": {
            "id": STRING,
            "namespace": STRING,
            "vector_b64": STRING,
            "vector": VECTOR,
            "content": STRING,
            "metadata": OBJECT,
            "export": {
                "type": "object",
                "properties": {
                    "points": INTEGER,
                    "checksum": NULLABLE,
                    "after": _list(STRING),
                    "error": OBJECT,
                },
                "required": ["points", "checksum"],
            },
        },
    },
    "VectorsJob": JOB,
    "VectorsIndexBuild": _more(JOB, **BUILD_NEEDS),
    "VectorsPointResult": {
        "type": "object",
        "description": "A line of the answer to lines: of a point, of how far it is, or at the end of all.",
        "properties": {
            "line": INTEGER,
            "id": NULLABLE,
            "status": {"enum": ["upserted"]},
            "error": OBJECT,
            "progress": _object(lines=INTEGER, upserted=INTEGER),
            "summary": {
                **_object(lines=INTEGER, upserted=INTEGER, failed=INTEGER, took_ms=NUMBER),
                "description": "With `error`, the problem that ended the load early.",
            },
        },
    },
    "VectorsApiKey": API_KEY,
    "VectorsApiKeyMade": _more(API_KEY, key=STRING),
    "VectorsSimple": SIMPLE,
    "VectorsSimpleStored": _more(SIMPLE, embedding=VECTOR),
}
CHANGE = {
    "vector": VECTOR,
    "vector_b64": STRING,
    "content": NULLABLE,
    "metadata": OBJECT,
    "metadata_remove": _list(STRING),
}
# Bodies whose metadata is kept as it was sent, of which msgspec makes no schema.
RAW_BODIES = {
    "Point": {
        "type": "object",
        "properties": {
            "id": {"type": "string", "minLength": 1},
            "vector": VECTOR,
            "vector_b64": {"type": "string", "description": "Base64 of little-endian float32."},
            "content": NULLABLE,
            "metadata": OBJECT,
        },
        "required": ["id"],
        "additionalProperties": False,
    },
    "Upsert": {
        "type": "object",
        "description": "`points`, or as a block `ids`, `vectors_b64`, `contents` and `metadata`.",
        "properties": {
            "namespace": STRING,
            "points": _list(_reference("VectorsPointRequest")),
            "ids": _list(STRING),
            "vectors_b64": {"type": "string", "description": "All vectors, little-endian float32."},
            "contents": _list(NULLABLE),
            "metadata": _list(OBJECT),
        },
        "additionalProperties": False,
    },
    "PointChange": {
        "type": "object",
        "properties": {"id": {"type": "string", "minLength": 1}, **CHANGE},
        "required": ["id"],
        "additionalProperties": False,
    },
    "Update": {
        "type": "object",
        "description": "`points` with changes of their own, or `ids` or `filter` with one change of all.",
        "properties": {
            "namespace": STRING,
            "metadata_mode": {"enum": ["merge", "replace"]},
            "points": _list(_reference("VectorsPointChangeRequest")),
            "ids": _list(STRING),
            "filter": OBJECT,
            **CHANGE,
        },
        "additionalProperties": False,
    },
    "SimpleAdd": {
        "type": "object",
        "properties": {"embedding": VECTOR, "content": NULLABLE, "metadata": OBJECT},
        "required": ["embedding"],
        "additionalProperties": False,
    },
}
_collection, _job, _point, _upload = map(
    _reference, ("VectorsCollection", "VectorsJob", "VectorsPoint", "VectorsUpload")
)
ANSWER = {
    "plan": {"enum": ["exact", "hnsw", "hnsw+exact", "ivfflat", "ivfflat+exact", "text", "hybrid"]},
    "ef": NULLABLE_INTEGER,
    "candidates": INTEGER,
    "exhausted": BOOLEAN,
}
MATCHES = {"matches": _list(_point), **ANSWER, "next_cursor": NULLABLE}
COUNT = {
    "type": "object",
    "properties": {"count": INTEGER, "estimated": BOOLEAN},
    "required": ["count"],
}

# By the route's name: what it does, its body, its status and the schema of its answer (None: no body).
CALLS: dict[str, tuple[str, type | None, int, dict | None]] = {
    "simple_add": (
        "Add one vector to the collection `default`",
        bodies.SimpleAdd,
        201,
        _reference("VectorsSimple"),
    ),
    "simple_search": (
        "Search the collection `default`",
        bodies.SimpleSearch,
        200,
        _object(results=_list(_point), count=INTEGER),
    ),
    "simple_get": ("Show a vector of `default`", None, 200, _reference("VectorsSimpleStored")),
    "simple_delete": ("Delete a vector of `default`", None, 204, None),
    "collections_list": ("List collections", None, 200, _page(_collection)),
    "collections_create": ("Make a collection", bodies.CollectionCreate, 201, _collection),
    "collections_get": ("Show a collection", None, 200, _collection),
    "collections_update": ("Change a collection", bodies.CollectionUpdate, 200, _collection),
    "collections_delete": ("Drop a collection", None, 204, None),
    "collections_stats": (
        "Count a collection exactly, by namespace",
        None,
        200,
        _reference("VectorsStats"),
    ),
    "aliases_list": ("List aliases", None, 200, _page(_reference("VectorsAlias"))),
    "aliases_get": ("Show an alias", None, 200, _reference("VectorsAlias")),
    "aliases_put": (
        "Make an alias, or switch it to another collection",
        bodies.AliasPut,
        200,
        _reference("VectorsAlias"),
    ),
    "aliases_delete": ("Take an alias away", None, 204, None),
    "index_get": ("Show the state of the index", None, 200, _reference("VectorsIndex")),
    "index_build": ("Build an index", bodies.IndexOptions, 202, _reference("VectorsIndexBuild")),
    "index_delete": ("Drop the index", None, 204, None),
    "recall_measure": ("Measure the recall", bodies.RecallMeasure, 202, _job),
    "recall_list": ("List measurements of the recall", None, 200, _page(_reference("VectorsRecall"))),
    "projection": (
        "Show a sample of points in two dimensions",
        None,
        200,
        _object(
            points=_list(_object(id=STRING, namespace=STRING, x=NUMBER, y=NUMBER, value={})),
            explained=_list(NUMBER),
            sampled=INTEGER,
            total=INTEGER,
            took_ms=NUMBER,
        ),
    ),
    "slow_queries_list": ("List slow queries", None, 200, _page(_reference("VectorsSlowQuery"))),
    "upsert": (
        "Insert or replace a batch of points",
        bodies.Upsert,
        200,
        _object(upserted=INTEGER, errors=_list(OBJECT)),
    ),
    "query": (
        "Find the nearest points",
        bodies.Query,
        200,
        {
            "oneOf": [
                _object(**MATCHES, took_ms=NUMBER),
                _object(answers=_list(_object(**MATCHES)), took_ms=NUMBER),
                _object(groups=_list(_object(value={}, matches=_list(_point))), **ANSWER, took_ms=NUMBER),
            ]
        },
    ),
    "recommend": (
        "Find the points like some and unlike others",
        bodies.Recommend,
        200,
        _object(matches=_list(_point), **ANSWER, took_ms=NUMBER),
    ),
    "update": (
        "Change parts of points",
        bodies.Update,
        200,
        _object(updated=INTEGER, missing=_list(STRING)),
    ),
    "namespaces_list": (
        "List the namespaces",
        None,
        200,
        _page(_reference("VectorsNamespace")),
    ),
    "namespaces_delete": ("Delete a namespace and its points", None, 200, _object(deleted=INTEGER)),
    "fetch": (
        "Fetch points by ids",
        bodies.Fetch,
        200,
        _object(points=_list(_point), missing=_list(STRING)),
    ),
    "delete": ("Delete points", bodies.Delete, 200, _object(deleted=INTEGER)),
    "count": ("Count points", bodies.Count, 200, COUNT),
    "scroll": (
        "Read all points, page by page",
        bodies.Scroll,
        200,
        _object(points=_list(_point), next_cursor=NULLABLE),
    ),
    "uploads_list": ("List the uploads of a collection", None, 200, _page(_upload)),
    "uploads_create": ("Begin an upload for an import", bodies.UploadCreate, 201, _upload),
    "uploads_get": ("Show an upload", None, 200, _upload),
    "uploads_write": ("Send the next bytes of an upload", bytes, 200, _upload),
    "uploads_delete": ("Delete an upload", None, 204, None),
    "import": ("Import points", bodies.ImportStart, 202, _job),
    "export": ("Read all points in one stream", None, 200, _reference("VectorsExportLine")),
    "export_start": ("Export points to a file or URL", bodies.ExportStart, 202, _job),
    "checksum": (
        "Compute a checksum of all points",
        None,
        200,
        _object(points=INTEGER, checksum=STRING, took_ms=NUMBER),
    ),
    "jobs_list": ("List jobs", None, 200, _page(_job)),
    "jobs_get": ("Show a job", None, 200, _job),
    "jobs_cancel": ("Stop a job", None, 200, _job),
    "keys_list": ("List the target's own API keys", None, 200, _page(_reference("VectorsApiKey"))),
    "keys_create": (
        "Make an API key of the target",
        bodies.ApiKeyCreate,
        201,
        _reference("VectorsApiKeyMade"),
    ),
    "keys_update": (
        "Change an API key of the target",
        bodies.ApiKeyUpdate,
        200,
        _reference("VectorsApiKey"),
    ),
    "keys_delete": ("Delete an API key of the target", None, 204, None),
}
TIME = {"type": "string", "format": "date-time"}
PAGE = {"limit": {"type": "integer", "minimum": 1, "maximum": 200}, "cursor": STRING}
# The query string's parameters by the route's name, and which of them must be there.
PARAMETERS = {
    "collections_list": PAGE,
    "aliases_list": PAGE,
    "jobs_list": PAGE,
    "recall_list": PAGE | {"since": TIME, "until": TIME},
    "projection": {
        "sample": {"type": "integer", "minimum": 2, "maximum": 5000},
        "namespace": STRING,
        "color": STRING,
        "seed": {"type": "integer", "minimum": 0},
    },
    "slow_queries_list": PAGE | {"collection": STRING, "since": TIME, "until": TIME},
    "namespaces_list": PAGE | {"prefix": STRING},
    "namespaces_delete": {"name": STRING},
    "uploads_list": PAGE,
    "uploads_write": {"offset": {"type": "integer", "minimum": 0}},
    "checksum": {"namespace": STRING},
    "export": {
        "format": {"enum": ["ndjson", "parquet"]},
        "namespace": STRING,
        "filter": STRING,
        "vectors": {"enum": ["b64", "list", "none"]},
        "after_namespace": STRING,
        "after_id": STRING,
    },
    "upsert": {
        "namespace": STRING,
        "batch": {"type": "integer", "minimum": 1},
        "results": {"enum": ["all", "errors"]},
    },
}
REQUIRED = {("namespaces_delete", "name"), ("uploads_write", "offset")}
PARAMETER_OF = {
    "collections": "collection",
    "aliases": "alias",
    "jobs": "job",
    "uploads": "upload",
    "api-keys": "key",
    "": "id",
}


def paths(prefix: str, tag: str) -> dict:
    """The path items of every call below a prefix, which may have parameters of its own."""
    found: dict[str, dict] = {}
    outer = [part.strip("{}") for part in prefix.split("/") if part.startswith("{")]
    for parts, methods in endpoints.ROUTES.items():
        inner = PARAMETER_OF.get(parts[0] if len(parts) > 1 else "", "id")
        named = [f"{{{inner}}}" if part == "{}" else part for part in parts]
        path = "/".join([prefix, *named])
        names = [*outer, *([inner] if "{}" in parts else [])]
        found[path] = {
            method.lower(): _operation(method, route, path, tag, names) for method, route in methods.items()
        }
    return found


def _operation(method: str, route: Route, path: str, tag: str, names: list[str]) -> dict:
    summary, body, status, answer = CALLS[route.name]
    words = path.removeprefix("/api/v1/").replace("-", "_").replace("{", "by_").replace("}", "").split("/")
    parameters = [{"in": "path", "name": name, "required": True, "schema": STRING} for name in names]
    for name, schema in PARAMETERS.get(route.name, {}).items():
        needed = {"required": True} if (route.name, name) in REQUIRED else {}
        parameters.append({"in": "query", "name": name, **needed, "schema": schema})
    answered = {"description": ""}
    if answer is not None:
        kind = "application/x-ndjson" if route.name == "export" else "application/json"
        answered["content"] = {kind: {"schema": answer}}
        if route.name == "export":
            answered["content"]["application/vnd.apache.parquet"] = {"schema": BINARY}
    statuses = ["400", "401", "403", "404", "409", "413", "415", "422", "429", "503"]
    operation = {
        "operationId": f"{method.lower()}_{'_'.join(words)}",
        "summary": summary,
        "description": f"Needs the role `{route.role}`.",
        "tags": [tag],
        "security": [{"bearer": []}, {"session": []}],
        "responses": {str(status): answered}
        | {code: {"$ref": f"#/components/responses/Problem{code}"} for code in statuses},
    }
    if parameters:
        operation["parameters"] = parameters
    if body is bytes:
        content = {"application/octet-stream": {"schema": BINARY}}
        operation["requestBody"] = {"required": True, "content": content}
    elif body is not None:
        content = {"application/json": {"schema": _reference(f"Vectors{body.__name__}Request")}}
        if "ndjson" in route.takes:
            content["application/x-ndjson"] = {"schema": _reference("VectorsPointRequest")}
            answered["content"]["application/x-ndjson"] = {"schema": _reference("VectorsPointResult")}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def schemas() -> dict:
    """The components that the paths refer to."""
    named = {body for _, body, _, _ in CALLS.values() if body not in (None, bytes)}
    used = {body for body in named if body.__name__ not in RAW_BODIES}
    _, made = msgspec.json.schema_components(
        sorted(used, key=lambda body: body.__name__), ref_template="#/components/schemas/Vectors{name}Request"
    )
    return SCHEMAS | {f"Vectors{name}Request": schema for name, schema in (made | RAW_BODIES).items()}
