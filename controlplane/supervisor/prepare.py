"""What is done between the start of the servers and the start of the roles."""

import psycopg
import redis
from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError, connection

from controlplane import embedded
from controlplane.broker import redis_client
from controlplane.first_start import first_start, run_hooks
from controlplane.probes import unapplied_migrations


def database_ready() -> str:
    """Why the database does not answer; an empty text when it does. Makes the embedded one when missing."""
    try:
        if settings.EMBEDDED.database_url == settings.DATABASE_URL:
            embedded.ensure_database(settings.EMBEDDED)
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except (DatabaseError, psycopg.Error, OSError) as error:
        return str(error).strip()
    finally:
        connection.close()
    return ""


def redis_ready() -> str:
    """Why Redis does not answer; an empty text when it does."""
    try:
        with redis_client() as client:
            client.ping()
    except (redis.RedisError, OSError) as error:
        return str(error)
    return ""


def migrate_and_fill(say) -> str | None:
    """Bring the schema up to date and make what a first start makes; the new administrator's password."""
    try:
        missing = unapplied_migrations()
        if missing:
            say(f"Applying {len(missing)} migrations.")
            call_command("migrate", interactive=False, verbosity=0)
        password = first_start()
        run_hooks(say)
        return password
    finally:
        connection.close()
