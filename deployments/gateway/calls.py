"""What is called: the path on the target, whether it may be sent twice, and how long a try may take."""

import re
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from controlplane import dialects
from controlplane.errors import NotFoundError

ATTEMPTS = 3
# Connection and first byte of the answer, for one try.
READ_SECONDS = 2.0
WRITE_SECONDS = 60.0
OTHER_SECONDS = 300.0

PREFIX = "/api/v1/vectors"
_PATH = re.compile(rb"\A/api/v1/targets/([^/]+)/vectors(/.*)?\Z")
# Reads of whole collections: what they begin with takes time, or is the end of it.
_LONG_READS = {"export", "checksum", "projection"}
_READS = {"query", "fetch", "count", "scroll", "recommend"}
_REPEATABLE_WRITES = {"points", "delete", "update"}
# The same of vendors' clients, by what stands behind the index or collection.
_DIALECT_READS = {
    "pinecone": {
        ("POST", "query"),
        ("POST", "describe_index_stats"),
        ("POST", "vectors/fetch_by_metadata"),
    },
    "qdrant": {
        ("POST", "points"),
        ("POST", "points/query"),
        ("POST", "points/query/batch"),
        ("POST", "points/scroll"),
        ("POST", "points/count"),
    },
}
_DIALECT_REPEATABLE_WRITES = {
    "pinecone": {("POST", "vectors/upsert"), ("POST", "vectors/update"), ("POST", "vectors/delete")},
    "qdrant": {
        ("PUT", "points"),
        ("PUT", "points/vectors"),
        ("POST", "points/batch"),
        ("POST", "points/delete"),
        ("POST", "points/payload"),
        ("PUT", "points/payload"),
        ("POST", "points/payload/delete"),
        ("POST", "points/payload/clear"),
    },
}
_PRINTABLE = "".join(chr(code) for code in range(33, 127))


class Call(NamedTuple):
    """A call to a target. `repeatable` calls end alike when they are carried out twice.

    `root` is what the caller's address has before the target's `path`, of a vendor's client.
    """

    target: str
    path: str
    kind: str
    repeatable: bool
    try_seconds: float
    root: str = ""


def call_of(method: str, raw_path: bytes) -> Call:
    """The call of a request; NotFoundError for what is not a path of the vector API."""
    found = _PATH.match(raw_path)
    if not found:
        raise NotFoundError("There is no such address; see /api/docs/.", code="unknown_address")
    rest = found[2] or b""
    # Decoded to the end, so that no reading of the path, however lenient, leaves the vector API.
    for part in unquote_to_bytes(rest).replace(b"\\", b"/").split(b"/"):
        if part in (b".", b"..") or b"\0" in part:
            raise NotFoundError("There is no such address; see /api/docs/.", code="unknown_address")
    target = unquote_to_bytes(found[1]).decode("utf-8", "replace")
    dialect = dialect_of(raw_path)
    if dialect:
        # At the target's root: the addresses it tells are made of the prefix that it is told.
        root = raw_path[: found.start(2)].decode("latin-1")
        parts = quote(rest, safe=_PRINTABLE).strip("/").split("/")[1:]
        return Call(target, quote(rest, safe=_PRINTABLE), *_dialect_nature(dialect, method, parts), root)
    path = PREFIX + quote(rest, safe=_PRINTABLE)
    return Call(target, path, *_nature(method, path.removeprefix(PREFIX).strip("/").split("/")))


def dialect_of(raw_path: bytes) -> str:
    """The name of the vendor's API that an address belongs to, in whose shape errors are told, or ""."""
    found = _PATH.match(raw_path)
    first = (found[2] or b"").strip(b"/").partition(b"/")[0].decode("latin-1") if found else ""
    return first if first in dialects.BODIES else ""


def _dialect_nature(dialect: str, method: str, parts: list[str]) -> tuple[str, bool, float]:
    behind = (method, "/".join(parts[2:]))
    if method in ("GET", "HEAD") or behind in _DIALECT_READS[dialect]:
        return "read", True, READ_SECONDS
    if behind in _DIALECT_REPEATABLE_WRITES[dialect]:
        return "write", True, WRITE_SECONDS
    return "other", False, OTHER_SECONDS


def _nature(method: str, parts: list[str]) -> tuple[str, bool, float]:
    if method in ("GET", "HEAD"):
        if len(parts) == 3 and parts[0] == "collections" and parts[2] in _LONG_READS:
            return "read", True, OTHER_SECONDS
        return "read", True, READ_SECONDS
    if method == "POST":
        if parts == ["search"]:
            return "read", True, READ_SECONDS
        if len(parts) == 3 and parts[0] == "collections":
            if parts[2] in _READS:
                return "read", True, READ_SECONDS
            if parts[2] in _REPEATABLE_WRITES:
                return "write", True, WRITE_SECONDS
    return "other", False, OTHER_SECONDS
