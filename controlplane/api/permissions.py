"""The check of a view's action against the caller's role."""

from rest_framework.permissions import BasePermission

from controlplane.errors import UnauthenticatedError
from controlplane.permissions import require


class RolePermission(BasePermission):
    """Allows what `controlplane.permissions.ROLE_FOR` allows; an action of None is open to everybody."""

    def has_permission(self, request, view) -> bool:
        route = view.routes.get("GET" if request.method == "HEAD" else request.method)
        if route is None:
            # The view answers 405 by itself, but only to whom it knows.
            needed = None if any(r.action is None for r in view.routes.values()) else ""
        else:
            needed = route.action
        if needed is None:
            return True
        if request.auth is None:
            raise UnauthenticatedError()
        if needed:
            require(request.auth.role, needed)
        return True
