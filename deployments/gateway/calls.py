"""What is called: the path on the target, whether it may be sent twice, and how long a try may take."""

import re
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

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
_PRINTABLE = "".join(chr(code) for code in range(33, 127))


class Call(NamedTuple):
    """A call to a target. `repeatable` calls end alike when they are carried out twice."""

    target: str
    path: str
    kind: str
    repeatable: bool
    try_seconds: float


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
    path = PREFIX + quote(rest, safe=_PRINTABLE)
    return Call(target, path, *_nature(method, path.removeprefix(PREFIX).strip("/").split("/")))


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
