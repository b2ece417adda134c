"""The vector API in OpenAPI: the calls come from `endpoints.ROUTES`, the bodies from `bodies`."""

import msgspec

from vectors import bodies, endpoints
from vectors.calls.base import Route
from vectors.openapi_parts import (
    BINARY,
    BOOLEAN,
    INTEGER,
    NULLABLE,
    NULLABLE_INTEGER,
    NUMBER,
    OBJECT,
    RAW_BODIES,
    SCHEMAS,
    STRING,
    list_of,
    object_of,
    page_of,
    reference,
)

_collection, _job, _point, _upload = map(
    reference, ("VectorsCollection", "VectorsJob", "VectorsPoint", "VectorsUpload")
)
ANSWER = {
    "plan": {"enum": ["exact", "hnsw", "hnsw+exact", "ivfflat", "ivfflat+exact", "text", "hybrid"]},
    "ef": NULLABLE_INTEGER,
    "candidates": INTEGER,
    "exhausted": BOOLEAN,
}
MATCHES = {"matches": list_of(_point), **ANSWER, "next_cursor": NULLABLE}
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
        reference("VectorsSimple"),
    ),
    "simple_search": (
        "Search the collection `default`",
        bodies.SimpleSearch,
        200,
        object_of(results=list_of(_point), count=INTEGER),
    ),
    "simple_get": ("Show a vector of `default`", None, 200, reference("VectorsSimpleStored")),
    "simple_delete": ("Delete a vector of `default`", None, 204, None),
    "collections_list": ("List collections", None, 200, page_of(_collection)),
    "collections_create": ("Make a collection", bodies.CollectionCreate, 201, _collection),
    "collections_get": ("Show a collection", None, 200, _collection),
    "collections_update": ("Change a collection", bodies.CollectionUpdate, 200, _collection),
    "collections_delete": ("Drop a collection", None, 204, None),
    "collections_stats": (
        "Count a collection exactly, by namespace",
        None,
        200,
        reference("VectorsStats"),
    ),
    "aliases_list": ("List aliases", None, 200, page_of(reference("VectorsAlias"))),
    "aliases_get": ("Show an alias", None, 200, reference("VectorsAlias")),
    "aliases_put": (
        "Make an alias, or switch it to another collection",
        bodies.AliasPut,
        200,
        reference("VectorsAlias"),
    ),
    "aliases_delete": ("Take an alias away", None, 204, None),
    "index_get": ("Show the state of the index", None, 200, reference("VectorsIndex")),
    "index_build": ("Build an index", bodies.IndexOptions, 202, reference("VectorsIndexBuild")),
    "index_delete": ("Drop the index", None, 204, None),
    "recall_measure": ("Measure the recall", bodies.RecallMeasure, 202, _job),
    "recall_list": ("List measurements of the recall", None, 200, page_of(reference("VectorsRecall"))),
    "projection": (
        "Show a sample of points in two dimensions",
        None,
        200,
        object_of(
            points=list_of(object_of(id=STRING, namespace=STRING, x=NUMBER, y=NUMBER, value={})),
            explained=list_of(NUMBER),
            sampled=INTEGER,
            total=INTEGER,
            took_ms=NUMBER,
        ),
    ),
    "slow_queries_list": ("List slow queries", None, 200, page_of(reference("VectorsSlowQuery"))),
    "upsert": (
        "Insert or replace a batch of points",
        bodies.Upsert,
        200,
        object_of(upserted=INTEGER, errors=list_of(OBJECT)),
    ),
    "query": (
        "Find the nearest points",
        bodies.Query,
        200,
        {
            "oneOf": [
                object_of(**MATCHES, took_ms=NUMBER),
                object_of(answers=list_of(object_of(**MATCHES)), took_ms=NUMBER),
                object_of(
                    groups=list_of(object_of(value={}, matches=list_of(_point))), **ANSWER, took_ms=NUMBER
                ),
            ]
        },
    ),
    "recommend": (
        "Find the points like some and unlike others",
        bodies.Recommend,
        200,
        object_of(matches=list_of(_point), **ANSWER, took_ms=NUMBER),
    ),
    "update": (
        "Change parts of points",
        bodies.Update,
        200,
        object_of(updated=INTEGER, missing=list_of(STRING)),
    ),
    "namespaces_list": (
        "List the namespaces",
        None,
        200,
        page_of(reference("VectorsNamespace")),
    ),
    "namespaces_delete": ("Delete a namespace and its points", None, 200, object_of(deleted=INTEGER)),
    "fetch": (
        "Fetch points by ids",
        bodies.Fetch,
        200,
        object_of(points=list_of(_point), missing=list_of(STRING)),
    ),
    "delete": ("Delete points", bodies.Delete, 200, object_of(deleted=INTEGER)),
    "count": ("Count points", bodies.Count, 200, COUNT),
    "scroll": (
        "Read all points, page by page",
        bodies.Scroll,
        200,
        object_of(points=list_of(_point), next_cursor=NULLABLE),
    ),
    "uploads_list": ("List the uploads of a collection", None, 200, page_of(_upload)),
    "uploads_create": ("Begin an upload for an import", bodies.UploadCreate, 201, _upload),
    "uploads_get": ("Show an upload", None, 200, _upload),
    "uploads_write": ("Send the next bytes of an upload", bytes, 200, _upload),
    "uploads_delete": ("Delete an upload", None, 204, None),
    "import": ("Import points", bodies.ImportStart, 202, _job),
    "export": ("Read all points in one stream", None, 200, reference("VectorsExportLine")),
    "export_start": ("Export points to a file or URL", bodies.ExportStart, 202, _job),
    "checksum": (
        "Compute a checksum of all points",
        None,
        200,
        object_of(points=INTEGER, checksum=STRING, took_ms=NUMBER),
    ),
    "jobs_list": ("List jobs", None, 200, page_of(_job)),
    "jobs_get": ("Show a job", None, 200, _job),
    "jobs_cancel": ("Stop a job", None, 200, _job),
    "keys_list": ("List the target's own API keys", None, 200, page_of(reference("VectorsApiKey"))),
    "keys_create": (
        "Make an API key of the target",
        bodies.ApiKeyCreate,
        201,
        reference("VectorsApiKeyMade"),
    ),
    "keys_update": (
        "Change an API key of the target",
        bodies.ApiKeyUpdate,
        200,
        reference("VectorsApiKey"),
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
        content = {"application/json": {"schema": reference(f"Vectors{body.__name__}Request")}}
        if "ndjson" in route.takes:
            content["application/x-ndjson"] = {"schema": reference("VectorsPointRequest")}
            answered["content"]["application/x-ndjson"] = {"schema": reference("VectorsPointResult")}
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
