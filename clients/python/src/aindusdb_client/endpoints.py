"""The calls of the vector API: where each is, what it answers, and when it may be sent again.

`tests/clients/test_schema.py` holds this table, the methods' parameters and the dataclasses against
docs/openapi.yaml.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from aindusdb_client import models
from aindusdb_client.models import Page

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A call. `repeatable` ones end alike when they are carried out twice.

    The others are sent again only when it is sure that nothing was done: the server was too busy to begin
    (429), or took no connection.
    """

    method: str
    path: str
    answers: tuple[Any, ...] = ()
    repeatable: bool = True


def calls(endpoint: Endpoint, **fields: tuple[str, ...]) -> Callable[[F], F]:
    """A decorator: the method makes this call. `fields` tells which fields of the body a parameter fills
    that is called otherwise."""

    def mark(method: F) -> F:
        marked: Any = method
        marked.endpoints = (*getattr(method, "endpoints", ()), (endpoint, fields))
        return method

    return mark


_C = "collections/{collection}"

COLLECTIONS_LIST = Endpoint("GET", "collections", (Page[models.CollectionInfo],))
# Made again after a lost answer it is told that it exists; Client.collection_create then looks at it.
COLLECTIONS_CREATE = Endpoint("POST", "collections", (models.CollectionInfo,))
COLLECTIONS_GET = Endpoint("GET", _C, (models.CollectionInfo,))
COLLECTIONS_STATS = Endpoint("GET", f"{_C}/stats", (models.CollectionStats,))
COLLECTIONS_UPDATE = Endpoint("PATCH", _C, (models.CollectionInfo,))
COLLECTIONS_DELETE = Endpoint("DELETE", _C)

ALIASES_LIST = Endpoint("GET", "aliases", (Page[models.Alias],))
ALIASES_GET = Endpoint("GET", "aliases/{alias}", (models.Alias,))
ALIASES_PUT = Endpoint("PUT", "aliases/{alias}", (models.Alias,))
ALIASES_DELETE = Endpoint("DELETE", "aliases/{alias}")

UPSERT = Endpoint("POST", f"{_C}/points", (models.UpsertResult,))
QUERY = Endpoint("POST", f"{_C}/query", (models.QueryResult, models.QueryAnswers, models.GroupedResult))
RECOMMEND = Endpoint("POST", f"{_C}/recommend", (models.QueryResult,))
UPDATE = Endpoint("POST", f"{_C}/update", (models.UpdateResult,))
FETCH = Endpoint("POST", f"{_C}/fetch", (models.FetchResult,))
DELETE = Endpoint("POST", f"{_C}/delete", (models.Deleted,))
COUNT = Endpoint("POST", f"{_C}/count", (models.Count,))
SCROLL = Endpoint("POST", f"{_C}/scroll", (models.ScrollPage,))
NAMESPACES_LIST = Endpoint("GET", f"{_C}/namespaces", (Page[models.Namespace],))
NAMESPACES_DELETE = Endpoint("DELETE", f"{_C}/namespaces", (models.Deleted,))

INDEX_GET = Endpoint("GET", f"{_C}/index", (models.IndexInfo,))
INDEX_BUILD = Endpoint("POST", f"{_C}/index", (models.IndexJob,), repeatable=False)
INDEX_DELETE = Endpoint("DELETE", f"{_C}/index")
PROJECTION = Endpoint("GET", f"{_C}/projection", (models.Projection,))

RECALL_MEASURE = Endpoint("POST", f"{_C}/recall", (models.Job,), repeatable=False)
RECALL_LIST = Endpoint("GET", f"{_C}/recall", (Page[models.RecallMeasurement],))

SLOW_QUERIES_LIST = Endpoint("GET", "slow-queries", (Page[models.SlowQuery],))

UPLOADS_LIST = Endpoint("GET", f"{_C}/uploads", (Page[models.Upload],))
UPLOADS_CREATE = Endpoint("POST", f"{_C}/uploads", (models.Upload,))
UPLOADS_GET = Endpoint("GET", "uploads/{upload}", (models.Upload,))
# Sent again after a lost answer, the offset is wrong and the answer says where to go on.
UPLOADS_WRITE = Endpoint("PUT", "uploads/{upload}", (models.Upload,))
UPLOADS_DELETE = Endpoint("DELETE", "uploads/{upload}")
IMPORT = Endpoint("POST", f"{_C}/import", (models.Job,), repeatable=False)
EXPORT_START = Endpoint("POST", f"{_C}/export", (models.Job,), repeatable=False)
EXPORT = Endpoint("GET", f"{_C}/export")
CHECKSUM = Endpoint("GET", f"{_C}/checksum", (models.Checksum,))

JOBS_LIST = Endpoint("GET", "jobs", (Page[models.Job],))
JOBS_GET = Endpoint("GET", "jobs/{job}", (models.Job,))
JOBS_CANCEL = Endpoint("POST", "jobs/{job}/cancel", (models.Job,))

KEYS_LIST = Endpoint("GET", "api-keys", (Page[models.ApiKey],))
KEYS_CREATE = Endpoint("POST", "api-keys", (models.NewApiKey,), repeatable=False)
KEYS_UPDATE = Endpoint("PATCH", "api-keys/{key}", (models.ApiKey,))
KEYS_DELETE = Endpoint("DELETE", "api-keys/{key}")

SIMPLE_ADD = Endpoint("POST", "", (models.SimpleVector,), repeatable=False)
SIMPLE_SEARCH = Endpoint("POST", "search", (models.SimpleResults,))
SIMPLE_GET = Endpoint("GET", "{id}", (models.StoredVector,))
SIMPLE_DELETE = Endpoint("DELETE", "{id}")
