"""What the control plane includes below /api/v1/vectors."""

from django.urls import re_path

from vectors.views import endpoint

urlpatterns = [re_path(r"^(?P<rest>.*)$", endpoint, name="vectors")]
