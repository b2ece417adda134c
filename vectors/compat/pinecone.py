"""Pinecone's API: the control plane. An index is a collection.

Requests and answers are the union of what the 2025-10 (SDK 8) and 2026-07 (SDK 10) versions of the API
hold, because a client leaves out of a list what it cannot read.
"""

from controlplane.errors import ForbiddenError, InvalidError, NotFoundError
from vectors import attributes, collections
from vectors.calls.base import OPERATOR, Response, answer
from vectors.compat.dialects import Dialect, Request, body_of

# Pinecone's names of the metrics, and this API's.
METRICS = {"cosine": "cosine", "euclidean": "l2", "dotproduct": "ip"}
NAMES = {ours: theirs for theirs, ours in METRICS.items()}
DENSE_FIELD = "_values"
LIST_PAGE = 200


dialect = Dialect("pinecone")


def index_model(request: Request, described: dict, kept: dict) -> dict:
    """An index as both versions of the API describe it; `described` and `kept` are the collection's."""
    dimension, metric = described["dimension"], NAMES.get(described["metric"], described["metric"])
    place = kept.get("place") or {"cloud": "aws", "region": "us-east-1"}
    capacity = {"mode": "OnDemand", "status": {"state": "Ready"}}
    model = {
        "name": described["name"],
        "dimension": dimension,
        "metric": metric,
        "vector_type": "dense",
        "host": f"{request.root_url}/indexes/{described['name']}",
        "deletion_protection": kept.get("deletion_protection", "disabled"),
        "status": {"ready": True, "state": "Ready"},
        "spec": {"serverless": place | {"read_capacity": capacity}},
        "schema": {
            "fields": {DENSE_FIELD: {"type": "dense_vector", "dimension": dimension, "metric": metric}}
        },
        "deployment": {"deployment_type": "managed"} | place,
        "read_capacity": capacity,
    }
    # A client of 2025-10 takes no null here.
    if kept.get("tags"):
        model["tags"] = kept["tags"]
    return model


def described_index(request: Request, name: str) -> dict:
    """The model of an index as the database has it; NotFoundError."""
    found = collections.collection_load(name)
    public_id = found.public_id
    kept = attributes.attributes_of([public_id]).get(public_id, {})
    shape = {"name": found.name, "dimension": found.dimension, "metric": found.metric}
    return index_model(request, shape, kept.get("pinecone", {}))


def object_at(body: dict, name: str) -> dict:
    """An object in a body, empty when not given; InvalidError."""
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidError(f"{name} is an object.", field=name)
    return value


def place_of(body: dict) -> dict:
    """{cloud, region} of where the client wants the index; kept and told again, no more."""
    spec, deployment = object_at(body, "spec"), object_at(body, "deployment")
    kind = deployment.get("deployment_type", "managed")
    dialect.refuse(
        spec=(
            [key for key in spec if key != "serverless"] or (kind != "managed" and kind),
            "There are no pods or environments here: use ServerlessSpec, and scale the target instead.",
        )
    )
    given = object_at(spec, "serverless") or deployment
    return {key: str(given.get(key) or other) for key, other in (("cloud", "aws"), ("region", "us-east-1"))}


def shape_of(body: dict) -> tuple[object, object]:
    """(dimension, metric) from either version's body."""
    fields = object_at(object_at(body, "schema"), "fields")
    kind = str(body.get("vector_type") or "dense")
    message = "Only dense vectors are served, without sparse values: search them in another engine."
    dialect.refuse(vector_type=(kind != "dense" or "_sparse_values" in fields, message))
    others = [name for name in fields if name != DENSE_FIELD]
    dialect.refuse(
        schema=(
            others,
            f"A schema holds the field {DENSE_FIELD} alone, of type dense_vector: documents and texts to"
            " embed are not served, and all metadata can be filtered without being declared.",
        )
    )
    dense = object_at(fields, DENSE_FIELD)
    if dense and dense.get("type") != "dense_vector":
        dialect.refuse(schema=(True, message))
    return dense.get("dimension", body.get("dimension")), dense.get("metric", body.get("metric"))


def protection_of(body: dict) -> str | None:
    value = body.get("deletion_protection")
    if value not in (None, "enabled", "disabled"):
        raise InvalidError("It is enabled or disabled.", field="deletion_protection")
    return value


