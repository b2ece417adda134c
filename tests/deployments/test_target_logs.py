"""The logs of a target merged from those of its replicas, by a runtime that keeps lines in memory."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
from asgiref.sync import async_to_sync

from controlplane.errors import InvalidError, NotFoundError, UnavailableError
from controlplane.models import Project
from deployments import logs
from deployments.errors import Transient
from deployments.models import Replica, ReplicaStatus
from deployments.providers import base as providers
from deployments.runtimes import base as runtimes
from deployments.runtimes.base import LogLine
from tests.deployments.fleet import Fleet
from worker.engine import database_now

START = datetime(2026, 1, 1, tzinfo=UTC)


class Memory:
    """What the runtime protocol says of `logs`, over lists."""

    name = "memory"
    written: dict[str, list] = {}
    broken: set[str] = set()
    asked: list[dict] = []

    def logs(self, replica_id, *, since=None, until=None, search="", level="", cursor="", limit=500):
        self.asked.append({"replica": replica_id, "since": since, "cursor": cursor})
        if replica_id in self.broken:
            raise Transient("The disk does not answer.")
        lines = [
            LogLine(replica_id, at, "INFO", text, str(number))
            for number, (at, text) in enumerate(self.written.get(replica_id, []), 1)
            if search in text
            and (level in ("", "INFO"))
            and (at is None or ((not since or at >= since) and (not until or at <= until)))
        ]
        if cursor:
            return iter([line for line in lines if int(line.cursor) > int(cursor)][:limit])
        return iter(lines[-limit:])


class Elsewhere:
    name = "elsewhere"
    runtime = "memory"


@pytest.fixture
def memory(monkeypatch):
    providers.provider_names()
    monkeypatch.setitem(providers._providers, "elsewhere", Elsewhere)
    monkeypatch.setitem(runtimes._runtimes, "memory", Memory)
    Memory.written, Memory.broken, Memory.asked = {}, set(), []
    return Memory


@pytest.fixture
def fleet(db):
    fleet = Fleet(Project.objects.create(name="default"))
    yield fleet
    fleet.close()


@pytest.fixture
def target(fleet, memory):
    target = fleet.target(provider="elsewhere")
    target.one, target.two = fleet.replica(target), fleet.replica(target)
    return target


def write(replica, *entries):
    """Lines as (second, text); second None for a line without a time."""
    Memory.written.setdefault(replica.pk, []).extend(
        (None if second is None else START + timedelta(seconds=second), text) for second, text in entries
    )


def texts(page):
    return [line.text for line in page.lines]


def test_lines_of_all_replicas_by_time(target):
    write(target.one, (1, "a"), (4, "d"), (None, "d's trace"))
    write(target.two, (2, "b"), (3, "c"), (5, "e"))
    page = logs.target_logs(target)
    assert texts(page) == ["a", "b", "c", "d", "d's trace", "e"]
    assert (page.more, page.problems) == (False, {})


def test_the_newest_first_and_then_what_follows(target):
    write(target.one, *((n, f"one {n}") for n in range(0, 20, 2)))
    write(target.two, *((n, f"two {n}") for n in range(1, 20, 2)))
    page = logs.target_logs(target, limit=4)
    assert texts(page) == ["one 16", "two 17", "one 18", "two 19"]
    page = logs.target_logs(target, cursor=page.cursor)
    assert texts(page) == []
    now = (database_now() - START).total_seconds()
    write(target.two, (now, "two more"))
    write(target.one, (now + 1, "one more"))
    page = logs.target_logs(target, cursor=page.cursor)
    assert texts(page) == ["two more", "one more"]
    assert texts(logs.target_logs(target, cursor=page.cursor)) == []


def test_paging_forward_loses_and_repeats_nothing(target):
    now = (database_now() - START).total_seconds()
    write(target.one, (now, "start"))
    page = logs.target_logs(target)
    write(target.one, *((now + n, f"one {n:02}") for n in range(1, 60, 3)))
    write(target.two, *((now + n, f"two {n:02}") for n in range(2, 60, 2)))
    seen = []
    while True:
        page = logs.target_logs(target, cursor=page.cursor, limit=7)
        seen += page.lines
        if not page.more:
            break
        assert len(page.lines) == 7
    assert len(seen) == len(set(seen)) == 20 + 29
    assert [line.at for line in seen] == sorted(line.at for line in seen)


def test_filters_reach_the_runtime(target):
    write(target.one, (1, "query"), (2, "upsert"), (3, "query"))
    assert texts(logs.target_logs(target, search="query")) == ["query", "query"]
    assert texts(logs.target_logs(target, since=START + timedelta(seconds=2))) == ["upsert", "query"]
    assert texts(logs.target_logs(target, level="ERROR")) == []


def test_one_replica_or_none_of_this_target(target, fleet):
    write(target.one, (1, "a"))
    write(target.two, (2, "b"))
    assert texts(logs.target_logs(target, replica=target.two.pk)) == ["b"]
    other = fleet.replica(fleet.target("two", provider="elsewhere"))
    for unknown in (other.pk, "rep_x", "x", "rep_" + "0" * 26):
        with pytest.raises(NotFoundError):
            logs.target_logs(target, replica=unknown)


def test_replicas_that_ended_recently_are_read_and_older_ones_are_not(target, settings):
    settings.REPLICA_KEEP_HOURS = 24
    write(target.one, (1, "recent"))
    write(target.two, (2, "old"))
    for replica, hours in ((target.one, 23), (target.two, 25)):
        Replica.objects.filter(pk=replica.pk).update(
            status=ReplicaStatus.STOPPED, stopped_at=database_now() - timedelta(hours=hours)
        )
    assert texts(logs.target_logs(target)) == ["recent"]
    assert texts(logs.target_logs(target, since=database_now() - timedelta(hours=1))) == []


@pytest.mark.parametrize("cursor", ["x", "!", "e30x", "WzFd", "eyJhIjoxfQ", "eyJhIjpbIjEiLCJ4Il19", "ü"])
def test_a_cursor_that_is_none_is_refused(target, cursor):
    with pytest.raises(InvalidError) as caught:
        logs.target_logs(target, cursor=cursor)
    assert caught.value.errors[0]["field"] == "cursor"


def test_a_log_that_cannot_be_read_does_not_hide_the_others(target, memory):
    write(target.one, (1, "a"))
    memory.broken = {target.two.pk}
    page = logs.target_logs(target)
    assert texts(page) == ["a"]
    assert page.problems == {target.two.pk: "The disk does not answer."}
    memory.broken = {target.one.pk, target.two.pk}
    with pytest.raises(UnavailableError, match="The disk does not answer"):
        logs.target_logs(target)


def test_following_does_not_search_again_what_was_searched(target, memory):
    write(target.one, *((n, "noise") for n in range(100)))
    page = logs.target_logs(target, search="needle")
    memory.asked = []
    before = database_now()
    page = logs.target_logs(target, search="needle", cursor=page.cursor)
    assert all(before - ask["since"] < timedelta(seconds=10) for ask in memory.asked)
    write(target.one, ((database_now() - START).total_seconds(), "needle"))
    assert texts(logs.target_logs(target, search="needle", cursor=page.cursor)) == ["needle"]


@pytest.mark.django_db(transaction=True)
def test_follow_gives_lines_as_they_come_and_those_of_new_replicas(target, fleet):
    write(target.one, (1, "first"))

    async def read():
        seen, pages = [], 0
        stream = logs.follow(target, seconds=20, poll_seconds=0.01, keep_alive_seconds=0.05)
        async for page in stream:
            pages += 1
            seen += texts(page)
            if pages == 1:
                now = (datetime.now(UTC) - START).total_seconds()
                write(target.one, (now, "second"))
            elif seen[-1] == "second" and "third" not in str(Memory.written):
                write(target.two, ((datetime.now(UTC) - START).total_seconds(), "third"))
            elif seen[-1] == "third" and not page.lines:
                return seen, page.cursor
        return seen, ""

    seen, cursor = async_to_sync(read)()
    assert seen == ["first", "second", "third"]
    late = fleet.replica(target)
    write(late, ((database_now() - START).total_seconds(), "of a new replica"))
    assert texts(logs.target_logs(target, cursor=cursor)) == ["of a new replica"]


@pytest.mark.django_db(transaction=True)
def test_follow_ends_at_its_deadline(target):
    async def read():
        return [page async for page in logs.follow(target, seconds=0.2, poll_seconds=0.05)]

    began = time.monotonic()
    pages = async_to_sync(asyncio.wait_for)(read(), 10)
    assert len(pages) == 1
    assert time.monotonic() - began < 5
