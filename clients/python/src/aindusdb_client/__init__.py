"""A typed client of AindusDB's vector API.

from aindusdb_client import Client

client = Client("http://127.0.0.1:8000", api_key="avk_...")
docs = client.collection_create("docs", dimension=384)
docs.upsert([("a", [0.1] * 384, {"section": "admin"})])
for match in docs.query([0.1] * 384, top_k=3):
    print(match.id, match.score, match.metadata)
"""

from aindusdb_client.bodies import FieldOptions, IndexOptions, PointChange, Query, TextOptions
from aindusdb_client.client import Client
from aindusdb_client.collection import Collection
from aindusdb_client.errors import (
    AindusError,
    ApiError,
    BadRequestError,
    ConflictError,
    DeadlineExceededError,
    FieldError,
    InvalidError,
    JobFailedError,
    LoadIncompleteError,
    NoAnswerError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    ServerError,
    TooLargeError,
    UnauthenticatedError,
    UnavailableError,
    UnexpectedAnswerError,
)
from aindusdb_client.models import (
    Alias,
    ApiKey,
    CollectionInfo,
    CollectionStats,
    Count,
    DeclaredField,
    FetchResult,
    FullText,
    Group,
    GroupedResult,
    IndexInfo,
    IndexSummary,
    Job,
    Namespace,
    NewApiKey,
    Page,
    Point,
    PointResult,
    QueryResult,
    RecallMeasurement,
    ScrollPage,
    SimpleResults,
    SimpleVector,
    StoredVector,
    StreamResult,
    UpdateResult,
    UpsertResult,
)
from aindusdb_client.points import KEEP
from aindusdb_client.progress import Progress, ProgressBar, Status
from aindusdb_client.retrying import NO_RETRIES, RetryPolicy

__version__ = "0.1.0"
__all__ = [
    "KEEP",
    "NO_RETRIES",
    "AindusError",
    "Alias",
    "ApiError",
    "ApiKey",
    "BadRequestError",
    "Client",
    "Collection",
    "CollectionInfo",
    "CollectionStats",
    "ConflictError",
    "Count",
    "DeadlineExceededError",
    "DeclaredField",
    "FetchResult",
    "FieldError",
    "FieldOptions",
    "FullText",
    "Group",
    "GroupedResult",
    "IndexInfo",
    "IndexOptions",
    "IndexSummary",
    "InvalidError",
    "Job",
    "JobFailedError",
    "LoadIncompleteError",
    "Namespace",
    "NewApiKey",
    "NoAnswerError",
    "NotFoundError",
    "Page",
    "PermissionDeniedError",
    "Point",
    "PointChange",
    "PointResult",
    "Progress",
    "ProgressBar",
    "Query",
    "QueryResult",
    "RateLimitedError",
    "RecallMeasurement",
    "RetryPolicy",
    "ScrollPage",
    "ServerError",
    "SimpleResults",
    "SimpleVector",
    "Status",
    "StoredVector",
    "StreamResult",
    "TextOptions",
    "TooLargeError",
    "UnauthenticatedError",
    "UnavailableError",
    "UnexpectedAnswerError",
    "UpdateResult",
    "UpsertResult",
]
