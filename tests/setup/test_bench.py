"""What the benches compute from what they measure, and that their commands tell what they take."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_tables_align():
    from bench.speed.report import table

    lines = table(["who", "rate", "ratio"], [["raw", 1234.5, "1.00"], ["the api", 0.256, None]]).splitlines()
    assert lines == ["who       rate  ratio", "raw      1,234   1.00", "the api   0.26"]


@pytest.mark.parametrize(
    ("value", "bound", "most", "met", "short_by"),
    [
        (0.95, 0.95, False, True, 0),
        (0.9, 0.95, False, False, 0.05 / 0.95),
        (1.3, 1.3, True, True, 0),
        (1.56, 1.3, True, False, 0.2),
        (1, 0, True, False, 1),
    ],
)
def test_targets_say_by_how_much_they_are_missed(value, bound, most, met, short_by):
    from bench.speed.report import Target

    target = Target("a ratio", value, bound, most=most)
    assert target.met is met
    assert target.short_by == pytest.approx(short_by)
    assert ("met" if met else "falls short by") in str(target)


def test_ratios_are_of_slices_side_by_side():
    from bench.speed.load import Measured, ratio

    base, ours = Measured(rates=[100, 10, 100]), Measured(rates=[90, 9, 110])
    assert ratio(ours, base)[0] == pytest.approx(0.9)


def test_load_is_made_by_processes_in_turn():
    from bench.speed.load import alternate

    def make(number):
        return lambda at: sum(range(200))

    found = alternate({"a": make, "b": make}, 2, rounds=3, seconds=0.02)
    assert [len(found[name].rates) for name in "ab"] == [3, 3]
    assert all(measured.rate > 0 and measured.cpu_ms > 0 for measured in found.values())


def test_a_failing_contender_is_told():
    from bench.speed.load import alternate

    def make(number):
        raise ValueError("no such server")

    with pytest.raises(RuntimeError, match="no such server"):
        alternate({"a": make}, 1, rounds=1, seconds=0.01)


def test_documents_are_the_same_each_time():
    from bench.speed.documents import clustered

    few, many = clustered(50, 8, queries=5), clustered(80, 8, queries=5)
    assert np.array_equal(few.vectors, many.vectors[:50])
    assert few.metadata == many.metadata[:50]
    likeness = many.queries @ many.vectors.T
    assert many.truth[:, 0].tolist() == likeness.argmax(axis=1).tolist()
    assert many.recall([[many.ids[row] for row in best[:10]] for best in many.truth]) == 1


def test_results_are_kept_beside_each_other(tmp_path):
    from bench.speed.report import Report

    said = Report()
    said.target("a ratio", 1.0, least=0.9)
    said.summary()
    paths = {said.keep(tmp_path, "vectors") for _ in range(2)}
    assert len(paths) == 2
    assert all("1 of 1 targets met" in path.read_text() for path in paths)


@pytest.mark.parametrize("module", ["bench.speed", "bench.speed.completeness"])
def test_commands_tell_what_they_take(module):
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "--data" in done.stdout
