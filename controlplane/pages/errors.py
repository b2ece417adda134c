"""Errors as pages: what happened, what to do next, and an id to quote."""

from django.http import HttpResponse
from django.template import loader
from django.views.decorators.csrf import requires_csrf_token

from controlplane.errors import ForbiddenError, NotFoundError, ProblemError

NEXT_STEPS = {
    404: "Check the address, or look for it by name with the search.",
    403: "Ask an administrator of the project, or sign in with another account.",
    409: "Go back, look at the present state, and try again.",
    422: "Go back, mend the value, and send it again.",
    503: "Wait a moment and load the page again.",
}
TITLES = {
    403: "You may not do this",
    404: "There is nothing here",
    409: "This cannot be done now",
    422: "Some values are not valid",
    500: "Something went wrong on our side",
    503: "A part of the system does not answer",
}


def problem_page(request, error: ProblemError, *, next_step: str = "") -> HttpResponse:
    """The error as a whole page, or as a short notice where htmx asked for a fragment."""
    fragment = bool(getattr(request, "htmx", False)) and not request.htmx.boosted
    template = "errors/_notice.html" if fragment else "errors/problem.html"
    context = {
        "error": error,
        "title": TITLES.get(error.status, error.title or "This did not work"),
        "next_step": next_step or NEXT_STEPS.get(error.status, "Go back and try again."),
        "signed_in": getattr(getattr(request, "user", None), "is_authenticated", False),
    }
    response = HttpResponse(loader.render_to_string(template, context, request), status=error.status)
    if error.retry_after_seconds:
        response["Retry-After"] = str(error.retry_after_seconds)
    return response


@requires_csrf_token
def bad_request(request, exception=None):
    return problem_page(request, ProblemError("The browser sent something that could not be read."))


@requires_csrf_token
def forbidden(request, exception=None):
    return problem_page(request, ForbiddenError())


@requires_csrf_token
def not_found(request, exception=None):
    return problem_page(request, NotFoundError("There is no page at this address, or you may not see it."))


def server_error(request):
    """Made without the database or the session: either may be what failed."""
    body = loader.render_to_string(
        "errors/500.html", {"request_id": getattr(request, "request_id", ""), "title": TITLES[500]}
    )
    return HttpResponse(body, status=500)


@requires_csrf_token
def csrf_failure(request, reason=""):
    return problem_page(
        request,
        ForbiddenError(
            "The form was older than your session, or cookies are blocked, so it was not accepted.",
            code="csrf_failed",
        ),
        next_step="Go back, load the page again, and send the form once more.",
    )
