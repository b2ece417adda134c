"""Addresses of the web role, put together from each app's own."""

from django.urls import include, path

urlpatterns = [
    path("", include("controlplane.probes")),
]
