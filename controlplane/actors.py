"""Who asks: an actor is a user or an API key, with a role in one project.

Credentials that were checked are remembered for REMEMBERED_SECONDS, so that a revoked key, a removed member
or a changed role takes effect everywhere within that time (and at once in the process that did it).
"""

import hashlib
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import jwt
from django.conf import settings
from django.db.models import Q
from django.utils import timezone
from django.utils.crypto import salted_hmac

from controlplane import ids
from controlplane.errors import UnauthenticatedError
from controlplane.models import ApiKey, Membership, Project, Role, User

REMEMBERED_SECONDS = 5.0
REFUSED_SECONDS = 1.0
REMEMBERED_MOST = 10_000
LONGEST_TOKEN = 4096
LAST_USED_EVERY_SECONDS = 60
AUDIENCE = "aindusdb:control-plane"
TOKEN_SECONDS = 900


@dataclass(frozen=True)
class Actor:
    """A user or key that was recognised; `name` is `user:NAME` or `key:NAME`."""

    id: str
    name: str
    project: Project
    role: Role

    is_authenticated = True


# SHA-256 of the credential -> (actor or None, monotonic time until which it holds).
_remembered: dict[str, tuple[Actor | None, float]] = {}
_lock = threading.Lock()


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


@lru_cache(maxsize=2)
def _signing_key(secret: str) -> str:
    return salted_hmac("controlplane.actors.token", "sign", secret=secret, algorithm="sha256").hexdigest()


def forget() -> None:
    """Check every credential anew in this process."""
    with _lock:
        _remembered.clear()


def remembered(token: str) -> Actor | None:
    """The actor of a token checked a moment ago, without a look at the database; None when not known."""
    known = _remembered.get(_digest(token))
    return known[0] if known and known[1] > time.monotonic() else None


def actor_for_token(token: str) -> Actor:
    """The actor of an API key or JWT; UnauthenticatedError says what is wrong with it."""
    if not token or len(token) > LONGEST_TOKEN or not token.isascii():
        raise UnauthenticatedError(
            "This is neither an API key nor a token of this server.", code="invalid_token"
        )
    digest = _digest(token)
    now = time.monotonic()
    known = _remembered.get(digest)
    if known is None or known[1] <= now:
        actor, seconds = _from_jwt(token) if token.count(".") == 2 else _from_key(digest)
        known = (actor, now + seconds)
        with _lock:
            if len(_remembered) >= REMEMBERED_MOST:
                _remembered.clear()
            _remembered[digest] = known
    if known[0] is None:
        raise UnauthenticatedError(
            "This API key or token is not valid: it does not exist, has expired or was revoked.",
            code="invalid_token",
        )
    return known[0]


def _from_key(digest: str) -> tuple[Actor | None, float]:
    now = timezone.now()
    key = (
        ApiKey.objects.select_related("project")
        .filter(Q(expires_at=None) | Q(expires_at__gt=now), digest=digest, revoked_at=None)
        .first()
    )
    if key is None:
        return None, REFUSED_SECONDS
    long_ago = now - timedelta(seconds=LAST_USED_EVERY_SECONDS)
    if key.last_used_at is None or key.last_used_at < long_ago:
        ApiKey.objects.filter(Q(last_used_at=None) | Q(last_used_at__lt=long_ago), pk=key.pk).update(
            last_used_at=now
        )
    left = (key.expires_at - now).total_seconds() if key.expires_at else REMEMBERED_SECONDS
    return Actor(key.pk, f"key:{key.name}", key.project, Role(key.role)), min(left, REMEMBERED_SECONDS)


def _from_jwt(token: str) -> tuple[Actor | None, float]:
    try:
        claims = jwt.decode(
            token,
            _signing_key(settings.SECRET_KEY),
            algorithms=["HS256"],
            audience=AUDIENCE,
            options={"require": ["sub", "prj", "exp"]},
        )
        ids.decode("usr", claims["sub"])
        ids.decode("prj", str(claims["prj"]))
    except jwt.ExpiredSignatureError:
        raise UnauthenticatedError(
            "This token has expired; get a new one from POST /api/v1/tokens.", code="expired_token"
        ) from None
    except (jwt.InvalidTokenError, ValueError):
        return None, REFUSED_SECONDS
    membership = (
        Membership.objects.select_related("user", "project")
        .filter(user=claims["sub"], project=claims["prj"], user__is_active=True)
        .first()
    )
    if membership is None:
        return None, REFUSED_SECONDS
    return _of_membership(membership), min(claims["exp"] - time.time(), REMEMBERED_SECONDS)


def _of_membership(membership: Membership) -> Actor:
    user = membership.user
    return Actor(user.pk, f"user:{user.username}", membership.project, Role(membership.role))


def actor_for_user(user: User, project: str | None = None) -> Actor | None:
    """A user's actor in a project by id or name, else in the one joined first; None when not a member."""
    memberships = Membership.objects.select_related("user", "project").filter(user=user).order_by("pk")
    found = next((m for m in memberships if not project or project in (m.project_id, m.project.name)), None)
    return _of_membership(found) if found and user.is_active else None


def token_issue(*, actor: Actor, lifetime_seconds: int = TOKEN_SECONDS) -> tuple[str, datetime]:
    """A signed token for a user's actor and the time it ends; its role is looked up at each use."""
    now = int(time.time())
    claims = {
        "sub": actor.id,
        "prj": actor.project.pk,
        "aud": AUDIENCE,
        "iat": now,
        "exp": now + lifetime_seconds,
    }
    text = jwt.encode(claims, _signing_key(settings.SECRET_KEY), algorithm="HS256")
    return text, datetime.fromtimestamp(claims["exp"], UTC)
