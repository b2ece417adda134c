"""The handlers of every operation on costs; importing this package registers them."""

from costs.operations import importing

__all__ = ["importing"]
