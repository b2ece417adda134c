"""The first page of costs."""

from django.shortcuts import render

from controlplane.pages.access import page


@page("cost.read")
def overview(request):
    """What was billed."""
    return render(request, "costs/overview.html", {"section": "costs", "tab": "overview"})
