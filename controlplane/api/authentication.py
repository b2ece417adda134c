"""Who a REST request comes from. Each class gives an `Actor` as `request.auth`."""

from typing import NamedTuple

from rest_framework import authentication, exceptions

from controlplane.actors import Actor, actor_for_token, actor_for_user
from controlplane.errors import ForbiddenError, UnauthenticatedError

PROJECT_KEY = "project"


def bearer_token(authorization: str) -> str | None:
    """The token of an Authorization header; None when there is no header."""
    if not authorization:
        return None
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise UnauthenticatedError("Send `Authorization: Bearer` with an API key or a token.")
    return token.strip()


class BearerAuthentication(authentication.BaseAuthentication):
    """`Authorization: Bearer` with an API key or a token of POST /api/v1/tokens."""

    def authenticate(self, request) -> tuple[Actor, Actor] | None:
        token = bearer_token(request.META.get("HTTP_AUTHORIZATION", ""))
        if token is None:
            return None
        actor = actor_for_token(token)
        return actor, actor

    def authenticate_header(self, request) -> str:
        return "Bearer"


class SessionAuthentication(authentication.SessionAuthentication):
    """The dashboard's session cookie, with Django's CSRF protection."""

    def authenticate(self, request) -> tuple[Actor, Actor] | None:
        actor = session_actor(request._request)
        if actor is None:
            return None
        self.enforce_csrf(request)
        return actor, actor

    def enforce_csrf(self, request) -> None:
        try:
            super().enforce_csrf(request)
        except exceptions.PermissionDenied as error:
            raise CsrfError() from error


class CsrfError(ForbiddenError):
    """The X-CSRFToken header is missing or wrong; scripts use an API key instead."""

    code = "csrf_failed"


def session_actor(request) -> Actor | None:
    """The actor of a Django request's session, in the project that the dashboard chose; None without one."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated or not user.is_active:
        return None
    chosen = request.session.get(PROJECT_KEY)
    actor = actor_for_user(user, chosen) or actor_for_user(user)
    if actor is None:
        raise ForbiddenError("You are not a member of any project; ask an administrator to add you.")
    return actor


class Caller(NamedTuple):
    """Who calls the vector API of this installation itself."""

    subject: str
    role: str


def vectors_caller(request) -> Caller:
    """`settings.VECTORS_AUTHENTICATE`: a key, a token or the session; the vector API checks role and CSRF."""
    token = (
        bearer_token(request.headers.get("Authorization", "")) or request.headers.get("Api-Key", "").strip()
    )
    actor = actor_for_token(token) if token else session_actor(request)
    if actor is None:
        raise UnauthenticatedError()
    return Caller(actor.name, actor.role.value)
