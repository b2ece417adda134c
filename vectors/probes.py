"""/health and /ready: whether the process lives, and whether it can serve."""

import time
from pathlib import Path

from django.conf import settings

from controlplane.errors import ProblemError, UnavailableError
from vectors import database, drill

MIGRATIONS = sorted(path.stem for path in (Path(__file__).parent / "migrations").glob("[0-9]*.py"))
_started = time.time()


def health() -> dict:
    """The process lives; it says which one it is, and when faults are asked of it which."""
    drilled = drill.described(settings.VECTORS)
    return {
        "status": "ok",
        "version": settings.VERSION,
        "region": settings.VECTORS["region"],
        "cloud": settings.VECTORS["cloud"],
        "uptime_seconds": round(time.time() - _started, 1),
        **({"drill": drilled} if drilled else {}),
    }


class NotReadyError(UnavailableError):
    """This replica cannot serve; see checks."""

    code = "not_ready"


def ready() -> dict:
    """{status, checks}; NotReadyError with the checks when a part is not good."""
    checks = {"database": "ok", "schema": "ok"}
    try:
        with database.pool().connection() as connection:
            result = connection.run(
                "SELECT to_regclass('django_migrations') IS NOT NULL"
                " AND to_regclass('vectors_collection') IS NOT NULL"
            )
            if result.get_value(0, 0) != b"\1":
                checks["schema"] = "No schema yet: run `manage.py migrate vectors`."
            else:
                applied = {
                    row[0]
                    for row in connection.db.execute(
                        "SELECT name FROM django_migrations WHERE app = 'vectors'"
                    )
                }
                missing = [name for name in MIGRATIONS if name not in applied]
                if missing:
                    checks["schema"] = f"Not migrated: {', '.join(missing)}; run `manage.py migrate vectors`."
    except ProblemError as error:
        checks["database"] = error.detail
        checks["schema"] = "unknown"
    except Exception as error:
        checks["database"] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        checks["schema"] = "unknown"
    wrong = [f"{name}: {state}" for name, state in checks.items() if state not in ("ok", "unknown")]
    if wrong:
        raise NotReadyError("; ".join(wrong), retry_after_seconds=2, checks=checks)
    return {"status": "ready", "checks": checks}
