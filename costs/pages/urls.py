"""Addresses of the pages of costs, below /costs/."""

from django.urls import path

from costs.pages import overview, rates

urlpatterns = [
    path("", overview.overview, name="costs"),
    path("exchange-rates/", rates.index, name="cost-rates"),
    path("exchange-rates/<str:rate_id>/delete/", rates.delete, name="cost-rate-delete"),
]