def tags_of(body: dict) -> dict[str, str]:
    tags = object_at(body, "tags")
    if not all(isinstance(value, str) for value in tags.values()) or len(tags) > 100:
        raise InvalidError("Tags are up to 100 texts by name.", field="tags")
    return tags


@dialect.call("GET", "indexes")
def indexes_list(request: Request) -> Response:
    found, after = [], ""
    while after is not None:
        page, after = collections.collection_list(limit=LIST_PAGE, after=after)
        found += page
    kept = attributes.attributes_of([item["id"] for item in found])
    models = [index_model(request, item, kept.get(item["id"], {}).get("pinecone", {})) for item in found]
    return answer({"indexes": models})


@dialect.call("POST", "indexes", OPERATOR)
def indexes_create(request: Request) -> Response:
    body = body_of(request)
    backup = "Indexes are made empty here; load them by upserting, or by importing into the collection."
    dialect.refuse(
        source_collection=(body.get("source_collection"), backup),
        source_backup_id=(body.get("source_backup_id"), backup),
        embed=(body.get("embed"), "No text is embedded here: send vectors."),
        cmek_id=(body.get("cmek_id"), "Keys of yours cannot encrypt an index here."),
    )
    name, place = body.get("name"), place_of(body)
    dimension, metric = shape_of(body)
    if not isinstance(name, str):
        raise InvalidError("An index has a name.", field="name", code="required")
    if not isinstance(dimension, int) or isinstance(dimension, bool):
        raise InvalidError("An index has a dimension.", field="dimension", code="required")
    metric = str(metric or "cosine").lower()
    if metric not in METRICS:
        raise InvalidError(f"The metric is one of {', '.join(METRICS)}.", field="metric")
    protection, tags = protection_of(body), tags_of(body)
    made = collections.collection_create(name=name, dimension=dimension, metric=METRICS[metric])
    kept = {"place": place, "tags": {key: value for key, value in tags.items() if value}}
    if protection:
        kept["deletion_protection"] = protection
    attributes.attributes_change(made, lambda before: before | {"pinecone": kept})
    return answer(described_index(request, name), 201)


@dialect.call("POST", "indexes/create-for-model", OPERATOR)
def indexes_create_for_model(request: Request) -> Response:
    dialect.refuse(embed=(True, "No text is embedded here: create an index with a dimension, send vectors."))


@dialect.call("GET", "indexes/{}")
def indexes_describe(request: Request, name: str) -> Response:
    return answer(described_index(request, name))


@dialect.call("PATCH", "indexes/{}", OPERATOR)
def indexes_configure(request: Request, name: str) -> Response:
    body = body_of(request)
    scaling = "There is nothing to scale per index here: scale the target through the control plane."
    read = object_at(body, "read_capacity") or object_at(
        object_at(object_at(body, "spec"), "serverless"), "read_capacity"
    )
    dialect.refuse(
        spec=("pod" in object_at(body, "spec"), scaling),
        deployment=(object_at(body, "deployment"), scaling),
        read_capacity=(read.get("mode", "OnDemand") != "OnDemand", scaling),
        embed=(body.get("embed"), "No text is embedded here: send vectors."),
        schema=(body.get("schema"), "All metadata can be filtered without being declared."),
    )
    protection, tags = protection_of(body), tags_of(body)

    def change(before: dict) -> dict:
        kept = dict(before.get("pinecone", {}))
        merged = kept.get("tags", {}) | tags
        kept["tags"] = {key: value for key, value in merged.items() if value}
        if protection:
            kept["deletion_protection"] = protection
        return before | {"pinecone": kept}

    attributes.attributes_change(collections.collection_load(name), change)
    return answer(described_index(request, name))


@dialect.call("DELETE", "indexes/{}", OPERATOR)
def indexes_delete(request: Request, name: str) -> Response:
    if described_index(request, name)["deletion_protection"] == "enabled":
        raise ForbiddenError(
            "Deletion protection is enabled for this index. Disable it with configure_index first.",
            code="protected",
        )
    collections.collection_delete(name=name)
    return Response(202, b"")


@dialect.call("GET", "collections")
def collections_list(request: Request) -> Response:
    """Pinecone's collections are copies of pod indexes, which there are none of."""
    return answer({"collections": []})


@dialect.call("GET", "backups")
def backups_list(request: Request) -> Response:
    return answer({"data": [], "pagination": None})


def missing_namespace(name: str) -> NotFoundError:
    return NotFoundError(f"There is no namespace {name[:100]!r} in this index.", code="unknown_namespace")
