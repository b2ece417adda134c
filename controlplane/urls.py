"""Addresses of the web role, put together from each app's own."""

from django.urls import include, path

urlpatterns = [
    path("", include("controlplane.probes")),
    path("", include("controlplane.pages.urls")),
    path("", include("deployments.pages.urls")),
]

handler400 = "controlplane.pages.errors.bad_request"
handler403 = "controlplane.pages.errors.forbidden"
handler404 = "controlplane.pages.errors.not_found"
handler500 = "controlplane.pages.errors.server_error"
