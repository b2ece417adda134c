"""Addresses of role `api` that Django answers: what `vectors/wsgi.py` does not serve itself."""

from django.urls import include, path

urlpatterns = [
    path("", include("vectors.compat.urls")),
    path("api/v1/vectors", include("vectors.urls")),
]
handler404 = "vectors.views.not_found"
