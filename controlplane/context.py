"""What every page is given."""

from controlplane import __version__
from controlplane.pages.access import allowed, membership, memberships
from controlplane.permissions import ROLE_FOR


def navigation(request) -> dict:
    """The current project, what the user may do in it, and the theme."""
    context = {"version": __version__, "request_id": getattr(request, "request_id", "")}
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return context | {"theme": "system", "can": {}}
    held = membership(request)
    return context | {
        "theme": user.theme,
        "membership": held,
        "project": held.project if held else None,
        "memberships": memberships(request),
        "can": {action.replace(".", "_"): allowed(request, action) for action in ROLE_FOR},
    }
