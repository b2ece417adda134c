"""Who calls through the gateway, and the token that tells the target."""

import io
import time

import jwt
from django.conf import settings
from django.contrib.auth.middleware import get_user
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.handlers.asgi import ASGIRequest
from django.middleware.csrf import CsrfViewMiddleware

from controlplane import actors
from controlplane.actors import Actor
from controlplane.api.authentication import CsrfError, bearer_token, session_actor
from controlplane.errors import UnauthenticatedError
from controlplane.threads import in_database

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
TOKEN_SECONDS = 300
RENEWED_BEFORE_SECONDS = 60
REMEMBERED_MOST = 10_000

# (target, actor, role, secret) -> (token, time in Unix seconds until which it is sent).
_tokens: dict[tuple, tuple[str, float]] = {}


async def caller(scope: dict, headers: dict[str, str]) -> Actor:
    """The actor of a key, a token or a session; UnauthenticatedError or ForbiddenError (CSRF)."""
    token = bearer_token(headers.get("authorization", "")) or headers.get("api-key", "").strip()
    if token:
        return actors.remembered(token) or await in_database(actors.actor_for_token, token)
    if settings.SESSION_COOKIE_NAME in headers.get("cookie", ""):
        return await in_database(_session_caller, scope)
    raise UnauthenticatedError()


def _session_caller(scope: dict) -> Actor:
    request = ASGIRequest(scope, io.BytesIO())
    SessionMiddleware(lambda _: None).process_request(request)
    request.user = get_user(request)
    actor = session_actor(request)
    if actor is None:
        raise UnauthenticatedError()
    if scope["method"] not in SAFE_METHODS:
        check = CsrfViewMiddleware(lambda _: None)
        check.process_request(request)
        if check.process_view(request, _protected, (), {}) is not None:
            raise CsrfError()
    return actor


def _protected(request):
    """Stands for the view in the CSRF check: exempt from nothing."""


def target_token(target_id: str, jwt_secret: str, actor: Actor) -> str:
    """A short-lived token with the actor's role, signed with the target's key."""
    now = time.time()
    known = _tokens.get((target_id, actor.name, actor.role, jwt_secret))
    if known and known[1] > now:
        return known[0]
    claims = {"sub": actor.name, "role": actor.role.value, "exp": int(now) + TOKEN_SECONDS}
    token = jwt.encode(claims, jwt_secret, algorithm="HS256")
    if len(_tokens) >= REMEMBERED_MOST:
        _tokens.clear()
    until = now + TOKEN_SECONDS - RENEWED_BEFORE_SECONDS
    _tokens[(target_id, actor.name, actor.role, jwt_secret)] = (token, until)
    return token
