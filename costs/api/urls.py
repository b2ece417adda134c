"""Addresses of costs, below /api/v1/."""

from django.urls import path

from costs.api import rates

urlpatterns = [
    path("costs/exchange-rates", rates.ExchangeRatesView.as_view()),
    path("costs/exchange-rates/<str:rate>", rates.ExchangeRateView.as_view()),
]
