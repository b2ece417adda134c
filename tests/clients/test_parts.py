"""Parts of the client that need no server: the progress bar, batches, errors, models."""

import io
import json
import re

import numpy as np
import pytest

from aindusdb_client import ApiError, InvalidError, Point, ProgressBar, Status, UnexpectedAnswerError
from aindusdb_client.encoding import base64_of, batches, packed
from aindusdb_client.errors import api_error
from aindusdb_client.models import CollectionInfo, build
from aindusdb_client.progress import Meter, duration, size
from tests.clients.failing import INFO


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_bar_shows_rows_rate_and_time_left():
    bar = ProgressBar("docs", Terminal())
    bar(Status(12_000, 24_000, 5 * 2**20, None, 3.0))
    bar(Status(12_001, 24_000, 5 * 2**20, None, 3.0))
    bar(Status(24_000, 24_000, 5 * 2**20, None, 6.0, ended=True))
    drawn = bar.stream.getvalue().split("\r\x1b[K")[1:]
    assert drawn == [
        "docs  [############------------]  50 %  12,000 of 24,000 rows  4,000/s  3 s left",
        "docs  [########################] 100 %  24,000 of 24,000 rows  4,000/s  in 6 s\n",
    ]
    assert bar.text(Status(bytes=3 * 2**20, bytes_total=6 * 2**20, seconds=60)) == (
        "docs  [############------------]  50 %  3.0 MiB of 6.0 MiB  51.2 KiB/s  1:00 min left"
    )
    assert ProgressBar("", Terminal()).text(Status(7, seconds=2)) == "7 rows  4/s"


def test_the_bar_is_silent_where_nobody_looks():
    plain = io.StringIO()
    closed = io.StringIO()
    closed.close()
    for stream in (plain, closed, object()):
        bar = ProgressBar(stream=stream)
        bar(Status(1, 2, seconds=10))
        bar(Status(2, 2, seconds=10, ended=True))
    assert plain.getvalue() == ""
    quick = ProgressBar(stream=Terminal())
    quick(Status(1, 2, seconds=0.1))
    quick(Status(2, 2, seconds=0.2, ended=True))
    assert quick.stream.getvalue() == ""


def test_callbacks_are_told_what_was_done():
    told = []
    meter = Meter(told.append, rows_total=4)
    meter.add(rows=1, bytes=10)
    meter.add(rows=3, bytes=30)
    meter.end()
    assert [(one.rows, one.bytes, one.share, one.ended) for one in told] == [
        (1, 10, 0.25, False),
        (4, 40, 1.0, False),
        (4, 40, 1.0, True),
    ]
    assert Status().seconds_left is None and Status(1, 4, seconds=2).seconds_left == 6
    for progress in (None, False):
        Meter(progress).add(rows=1)
    assert isinstance(Meter(True).progress, ProgressBar)


def test_sizes_and_times_for_people():
    assert [size(n) for n in (0, 1023, 1024, 5 * 2**40)] == ["0 B", "1,023 B", "1.0 KiB", "5,120.0 GiB"]
    assert [duration(n) for n in (0.4, 59, 187, 7500)] == ["0 s", "59 s", "3:07 min", "2:05 h"]


def test_batches_hold_what_a_body_may():
    points = [Point(str(at), [1.0, 2.0], "x" * (at % 50), {"a": ["ä"] * (at % 7)}) for at in range(1000)]
    made = list(batches(points, namespace="n", most_points=100, most_bytes=4000))
    assert [point_id for batch in made for point_id in batch.ids] == [point.id for point in points]
    for batch in made:
        assert len(batch) <= 100
        text = json.dumps(batch.body(), ensure_ascii=False, separators=(",", ":")).encode()
        assert len(text) < 4000 * 1.2
    assert "contents" not in next(batches([("a", [1])], namespace="", most_points=9, most_bytes=9)).body()
    spaces = [Point("a", [1], namespace="x"), Point("b", [1]), Point("c", [1, 2])]
    made = list(batches(spaces, namespace="", most_points=9, most_bytes=999))
    assert [(batch.namespace, batch.ids) for batch in made] == [("x", ["a"]), ("", ["b"]), ("", ["c"])]


def test_vectors_are_packed_alike():
    numbers = [0.1, -2.5, 3e38, 1e-45]
    assert packed(numbers) == packed(np.array(numbers)) == np.array(numbers, dtype="<f4").tobytes()
    assert base64_of([1.0]) == "AACAPw=="
    with pytest.raises(ValueError, match="one axis"):
        packed(np.zeros((1, 1)))
    with pytest.raises(TypeError):
        packed(["a"])


def test_errors_say_what_and_where():
    body = {
        "status": 422,
        "code": "wrong_dimension",
        "detail": "The vector has 2 numbers.",
        "errors": [{"field": "points[3].vector", "code": "wrong_dimension", "message": "..."}],
        "request_id": "r1",
        "retry_after": 4,
        "extra": 1,
    }
    error = api_error(422, {}, json.dumps(body).encode())
    assert isinstance(error, InvalidError)
    assert str(error) == "422 wrong_dimension: The vector has 2 numbers. (at points[3].vector) [r1]"
    assert (error.errors[0].field, error.retry_after, error.body["extra"]) == ("points[3].vector", 4, 1)
    for data in (b"", b"[]", b'{"errors": null}', b'{"errors": [3], "retry_after": "soon"}', b"\xff"):
        found = api_error(418, {"X-Request-Id": "r2", "Retry-After": "soon"}, data)
        assert type(found) is ApiError
        assert (found.code, found.request_id, found.retry_after) == ("http_418", "r2", None)


def test_answers_that_are_none():
    for wrong in (None, [], {}, {"index": 3}, INFO | {"created_at": "soon"}):
        with pytest.raises(UnexpectedAnswerError, match="no CollectionInfo"):
            build(CollectionInfo, wrong)


def test_answers_of_newer_servers_are_taken():
    about = build(CollectionInfo, INFO | {"colour": "red", "index": INFO["index"] | {"shade": 1}})
    assert about.name == "docs" and about.index.auto is True
    assert re.fullmatch(r"2026-01-31 12:00:00\+00:00", str(about.created_at))
