"""Readers hear of committed events over one shared connection, and again after it broke."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from worker import listener
from worker.engine import announce

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def others():
    """Listeners that other tests of this process left to their connection's end."""
    before.clear()
    before.extend(listening_backends())


before: list[int] = []


def listening_backends() -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND query LIKE 'LISTEN %%' AND pid <> pg_backend_pid()"
        )
        return [pid for (pid,) in cursor.fetchall() if pid not in before]


def test_each_reader_hears_its_own_operation_over_one_connection():
    async def scenario():
        async with (
            listener.subscribe("op_a") as a,
            listener.subscribe("op_b") as b,
            listener.subscribe() as every,
        ):
            for reader in (a, b, every):
                assert await reader.wait(10), "the first look after LISTEN took hold"
            backends = await asyncio.to_thread(backends_from_thread)
            assert len(backends) == 1
            await asyncio.to_thread(announce_from_thread, "op_a")
            assert await a.wait(10)
            assert await every.wait(10)
            assert not await b.wait(0.05)

    run(scenario)
    assert listening_backends() == []


def test_a_broken_connection_wakes_readers_and_comes_back():
    async def scenario():
        async with listener.subscribe("op_a") as reader:
            assert await reader.wait(10)
            (pid,) = await asyncio.to_thread(backends_from_thread)
            await asyncio.to_thread(terminate_from_thread, pid)
            assert await reader.wait(10), "told to look for itself"
            assert await reader.wait(10), "listening again"
            await asyncio.to_thread(announce_from_thread, "op_a")
            assert await reader.wait(10)

    run(scenario)


def run(scenario):
    # The browser's driver may have left this thread in a loop.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(scenario())).result()


def closing(function):
    def call(*arguments):
        try:
            return function(*arguments)
        finally:
            connection.close()

    return call


backends_from_thread = closing(listening_backends)
announce_from_thread = closing(announce)


@closing
def terminate_from_thread(pid):
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
