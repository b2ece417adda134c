"""Addresses of the pages of costs, below /costs/."""

from django.urls import path

from costs.pages import budgets, estimates, imports, overview, rates, recommendations, sources

urlpatterns = [
    path("", overview.overview, name="costs"),
    path("sources/", sources.index, name="cost-sources"),
    path("sources/new/", sources.new, name="cost-source-new"),
    path("sources/<str:source_id>/", sources.source, name="cost-source"),
    path("sources/<str:source_id>/sync/", sources.sync, name="cost-source-sync"),
    path("sources/<str:source_id>/delete/", sources.delete, name="cost-source-delete"),
    path("imports/", imports.index, name="cost-imports"),
    path("imports/<str:import_id>/", imports.cost_import, name="cost-import"),
    path("exchange-rates/", rates.index, name="cost-rates"),
    path("exchange-rates/<str:rate_id>/delete/", rates.delete, name="cost-rate-delete"),
    path("estimates/", estimates.calculator, name="cost-estimates"),
    path("estimates/kept/", estimates.kept, name="cost-estimates-kept"),
    path("estimates/<str:estimate_id>/", estimates.estimate, name="cost-estimate"),
    path("estimates/<str:estimate_id>/delete/", estimates.delete, name="cost-estimate-delete"),
    path("prices/", estimates.prices, name="cost-prices"),
    path("prices/nodes/", estimates.node_price, name="cost-node-price"),
    path("budgets/", budgets.index, name="cost-budgets"),
    path("budgets/new/", budgets.new, name="cost-budget-new"),
    path("budgets/<str:budget_id>/", budgets.budget, name="cost-budget"),
    path("budgets/<str:budget_id>/change/", budgets.change, name="cost-budget-change"),
    path("budgets/<str:budget_id>/delete/", budgets.delete, name="cost-budget-delete"),
    path("alert-channels/", budgets.channels, name="cost-channels"),
    path("alert-channels/<str:channel_id>/test/", budgets.channel_test, name="cost-channel-test"),
    path("alert-channels/<str:channel_id>/delete/", budgets.channel_delete, name="cost-channel-delete"),
    path("recommendations/", recommendations.index, name="cost-recommendations"),
    path(
        "recommendations/<str:recommendation_id>/", recommendations.recommendation, name="cost-recommendation"
    ),
    path(
        "recommendations/<str:recommendation_id>/decide/",
        recommendations.decide,
        name="cost-recommendation-decide",
    ),
    path("units/", recommendations.units, name="cost-units"),
]
