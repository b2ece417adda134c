"""The pages' own middleware: errors as pages, and a policy that lets nothing load from elsewhere."""

from django.utils.deprecation import MiddlewareMixin

from controlplane.errors import ProblemError
from controlplane.pages.errors import problem_page

POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "manifest-src 'self'",
    ]
)


class PagesMiddleware(MiddlewareMixin):
    """Answers a service's error with a page, and adds the Content-Security-Policy to every page."""

    def process_exception(self, request, error):
        if isinstance(error, ProblemError) and not request.path.startswith("/api/"):
            return problem_page(request, error)
        return None

    def process_response(self, request, response):
        if request.path.startswith("/api/"):
            return response
        response.headers.setdefault("Content-Security-Policy", POLICY)
        response.headers.setdefault("Referrer-Policy", "same-origin")
        if response.headers.get("Content-Type", "").startswith("text/html"):
            # Pages show what is true now: a page from the cache would show a state long gone.
            response.headers.setdefault("Cache-Control", "no-store")
        return response
