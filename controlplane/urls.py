"""Every URL of the control plane."""

urlpatterns = []
