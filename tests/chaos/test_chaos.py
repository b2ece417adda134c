"""Every scenario of tests/chaos/driver.py, each in a process with servers of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.chaos
@pytest.mark.parametrize("scenario", ["kills", "redis", "postgresql"])
def test_everything_ends_right(scenario):
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos.driver", scenario],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=290,
    )
    print(done.stdout)  # noqa: T201
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
