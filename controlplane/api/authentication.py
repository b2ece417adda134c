"""Who a REST request comes from. Each class gives an `Actor` as `request.auth`."""

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
        user = getattr(request._request, "user", None)
        if user is None or not user.is_authenticated or not user.is_active:
            return None
        self.enforce_csrf(request)
        actor = actor_for_user(user, request._request.session.get(PROJECT_KEY))
        if actor is None:
            raise ForbiddenError("You are not a member of any project; ask an administrator to add you.")
        return actor, actor

    def enforce_csrf(self, request) -> None:
        try:
            super().enforce_csrf(request)
        except exceptions.PermissionDenied as error:
            raise ForbiddenError(
                "The X-CSRFToken header is missing or wrong; scripts use an API key instead.",
                code="csrf_failed",
            ) from error
