"""A request's id and its figures; both kinds of middleware serve sync and async alike."""

import re
import time

from asgiref.sync import iscoroutinefunction
from django.utils.decorators import sync_and_async_middleware

from controlplane import ids
from controlplane.probes import REQUEST_SECONDS, REQUESTS

ACCEPTED = re.compile(r"[A-Za-z0-9._:-]{1,64}")


@sync_and_async_middleware
def RequestIdMiddleware(get_response):
    """Give each request `request.request_id`, taken from X-Request-Id or new, and answer with it."""

    def begin(request) -> None:
        given = request.headers.get("X-Request-Id", "")
        request.request_id = given if ACCEPTED.fullmatch(given) else ids.new("req")

    def end(request, response):
        response["X-Request-Id"] = request.request_id
        return response

    return _around(get_response, begin, end)


@sync_and_async_middleware
def MetricsMiddleware(get_response):
    """Count requests and measure how long each takes, by the route's pattern and not by its address."""

    def begin(request) -> None:
        request.began = time.perf_counter()

    def end(request, response):
        match = request.resolver_match
        route = match.route if match else ""
        REQUESTS.labels(request.method, route, str(response.status_code)).inc()
        if not response.streaming:
            REQUEST_SECONDS.labels(route).observe(time.perf_counter() - request.began)
        return response

    return _around(get_response, begin, end)


def _around(get_response, begin, end):
    if iscoroutinefunction(get_response):

        async def middleware(request):
            begin(request)
            return end(request, await get_response(request))
    else:

        def middleware(request):
            begin(request)
            return end(request, get_response(request))

    return middleware
