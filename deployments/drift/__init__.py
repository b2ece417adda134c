"""Drift: what somebody changed about what we made, found, kept as rows, and decided on."""
