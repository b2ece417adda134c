"""Database work from the event loop."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from django.db import connection

# Fewer than the pool's connections (controlplane/database.py), so that views are never left without one.
_executor = ThreadPoolExecutor(max_workers=8, thread_name_prefix="database")


def _run(function, args, kwargs):
    try:
        return function(*args, **kwargs)
    finally:
        # With a pool this gives the connection back; without one it ends it with the work.
        connection.close()


async def in_database(function, *args, **kwargs):
    """Run a function that uses the database in a thread, and give its connection back."""
    return await asyncio.get_running_loop().run_in_executor(_executor, _run, function, args, kwargs)
