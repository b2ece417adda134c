"""Reading and bounding a replica's log."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from controlplane import ids
from deployments.runtimes.processes.folder import ReplicaFolder
from deployments.runtimes.processes.logs import read, rotate

START = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path):
    folder = ReplicaFolder(tmp_path, ids.new("rep"))
    folder.make()
    return folder


def stamp(seconds):
    return (START + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def write(folder, first, count, level="INFO", text="line {}"):
    with folder.log.open("a") as log:
        for number in range(first, first + count):
            log.write(f"{stamp(number)} {level} app {text.format(number)}\n")


def texts(lines):
    return [line.text for line in lines]


def test_newest_lines_oldest_first(folder):
    write(folder, 0, 10)
    lines = list(read(folder, limit=3))
    assert texts(lines) == ["app line 7", "app line 8", "app line 9"]
    assert lines[0].at == START + timedelta(seconds=7)
    assert lines[0].level == "INFO"


def test_no_log(folder, tmp_path):
    assert list(read(folder)) == []
    assert list(read(ReplicaFolder(tmp_path, ids.new("rep")))) == []


def test_traceback_is_one_record(folder):
    write(folder, 0, 1)
    with folder.log.open("a") as log:
        log.write(f"{stamp(1)} ERROR app failed\nTraceback (most recent call last):\n  File x\nKeyError: 1\n")
    write(folder, 2, 1)
    lines = list(read(folder))
    assert len(lines) == 3
    assert lines[1].text.endswith("KeyError: 1")
    assert texts(read(folder, level="warning")) == [lines[1].text]
    assert texts(read(folder, search="keyerror")) == [lines[1].text]


def test_lines_without_a_header(folder):
    folder.log.write_text("Traceback\n  boom\n")
    write(folder, 0, 1)
    lines = list(read(folder, level="ERROR"))
    assert [(line.at, line.level, line.text) for line in lines] == [(None, "", "Traceback\n  boom")]


def test_cursor_follows(folder):
    write(folder, 0, 3)
    last = list(read(folder))[-1].cursor
    assert list(read(folder, cursor=last)) == []
    write(folder, 3, 3)
    with folder.log.open("a") as log:
        log.write(f"{stamp(9)} INFO app not yet fin")
    lines = list(read(folder, cursor=last, limit=2))
    assert texts(lines) == ["app line 3", "app line 4"]
    lines = list(read(folder, cursor=lines[-1].cursor))
    assert texts(lines) == ["app line 5"]
    with folder.log.open("a") as log:
        log.write("ished\n")
    assert texts(read(folder, cursor=lines[-1].cursor)) == ["app not yet finished"]


def test_range_of_time(folder):
    write(folder, 0, 100)
    since, until = START + timedelta(seconds=40), START + timedelta(seconds=42)
    assert texts(read(folder, since=since, until=until)) == ["app line 40", "app line 41", "app line 42"]


def test_rotation_keeps_cursors_and_bounds_the_disk(folder):
    write(folder, 0, 1000)
    cursor = list(read(folder))[-1].cursor
    with folder.log.open("a") as replica:
        # As the replica does it: one descriptor, opened once for appending.
        for turn in range(1, 40):
            rotate(folder, 40_000)
            for number in range(1000):
                replica.write(f"{stamp(turn * 1000 + number)} INFO app line {turn * 1000 + number}\n")
            replica.flush()
            lines = list(read(folder, cursor=cursor, limit=2000))
            assert texts(lines) == [f"app line {turn * 1000 + n}" for n in range(1000)]
            cursor = lines[-1].cursor
            kept = sum(path.stat().st_size for path in folder.path.iterdir())
            assert kept < 150_000
    assert texts(read(folder, limit=1500))[0] == "app line 38500"


def test_secrets_are_blanked(folder):
    folder.write_secret("database_url", "postgresql://role:s3cretpassword@/db")
    write(folder, 0, 1, text="cannot reach postgresql://role:s3cretpassword@/db as s3cretpassword")
    assert texts(read(folder)) == ["app cannot reach *** as ***"]


def test_a_hundred_megabytes(folder):
    """Reading the newest, a time range, or searching for what is nowhere stays quick."""
    line = "INFO app GET /api/v1/vectors/collections/a/query 200 in 1.234 ms from 127.0.0.1 by key {}\n"
    with folder.log.open("w") as log:
        for block in range(1000):
            at = stamp(block)
            log.write("".join(f"{at} {line.format(block * 1000 + n)}" for n in range(1000)))
    assert folder.log.stat().st_size > 100e6

    def timed(**arguments):
        started = time.perf_counter()
        lines = list(read(folder, **arguments))
        return lines, time.perf_counter() - started

    lines, seconds = timed(limit=500)
    assert len(lines) == 500
    assert lines[-1].text.endswith("999999")
    assert seconds < 0.2
    lines, seconds = timed(since=START + timedelta(seconds=500), until=START + timedelta(seconds=501))
    assert len(lines) == 500
    assert lines[-1].text.endswith("501999")
    assert seconds < 0.5
    lines, seconds = timed(search="no such text")
    assert lines == []
    assert seconds < 3
    lines, seconds = timed(search="by key 1234\n".strip())
    assert texts(lines)[0].endswith("by key 1234")
    assert seconds < 3
