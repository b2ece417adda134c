"""Who asks: JWTs signed with the target's key, and the target's own API keys.

Verified credentials are remembered by their text: a JWT until it expires, a key for KEY_SECONDS, so that
a deleted key stops working everywhere within that time.
"""

import base64
import binascii
import datetime
import hashlib
import hmac
import secrets
import time
from typing import NamedTuple

import msgspec
from django.conf import settings
from psycopg import errors as pg_errors

from controlplane import ids
from controlplane.errors import ForbiddenError, InvalidError, NotFoundError, UnauthenticatedError
from vectors import database, limits

ROLES = {"viewer": 0, "operator": 1, "admin": 2}
KEY_PREFIX = "avk_"
KEY_SECONDS = 5.0
REFUSED_SECONDS = 1.0
REMEMBERED_MOST = 10_000
TOKEN_MOST = 4096
CLOCK_SKEW_SECONDS = 5
KEY_COLUMNS = ("id", "name", "role", "hint", "created_at", "expires_at", "requests_per_second", "burst")


class UnknownKeyError(NotFoundError):
    """There is no such key."""

    code = "unknown_key"


class Principal(NamedTuple):
    """Who asks, and what they may."""

    subject: str
    role: str
    limit: limits.Limit | None = None


class _Header(msgspec.Struct):
    alg: str


class _Claims(msgspec.Struct):
    sub: str
    role: str
    exp: float
    nbf: float = 0.0


_header = msgspec.json.Decoder(_Header)
_claims = msgspec.json.Decoder(_Claims)
# Token text: (principal or None, monotonic time it is valid until).
_remembered: dict[str, tuple[Principal | None, float]] = {}


def _decoded(part: str) -> bytes:
    return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)


def jwt_verify(token: str, key: str, now: float | None = None) -> tuple[Principal, float]:
    """(principal, expiry in Unix time) of an HS256 JWT; UnauthenticatedError says what is wrong."""
    now = time.time() if now is None else now
    signed, _, signature = token.rpartition(".")
    head, _, body = signed.partition(".")
    try:
        algorithm = _header.decode(_decoded(head)).alg
        given = _decoded(signature)
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        raise UnauthenticatedError("This is no JWT.", code="invalid_token") from None
    if algorithm != "HS256":
        raise UnauthenticatedError("The JWT must be signed with HS256.", code="invalid_token")
    keys = (key, settings.VECTORS.get("jwt_secret_key_previous", ""))
    if not any(
        one and hmac.compare_digest(hmac.digest(one.encode(), signed.encode(), "sha256"), given)
        for one in keys
    ):
        raise UnauthenticatedError("The JWT's signature is not of this target's key.", code="invalid_token")
    try:
        claims = _claims.decode(_decoded(body))
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        raise UnauthenticatedError(
            "The JWT needs the claims sub, role and exp.", code="invalid_token"
        ) from None
    if claims.role not in ROLES:
        raise UnauthenticatedError("The JWT's role is viewer, operator or admin.", code="invalid_token")
    if claims.exp <= now:
        raise UnauthenticatedError("The JWT has expired; get a new one.", code="expired_token")
    if claims.nbf > now + CLOCK_SKEW_SECONDS:
        raise UnauthenticatedError("The JWT is not valid yet.", code="invalid_token")
    return principal_of(claims.sub[:200], claims.role), claims.exp


def principal_of(
    subject: str, role: str, requests_per_second: float | None = None, burst: int | None = None
) -> Principal:
    """The principal, with the limit that its key or else the settings give; a rate of 0 gives none."""
    if requests_per_second is None:
        requests_per_second = settings.VECTORS["rate_limit"]
        burst = settings.VECTORS["rate_burst"]
    return Principal(subject, role, limits.limit_of(subject, requests_per_second, burst))


def digest_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def authenticate(
    authorization: str | None, api_key: str | None, jwt_key: str, relayed: str | None = None
) -> Principal:
    """The principal of the headers `Authorization`, `X-Aindus-Token` and `Api-Key`; UnauthenticatedError.

    `relayed` is the value of X-Aindus-Token, a token as it is: what passes requests on to here may keep
    `Authorization` for itself, as a cluster's API server does. The first header that is there counts.
    """
    token = ""
    if authorization:
        if authorization[:7].lower() != "bearer ":
            raise UnauthenticatedError("Send `Authorization: Bearer` with an API key or a JWT.")
        token = authorization[7:].strip()
    elif relayed:
        token = relayed.strip()
    elif api_key:
        token = api_key.strip()
    if not token:
        raise UnauthenticatedError()
    known = _remembered.get(token)
    now = time.monotonic()
    if known is not None and known[1] > now:
        if known[0] is None:
            raise UnauthenticatedError("There is no such API key.", code="invalid_key")
        return known[0]
    if len(token) > TOKEN_MOST or not token.isascii() or "\0" in token:
        raise UnauthenticatedError("This is no API key and no JWT.", code="invalid_token")
    if token.count(".") == 2 and not token.startswith(KEY_PREFIX):
        principal, expiry = jwt_verify(token, jwt_key)
        until = now + expiry - time.time()
    else:
        principal, until = _key_principal(token, now)
    if len(_remembered) >= REMEMBERED_MOST:
        _remembered.clear()
    _remembered[token] = (principal, until)
    if principal is None:
        raise UnauthenticatedError("There is no such API key.", code="invalid_key")
    return principal


