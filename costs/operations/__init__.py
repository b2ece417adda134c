"""The handlers of every operation on costs; importing this package registers them."""
