"""Addresses of costs, below /api/v1/."""

from django.urls import path

from costs.api import imports, rates

urlpatterns = [
    path("costs/imports", imports.CostImportsView.as_view()),
    path("costs/imports/<str:cost_import>", imports.CostImportView.as_view()),
    path("costs/exchange-rates", rates.ExchangeRatesView.as_view()),
    path("costs/exchange-rates/<str:rate>", rates.ExchangeRateView.as_view()),
]
