"""The base of every REST view: one declaration a method says who may, what is taken and what is given."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from rest_framework import serializers
from rest_framework.response import Response
from rest_framework.views import APIView

from controlplane.actors import Actor
from controlplane.api import idempotency
from controlplane.api.pagination import ListQuery, page
from controlplane.api.parsing import LARGEST_BODY_BYTES, JSONOnly
from controlplane.api.serializers import Empty, page_of
from controlplane.errors import TooLargeError, UnsupportedMediaTypeError


@dataclass(frozen=True)
class Route:
    """One method of an endpoint: the permission, the validation and the schema are made from it.

    `action` is a key of `controlplane.permissions.ROLE_FOR`, or None for an endpoint open to everybody.
    `answers` maps a status to the serializer of its body, or None for no body. `streams` tells that the
    method also gives server-sent events, and what they are. `file` tells that the body is a file of any
    size, and what it may be: the method reads it from `self.body`.
    """

    action: str | None
    summary: str
    answers: Mapping[int, type[serializers.Serializer] | None]
    body: type[serializers.Serializer] = Empty
    query: type[serializers.Serializer] = Empty
    headers: Mapping[str, str] = field(default_factory=dict)
    streams: str = ""
    file: str = ""
    idempotent: bool = True


def list_route(action: str, summary: str, item: type, query: type[ListQuery] = ListQuery) -> Route:
    """The route of a list by cursor."""
    return Route(action, summary, {200: page_of(item)}, query=query)


class ApiView(APIView):
    """Checks permission, query and body by its routes before the method runs.

    A method finds the validated query in `self.params`, the validated body in `self.values`, and who asks in
    `self.actor`. It answers with a DRF response, or raises an error of `controlplane.errors`.
    """

    routes: Mapping[str, Route] = {}
    tag = ""
    content_negotiation_class = JSONOnly

    def initial(self, request, *args, **kwargs):
        super().initial(request, *args, **kwargs)
        route = self.routes.get("GET" if request.method == "HEAD" else request.method)
        if route is None:
            return
        self.params = _validated(route.query, request.query_params.dict())
        if route.file:
            if request.content_type.startswith("multipart/"):
                raise UnsupportedMediaTypeError()
            return
        if request.method in ("POST", "PATCH", "PUT", "DELETE"):
            length = request.META.get("CONTENT_LENGTH") or "0"
            if length.isdigit() and int(length) > LARGEST_BODY_BYTES:
                raise TooLargeError(f"A body may have up to {LARGEST_BODY_BYTES} bytes.")
            # Parsed here, so that the idempotency key is compared with what was understood.
            body = request.data
            self.values = _validated(route.body, body, partial=request.method == "PATCH")
            key = request.headers.get(idempotency.HEADER)
            if request.method == "POST" and key is not None and request.auth is not None and route.idempotent:
                self.post = partial(idempotency.once, key, self.post)

    @property
    def body(self):
        """The body as a stream, of a route that takes a file."""
        return self.request._request

    @property
    def actor(self) -> Actor:
        """Who asks."""
        return self.request.auth

    @property
    def project(self):
        """The project that everything here is looked for in."""
        return self.request.auth.project

    def answer(self, item, *, status: int = 200, headers: dict | None = None, **context) -> Response:
        """One object, rendered by the route's serializer for this status."""
        serializer = self.routes[self.request.method].answers[status]
        context["request"] = self.request
        return Response(serializer(item, context=context).data, status=status, headers=headers)

    def answer_page(self, queryset, **context) -> Response:
        """One page of a queryset, as the query asks."""
        route = self.routes["GET"]
        rows, cursor = page(queryset, self.params, route.query.sorts)
        context["request"] = self.request
        item = route.answers[200].item_class
        items = item(rows, many=True, context=context).data
        return Response({"items": items, "next_cursor": cursor})


def _validated(serializer_class, data, *, partial: bool = False) -> dict:
    serializer = serializer_class(data=data, partial=partial)
    serializer.is_valid(raise_exception=True)
    return serializer.validated_data
