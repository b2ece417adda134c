"""Addresses of the web role, put together from each app's own."""

from django.urls import include, path

handler400 = "controlplane.api.errors.handler400"
handler403 = "controlplane.api.errors.handler403"
handler404 = "controlplane.api.errors.handler404"
handler500 = "controlplane.api.errors.handler500"

urlpatterns = [
    path("", include("controlplane.probes")),
    path("api/v1/", include("controlplane.api.urls")),
    path("api/v1/", include("worker.api.urls")),
    path("api/v1/", include("deployments.api.urls")),
    path("api/v1/", include("costs.api.urls")),
    path("api/v1/vectors", include("vectors.urls")),
    path("api/", include("controlplane.api.documentation")),
    path("", include("controlplane.pages.urls")),
    path("", include("deployments.pages.urls")),
    path("costs/", include("costs.pages.urls")),
]
