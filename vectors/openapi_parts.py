"""What the vector API's description in OpenAPI is made of: forms of values, answers, and raw bodies."""

STRING, NUMBER, INTEGER, BOOLEAN = ({"type": kind} for kind in ("string", "number", "integer", "boolean"))
OBJECT = {"type": "object", "additionalProperties": True}
NULLABLE = {"type": ["string", "null"]}
NULLABLE_OBJECT = {"type": ["object", "null"], "additionalProperties": True}
NULLABLE_NUMBER = {"type": ["number", "null"]}
NULLABLE_INTEGER = {"type": ["integer", "null"]}
VECTOR = {"type": "array", "items": NUMBER}
BINARY = {"type": "string", "format": "binary"}


def object_of(**properties) -> dict:
    return {"type": "object", "properties": properties, "required": list(properties)}


def more_of(schema: dict, **properties) -> dict:
    return object_of(**schema["properties"], **properties)


def list_of(items: dict) -> dict:
    return {"type": "array", "items": items}


def reference(name: str) -> dict:
    return {"$ref": f"#/components/schemas/{name}"}


def page_of(items: dict) -> dict:
    return object_of(items=list_of(items), next_cursor=NULLABLE)


POINT = {
    "type": "object",
    "properties": {
        "id": STRING,
        "namespace": STRING,
        "score": NUMBER,
        "scores": object_of(vector=NULLABLE_NUMBER, text=NULLABLE_NUMBER),
        "content": NULLABLE,
        "metadata": OBJECT,
        "vector": VECTOR,
    },
    "required": ["id"],
}
FIELD_TYPE = {"enum": ["keyword", "number", "boolean", "datetime"]}
COLLECTION = object_of(
    id=STRING,
    name=STRING,
    dimension=INTEGER,
    metric={"enum": ["cosine", "l2", "ip", "l1", "hamming", "jaccard"]},
    aliases=list_of(STRING),
    fields=list_of(object_of(name=STRING, type=FIELD_TYPE, indexed=BOOLEAN)),
    text={"oneOf": [object_of(language=STRING, indexed=BOOLEAN), {"type": "null"}]},
    points=INTEGER,
    points_are_exact=BOOLEAN,
    table_bytes=INTEGER,
    index_bytes=INTEGER,
    index=object_of(
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
ALIAS = object_of(alias=STRING, collection=STRING, created_at=STRING, updated_at=STRING)
SLOW_QUERY = object_of(
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
RECALL = object_of(
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
NAMESPACE = object_of(name=STRING, points=INTEGER)
API_KEY = object_of(
    id=STRING,
    name=STRING,
    role=STRING,
    hint=STRING,
    created_at=STRING,
    expires_at=NULLABLE,
    requests_per_second=NULLABLE_NUMBER,
    burst=NULLABLE_INTEGER,
)
SIMPLE = object_of(id=STRING, content=NULLABLE, metadata=OBJECT)
# What a build will take; the warning says that it does not fit.
BUILD_NEEDS = {"memory_needed_bytes": INTEGER, "memory_limit_bytes": INTEGER, "warning": NULLABLE}
JOB = object_of(
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
    "VectorsStats": more_of(COLLECTION, namespaces=list_of(NAMESPACE)),
    "VectorsAlias": ALIAS,
    "VectorsNamespace": NAMESPACE,
    "VectorsRecall": RECALL,
    "VectorsSlowQuery": SLOW_QUERY,
    "VectorsIndex": object_of(
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
        job={"oneOf": [reference("VectorsJob"), {"type": "null"}]},
    ),
    "VectorsUpload": object_of(
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
                    "after": list_of(STRING),
                    "error": OBJECT,
                },
                "required": ["points", "checksum"],
            },
        },
    },
    "VectorsJob": JOB,
    "VectorsIndexBuild": more_of(JOB, **BUILD_NEEDS),
    "VectorsPointResult": {
        "type": "object",
        "description": "A line of the answer to lines: of a point, of how far it is, or at the end of all.",
        "properties": {
            "line": INTEGER,
            "id": NULLABLE,
            "status": {"enum": ["upserted"]},
            "error": OBJECT,
            "progress": object_of(lines=INTEGER, upserted=INTEGER),
            "summary": {
                **object_of(lines=INTEGER, upserted=INTEGER, failed=INTEGER, took_ms=NUMBER),
                "description": "With `error`, the problem that ended the load early.",
            },
        },
    },
    "VectorsApiKey": API_KEY,
    "VectorsApiKeyMade": more_of(API_KEY, key=STRING),
    "VectorsSimple": SIMPLE,
    "VectorsSimpleStored": more_of(SIMPLE, embedding=VECTOR),
}
CHANGE = {
    "vector": VECTOR,
    "vector_b64": STRING,
    "content": NULLABLE,
    "metadata": OBJECT,
    "metadata_remove": list_of(STRING),
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
            "points": list_of(reference("VectorsPointRequest")),
            "ids": list_of(STRING),
            "vectors_b64": {"type": "string", "description": "All vectors, little-endian float32."},
            "contents": list_of(NULLABLE),
            "metadata": list_of(OBJECT),
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
            "points": list_of(reference("VectorsPointChangeRequest")),
            "ids": list_of(STRING),
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
