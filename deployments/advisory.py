"""Locks by name in PostgreSQL, for what must not run twice at once anywhere."""

from contextlib import contextmanager

from django.db import connection


@contextmanager
def only_one(name: str):
    """True inside while this connection alone holds the name; False, at once, while another does.

    The lock ends with the connection, so a killed process holds nothing back. No transaction stays open.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [name])
        held = cursor.fetchone()[0]
    try:
        yield held
    finally:
        if held and connection.connection and not connection.connection.closed:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", [name])
