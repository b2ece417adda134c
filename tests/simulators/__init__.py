"""Services of vendors, imitated at their HTTP endpoint for tests, and checked by the vendors' own clients."""
