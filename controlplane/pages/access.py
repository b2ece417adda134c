"""Who looks at a page, in which project, and whether their role allows what they do there."""

from functools import wraps

from django.contrib.auth.decorators import login_required

from controlplane import permissions
from controlplane.errors import ForbiddenError
from controlplane.models import Membership

PROJECT_IN_SESSION = "project"


class NoProjectError(ForbiddenError):
    """You are a member of no project yet. Ask an administrator to add you to one."""

    code = "no_project"


def memberships(request) -> list[Membership]:
    """The signed-in user's memberships by project name, read once a request."""
    if not hasattr(request, "_memberships"):
        request._memberships = (
            list(request.user.memberships.select_related("project").order_by("project__name"))
            if request.user.is_authenticated
            else []
        )
    return request._memberships


def membership(request) -> Membership | None:
    """The membership in the project that the session chose, else the first one."""
    known = memberships(request)
    chosen = request.session.get(PROJECT_IN_SESSION)
    return next((one for one in known if one.project_id == chosen), known[0] if known else None)


def allowed(request, action: str) -> bool:
    """Whether the signed-in user may do this in the current project."""
    held = membership(request)
    return held is not None and permissions.may(held.role, action)


def require(request, action: str) -> Membership:
    """The membership that allows this; ForbiddenError that names the role it takes."""
    held = membership(request)
    if held is None:
        raise NoProjectError()
    permissions.require(held.role, action)
    return held


def page(action: str = "project.read", *, post: str | None = None):
    """A page of the signed-in: `action` to see it, `post` to send it; sets `request.project`."""

    def decorate(view):
        @login_required
        @wraps(view)
        def guarded(request, *args, **kwargs):
            wanted = post if post and request.method == "POST" else action
            request.project = require(request, wanted).project
            return view(request, *args, **kwargs)

        return guarded

    return decorate


def actor(request) -> str:
    """The signed-in user, as the audit log names it."""
    return f"user:{request.user.get_username()}"
