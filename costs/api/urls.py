"""Addresses of costs, below /api/v1/."""

from django.urls import path

from costs.api import imports, rates, reports

urlpatterns = [
    path("costs/report", reports.ReportView.as_view()),
    path("costs/comparison", reports.ComparisonView.as_view()),
    path("costs/forecast", reports.ForecastView.as_view()),
    path("costs/anomalies", reports.AnomaliesView.as_view()),
    path("costs/records", reports.FocusExportView.as_view()),
    path("costs/imports", imports.CostImportsView.as_view()),
    path("costs/imports/<str:cost_import>", imports.CostImportView.as_view()),
    path("costs/exchange-rates", rates.ExchangeRatesView.as_view()),
    path("costs/exchange-rates/<str:rate>", rates.ExchangeRateView.as_view()),
]
