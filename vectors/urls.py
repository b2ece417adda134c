"""What the control plane includes below /api/v1/vectors."""

from django.urls import include, path, re_path

from vectors.views import endpoint

urlpatterns = [
    path("/", include("vectors.compat.urls")),
    re_path(r"^(?P<rest>.*)$", endpoint, name="vectors"),
]
