"""The Django project: settings, accounts, API keys, audit, errors and probes."""

__version__ = "0.1.0"
