"""`/health`, `/ready` and `/metrics` of the web role."""

import ipaddress

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpResponse, HttpResponseForbidden, JsonResponse
from django.urls import path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Histogram, generate_latest

REQUESTS = Counter("aindusdb_http_requests", "HTTP requests answered.", ["method", "route", "status"])
REQUEST_SECONDS = Histogram(
    "aindusdb_http_request_seconds",
    "Time to answer an HTTP request, streams left out.",
    ["route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)


class Schema:
    """Whether every migration is applied; asked of the database until it is."""

    current = False

    @classmethod
    def is_current(cls) -> bool:
        if not cls.current:
            cls.current = not unapplied_migrations()
        return cls.current


def unapplied_migrations() -> list[str]:
    """Names (`app.migration`) that the database lacks; DatabaseError when it does not answer."""
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return [f"{migration.app_label}.{migration.name}" for migration, _ in plan]


@require_safe
@never_cache
def health(request):
    """200 while the process lives."""
    return JsonResponse({"status": "ok"})


@require_safe
@never_cache
def ready(request):
    """200 when the database answers and its schema is current, else 503 with which part is not."""
    checks = {"database": "ok", "schema": "ok"}
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        if not Schema.is_current():
            checks["schema"] = "migrations are not applied: run manage.py migrate"
    except (DatabaseError, OSError) as error:
        checks["database"] = (
            f"does not answer: {str(error).splitlines()[0] if str(error) else 'no reason given'}"
        )
        checks["schema"] = "unknown"
    good = all(value == "ok" for value in checks.values())
    return JsonResponse(
        {"status": "ready" if good else "not ready", "checks": checks}, status=200 if good else 503
    )


def may_read_metrics(request) -> bool:
    """Whether the caller's address is in AINDUS_METRICS_NETWORKS; a proxy's caller never is."""
    if "X-Forwarded-For" in request.headers or "Forwarded" in request.headers:
        return False
    try:
        address = ipaddress.ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:
        return False
    return any(address in ipaddress.ip_network(network) for network in settings.METRICS_NETWORKS)


@require_safe
@never_cache
def metrics(request):
    """Prometheus text, for the addresses that AINDUS_METRICS_NETWORKS names."""
    if not may_read_metrics(request):
        return HttpResponseForbidden("Not from this address; see AINDUS_METRICS_NETWORKS.\n", "text/plain")
    return HttpResponse(generate_latest(), content_type=CONTENT_TYPE_LATEST)


urlpatterns = [
    path("health", health, name="health"),
    path("ready", ready, name="ready"),
    path("metrics", metrics, name="metrics"),
]
