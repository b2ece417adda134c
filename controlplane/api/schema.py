"""OpenAPI 3.1 from the views' routes, plus what is served outside of Django's views."""

from django.conf import settings
from django.utils.module_loading import import_string
from drf_spectacular.authentication import SessionScheme
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter, OpenApiTypes

from controlplane.api import idempotency
from controlplane.api.serializers import Empty, Problem
from controlplane.permissions import ROLE_FOR

PROBLEMS = {
    "400": "The request cannot be understood.",
    "401": "No valid credentials.",
    "403": "The role does not allow this.",
    "404": "There is no such thing, or it is not yours to see.",
    "409": "The present state does not allow this.",
    "412": "It changed since it was read (If-Match).",
    "413": "The body is too large.",
    "415": "The body is not application/json.",
    "422": "Some values are not valid; `errors` names each field.",
    "429": "Too many requests; see Retry-After.",
    "503": "A part this depends on does not answer; see Retry-After.",
}
ALWAYS = ("401", "403", "422", "429", "503")


class BearerScheme(OpenApiAuthenticationExtension):
    """An API key or a token."""

    target_class = "controlplane.api.authentication.BearerAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema) -> dict:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key (`ak_...`), or a token of POST /api/v1/tokens.",
        }


class CookieScheme(SessionScheme):
    """The dashboard's session; unsafe methods also need X-CSRFToken."""

    target_class = "controlplane.api.authentication.SessionAuthentication"
    name = "session"
    priority = 0


class RouteSchema(AutoSchema):
    """Reads everything from the view's `routes`."""

    @property
    def route(self):
        return self.view.routes[self.method]

    def is_excluded(self) -> bool:
        return self.method not in getattr(self.view, "routes", {})

    def get_operation_id(self) -> str:
        return f"{self.method.lower()}_{'_'.join(part.strip('{}') for part in self._words())}"

    def _words(self) -> list[str]:
        path = self.path.removeprefix("/api/v1/").replace("-", "_")
        return [
            f"by_{part.strip('{}')}" if part.startswith("{") else part for part in path.split("/") if part
        ]

    def get_summary(self) -> str:
        return self.route.summary

    def get_description(self) -> str:
        method = getattr(self.view, self.method.lower())
        told = [" ".join((method.__doc__ or "").split())]
        if self.route.action:
            told.append(f"Needs the role `{ROLE_FOR[self.route.action].value}`.")
        if self.route.streams:
            told.append(self.route.streams)
        return "\n\n".join(part for part in told if part)

    def get_tags(self) -> list[str]:
        return [self.view.tag]

    def get_auth(self) -> list[dict]:
        return super().get_auth() if self.route.action else []

    def get_request_serializer(self):
        return None if self.route.body is Empty else self.route.body

    def get_response_serializers(self) -> dict:
        return dict(self.route.answers)

    def get_override_parameters(self) -> list:
        found = []
        if self.route.query is not Empty:
            found.append(self.route.query)
        if self.method == "POST" and self.route.action and self.route.idempotent:
            found.append(
                OpenApiParameter(
                    idempotency.HEADER,
                    OpenApiTypes.STR,
                    OpenApiParameter.HEADER,
                    description="The same key and body are carried out once and answered alike for "
                    f"{idempotency.KEPT_HOURS} h; the same key with another body is 409.",
                )
            )
        for name, description in self.route.headers.items():
            found.append(
                OpenApiParameter(name, OpenApiTypes.STR, OpenApiParameter.HEADER, description=description)
            )
        return found

    def get_operation(self, path, path_regex, path_prefix, method, registry):
        operation = super().get_operation(path, path_regex, path_prefix, method, registry)
        if operation is None:
            return None
        self.resolve_serializer(Problem, "response")
        if self.method == "DELETE" and self.route.body is not Empty:
            body = self.resolve_serializer(self.route.body, "request")
            operation["requestBody"] = {
                "required": True,
                "content": {"application/json": {"schema": body.ref}},
            }
        if self.route.file:
            operation["requestBody"] = {
                "required": True,
                "description": self.route.file,
                "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
            }
        if self.route.streams:
            operation["responses"]["200"]["content"]["text/event-stream"] = {"schema": {"type": "string"}}
        for status in self.route.answers:
            if status == 202:
                operation["responses"]["202"]["headers"] = {
                    "Location": {
                        "schema": {"type": "string"},
                        "description": "Where to follow the operation.",
                    }
                }
        for status in self._problem_statuses():
            operation["responses"][status] = {"$ref": f"#/components/responses/Problem{status}"}
        operation["responses"] = dict(sorted(operation["responses"].items()))
        return operation

    def _problem_statuses(self) -> list[str]:
        statuses = set(ALWAYS if self.route.action else ("422", "429", "503"))
        if "{" in self.path:
            statuses.add("404")
        if self.method != "GET":
            statuses |= {"400", "413", "415"}
            if self.route.action:
                statuses.add("409")
        if "If-Match" in self.route.headers:
            statuses.add("412")
        return sorted(statuses)


def add_shared_parts(result, generator, request, public):
    """Postprocessing hook: the problem answers, and the paths that apps serve outside of Django."""
    responses = result["components"].setdefault("responses", {})
    for status, description in PROBLEMS.items():
        responses[f"Problem{status}"] = {
            "description": description,
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        if status in ("429", "503"):
            responses[f"Problem{status}"]["headers"] = {
                "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}
            }
    for module, prefix, tag in settings.OPENAPI_FRAGMENTS:
        result["paths"].update(import_string(f"{module}.paths")(prefix, tag))
        result["components"]["schemas"].update(import_string(f"{module}.schemas")())
    schemas = result["components"]["schemas"]
    result["components"]["schemas"] = dict(sorted(schemas.items()))
    result["paths"] = dict(sorted(result["paths"].items()))
    return result
