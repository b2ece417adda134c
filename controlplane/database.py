"""A database URL as Django's settings, without Django, so that role `api` can share it."""

from psycopg.conninfo import conninfo_to_dict


def database_settings(url: str, *, pool: bool = False) -> dict:
    """DATABASES entry for a libpq URL; what Django has no name for goes into OPTIONS."""
    parts = conninfo_to_dict(url)
    options = {
        key: value
        for key, value in parts.items()
        if key not in {"dbname", "user", "password", "host", "port"} and value is not None
    }
    options.setdefault("connect_timeout", 5)
    settings = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.get("dbname") or "",
        "USER": parts.get("user") or "",
        "PASSWORD": parts.get("password") or "",
        "HOST": parts.get("host") or "",
        "PORT": parts.get("port") or "",
        "OPTIONS": options,
    }
    if pool:
        # Under ASGI each request runs in a thread of its own: without a pool each would connect anew.
        options["pool"] = {"min_size": 2, "max_size": 20, "timeout": 10}
    else:
        settings["CONN_MAX_AGE"] = None
        settings["CONN_HEALTH_CHECKS"] = True
    return settings