def _key_principal(token: str, now: float) -> tuple[Principal | None, float]:
    with database.pool().connection() as connection:
        row = connection.db.execute(
            "SELECT id, role, extract(epoch FROM expires_at - now())::float8, requests_per_second, burst"
            " FROM vectors_api_key WHERE digest = %s",
            [digest_of(token)],
        ).fetchone()
    if row is None or (row[2] is not None and row[2] <= 0):
        return None, now + REFUSED_SECONDS
    principal = principal_of(ids.encode("key", row[0]), row[1], row[3], row[4])
    return principal, now + min(KEY_SECONDS, row[2] or KEY_SECONDS)


def require(principal: Principal, role: str) -> None:
    """ForbiddenError unless the principal's role includes `role`."""
    if ROLES.get(principal.role, -1) < ROLES[role]:
        raise ForbiddenError(f"This needs the role {role}; yours is {principal.role}.")


def forget() -> None:
    """Forget all that was verified, in this process."""
    _remembered.clear()


def checked_name(name: str) -> str:
    if not name.strip() or "\0" in name or len(name) > 100:
        raise InvalidError("A name is 1 to 100 characters.", field="name")
    return name


def key_create(
    *,
    name: str,
    role: str,
    expires_at: datetime.datetime | None = None,
    requests_per_second: float | None = None,
    burst: int | None = None,
) -> dict:
    """A new key; the only answer that shows it. Without a rate the settings' holds, with 0 none."""
    checked_name(name)
    if role not in ROLES:
        raise InvalidError("The role is viewer, operator or admin.", field="role")
    if expires_at is not None and expires_at <= datetime.datetime.now(datetime.UTC):
        raise InvalidError("The time lies in the past.", field="expires_at")
    key = KEY_PREFIX + secrets.token_urlsafe(32)
    with database.pool().connection() as connection:
        row = connection.db.execute(
            "INSERT INTO vectors_api_key"
            " (id, name, role, digest, hint, created_at, expires_at, requests_per_second, burst)"
            f" VALUES (%s, %s, %s, %s, %s, now(), %s, %s, %s) RETURNING {', '.join(KEY_COLUMNS)}",
            [ids.uuid7(), name, role, digest_of(key), key[:8], expires_at, requests_per_second, burst],
        ).fetchone()
    return _key(row) | {"key": key}


def _key(row) -> dict:
    return dict(zip(KEY_COLUMNS, row, strict=True)) | {"id": ids.encode("key", row[0])}


def key_list() -> list[dict]:
    with database.pool().connection() as connection:
        rows = connection.db.execute(
            f"SELECT {', '.join(KEY_COLUMNS)} FROM vectors_api_key ORDER BY id"
        ).fetchall()
    return [_key(row) for row in rows]


def _key_id(public_id: str):
    try:
        return ids.decode("key", public_id)
    except ValueError:
        raise UnknownKeyError() from None


def key_update(public_id: str, **changes) -> dict:
    """Change a key's name, requests_per_second or burst; NotFoundError. Elsewhere within KEY_SECONDS."""
    key_id = _key_id(public_id)
    if "name" in changes:
        checked_name(changes["name"])
    assignments = "".join(f"{column} = %s, " for column in changes)
    with database.pool().connection() as connection:
        row = connection.db.execute(
            f"UPDATE vectors_api_key SET {assignments} id = id WHERE id = %s"
            f" RETURNING {', '.join(KEY_COLUMNS)}",
            [*changes.values(), key_id],
        ).fetchone()
    if row is None:
        raise UnknownKeyError()
    forget()
    return _key(row)


def key_delete(public_id: str) -> None:
    """Delete a key; NotFoundError. It stops working here at once, elsewhere within KEY_SECONDS."""
    key_id = _key_id(public_id)
    with database.pool().connection() as connection:
        try:
            gone = connection.db.execute("DELETE FROM vectors_api_key WHERE id = %s", [key_id]).rowcount
        except pg_errors.DataError:
            gone = 0
    if not gone:
        raise UnknownKeyError()
    forget()
