"""A database URL as Django's settings, without Django, so that role `api` can share it."""

from psycopg.conninfo import conninfo_to_dict, make_conninfo


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


def conninfo(database: dict, *, without: tuple[str, ...] = ()) -> str:
    """The libpq connection string of a DATABASES entry, less the options that the caller sets itself."""
    options = {key: value for key, value in database["OPTIONS"].items() if key not in ("pool", *without)}
    parts = {
        "dbname": database["NAME"],
        "user": database["USER"],
        "password": database["PASSWORD"],
        "host": database["HOST"],
        "port": database["PORT"],
    }
    return make_conninfo(**{key: value for key, value in parts.items() if value}, **options)
