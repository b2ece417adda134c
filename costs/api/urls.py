"""Addresses of costs, below /api/v1/."""

from django.urls import path

from costs.api import budgets, estimates, imports, rates, recommendations, reports, sources

urlpatterns = [
    path("costs/report", reports.ReportView.as_view()),
    path("costs/comparison", reports.ComparisonView.as_view()),
    path("costs/forecast", reports.ForecastView.as_view()),
    path("costs/anomalies", reports.AnomaliesView.as_view()),
    path("costs/records", reports.FocusExportView.as_view()),
    path("costs/sources", sources.CostSourcesView.as_view()),
    path("costs/sources/<str:cost_source>", sources.CostSourceView.as_view()),
    path("costs/sources/<str:cost_source>/sync", sources.CostSourceSyncView.as_view()),
    path("costs/sources/<str:cost_source>/months", sources.CostSourceMonthsView.as_view()),
    path("costs/imports", imports.CostImportsView.as_view()),
    path("costs/imports/<str:cost_import>", imports.CostImportView.as_view()),
    path("costs/exchange-rates", rates.ExchangeRatesView.as_view()),
    path("costs/exchange-rates/<str:rate>", rates.ExchangeRateView.as_view()),
    path("costs/prices", estimates.PricesView.as_view()),
    path("costs/node-prices", estimates.NodePricesView.as_view()),
    path("costs/node-prices/<str:node_price>", estimates.NodePriceView.as_view()),
    path("costs/estimates", estimates.EstimatesView.as_view()),
    path("costs/estimates/<str:estimate>", estimates.EstimateView.as_view()),
    path("costs/budgets", budgets.BudgetsView.as_view()),
    path("costs/budgets/<str:budget>", budgets.BudgetView.as_view()),
    path("costs/budgets/<str:budget>/alerts", budgets.BudgetAlertsView.as_view()),
    path("costs/alert-channels", budgets.ChannelsView.as_view()),
    path("costs/alert-channels/<str:channel>", budgets.ChannelView.as_view()),
    path("costs/alert-channels/<str:channel>/test", budgets.ChannelTestView.as_view()),
    path("costs/recommendations", recommendations.RecommendationsView.as_view()),
    path("costs/recommendations/<str:recommendation>", recommendations.RecommendationView.as_view()),
    path(
        "costs/recommendations/<str:recommendation>/accept",
        recommendations.RecommendationAcceptView.as_view(),
    ),
    path(
        "costs/recommendations/<str:recommendation>/dismiss",
        recommendations.RecommendationDismissView.as_view(),
    ),
    path(
        "costs/recommendations/<str:recommendation>/snooze",
        recommendations.RecommendationSnoozeView.as_view(),
    ),
    path(
        "costs/recommendations/<str:recommendation>/reopen",
        recommendations.RecommendationReopenView.as_view(),
    ),
    path("costs/unit-costs", recommendations.UnitCostsView.as_view()),
]
