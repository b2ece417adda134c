"""REST of costs."""
