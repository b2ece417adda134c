"""Calls that move points in bulk: uploads, import, export, checksum."""

import orjson

from controlplane.errors import InvalidError
from vectors import bodies, streams
from vectors.calls.base import (
    NDJSON,
    OPERATOR,
    PREFIX,
    VIEWER,
    Request,
    Response,
    Route,
    answer,
    limit_of,
    no_nul,
)
from vectors.points import NAMESPACE_MOST
from vectors.transfer import checksums, exporting, importing, uploads

# Bodies of whatever media type are read as they come.
ANY_TYPE = ("",)
PARQUET = ("Content-Type", "application/vnd.apache.parquet")


def uploads_create(request: Request, name: str) -> Response:
    body = bodies.decode(bodies.UploadCreate, request.body or b"{}")
    made = uploads.upload_create(name=name, size_bytes=body.size_bytes)
    return answer(made, 201, (("Location", f"{PREFIX}/uploads/{made['id']}"),))


def uploads_list(request: Request, name: str) -> Response:
    parameters = request.parameters("limit", "cursor")
    items, last = uploads.upload_list(
        name=name, limit=limit_of(parameters), after=parameters.get("cursor", "")
    )
    return answer({"items": items, "next_cursor": last})


def uploads_get(request: Request, upload: str) -> Response:
    return answer(uploads.upload_get(upload))


def uploads_write(request: Request, upload: str) -> Response:
    text = request.parameters("offset").get("offset", "")
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise InvalidError(
            "Say where these bytes begin: ?offset=<received_bytes of the upload>.", field="offset"
        )
    # A slow sender keeps a thread as long as it sends.
    streams.place_take()
    try:
        return answer(uploads.upload_write(upload, offset=int(text), read=request.read))
    finally:
        streams.place().release()


def uploads_delete(request: Request, upload: str) -> Response:
    uploads.upload_delete(upload)
    return Response(204, b"")


def points_import(request: Request, name: str) -> Response:
    body = bodies.decode(bodies.ImportStart, request.body)
    if sum(place is not None for place in (body.upload, body.url, body.path)) != 1:
        raise InvalidError("Send one of upload, url and path.", code="required", field="upload")
    no_nul(body.namespace, "namespace")
    columns = None
    if body.columns is not None:
        columns = {field: getattr(body.columns, field) for field in body.columns.__struct_fields__}
    job = importing.import_start(
        name=name,
        upload=body.upload,
        url=body.url,
        path=body.path,
        format=body.format,
        namespace=body.namespace,
        on_error=body.on_error,
        columns=columns,
        other_columns=body.other_columns,
    )
    return answer(job, 202, (("Location", f"{PREFIX}/jobs/{job['id']}"),))


def points_export(request: Request, name: str) -> Response:
    parameters = request.parameters("format", "namespace", "filter", "vectors", "after_namespace", "after_id")
    kind = parameters.get("format", "ndjson")
    if kind not in ("ndjson", "parquet"):
        raise InvalidError("format is ndjson, or parquet.", field="format")
    vectors, after = parameters.get("vectors", "b64"), after_of(parameters)
    if vectors not in ("b64", "list", "none"):
        raise InvalidError("vectors is b64, list or none.", field="vectors")
    if kind == "parquet" and (vectors != "b64" or after is not None):
        raise InvalidError(
            "Parquet has its vectors as lists of float32, and goes from the beginning to the end.",
            field="format",
        )
    stream = exporting.export_stream(
        name,
        format=kind,
        vectors=vectors,
        namespace=namespace_of(parameters),
        filter=filter_of(parameters),
        after=after,
    )
    return Response(200, stream, (NDJSON if kind == "ndjson" else PARQUET,))


def points_export_start(request: Request, name: str) -> Response:
    body = bodies.decode(bodies.ExportStart, request.body)
    if (body.url is None) == (body.path is None):
        raise InvalidError("Send one of url and path.", code="required", field="url")
    no_nul(body.namespace or "", "namespace")
    job = exporting.export_start(
        name=name,
        url=body.url,
        path=body.path,
        format=body.format,
        vectors=body.vectors,
        namespace=body.namespace,
        filter=body.filter,
    )
    return answer(job, 202, (("Location", f"{PREFIX}/jobs/{job['id']}"),))


def namespace_of(parameters: dict[str, str]) -> str | None:
    """The namespace asked for; None: all."""
    namespace = parameters.get("namespace")
    if namespace is not None:
        no_nul(namespace, "namespace")
        if len(namespace) > NAMESPACE_MOST:
            raise InvalidError(f"A namespace has up to {NAMESPACE_MOST} characters.", field="namespace")
    return namespace


def filter_of(parameters: dict[str, str]) -> dict | None:
    """The filter asked for, JSON in the query string."""
    text = parameters.get("filter")
    if text is None:
        return None
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise InvalidError("filter is a filter in JSON.", code="invalid_filter", field="filter")
    return found


def after_of(parameters: dict[str, str]) -> tuple[str, str] | None:
    """The point after which to go on."""
    if "after_id" not in parameters:
        if "after_namespace" in parameters:
            raise InvalidError("Say after_id too.", code="required", field="after_id")
        return None
    after = (parameters.get("after_namespace", ""), parameters["after_id"])
    no_nul("".join(after), "after_id")
    return after


def points_checksum(request: Request, name: str) -> Response:
    namespace = namespace_of(request.parameters("namespace"))
    return answer(checksums.collection_checksum(name, namespace=namespace))


ROUTES = {
    ("collections", "{}", "uploads"): {
        "GET": Route("uploads_list", VIEWER, uploads_list),
        "POST": Route("uploads_create", OPERATOR, uploads_create),
    },
    ("uploads", "{}"): {
        "GET": Route("uploads_get", VIEWER, uploads_get),
        "PUT": Route("uploads_write", OPERATOR, uploads_write, takes=ANY_TYPE),
        "DELETE": Route("uploads_delete", OPERATOR, uploads_delete),
    },
    ("collections", "{}", "import"): {"POST": Route("import", OPERATOR, points_import)},
    ("collections", "{}", "export"): {
        "GET": Route("export", VIEWER, points_export),
        "POST": Route("export_start", OPERATOR, points_export_start),
    },
    ("collections", "{}", "checksum"): {"GET": Route("checksum", VIEWER, points_checksum)},
}
