"""The handlers of every operation on costs; importing this package registers them."""

from costs.operations import budget_alert, importing, prices_sync, recommendations, syncing

__all__ = ["budget_alert", "importing", "prices_sync", "recommendations", "syncing"]
