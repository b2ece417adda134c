"""A pytest plugin: PostgreSQL and Redis of this run alone, on sockets in a temporary folder.

Loaded with `-p tests.services`, before Django's settings are read. Servers given by DATABASE_URL and
REDIS_URL are used instead. The servers die with the test process, however it ends.
"""

import contextlib
import ctypes
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

_started: list[subprocess.Popen] = []
_folder: Path | None = None


def _die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGINT)


def _start(command, arguments, log):
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, preexec_fn=_die_with_parent, **arguments)
    _started.append(process)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config, parser, args):
    global _folder
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings")
    if "AINDUS_DATA_DIR" in os.environ and "DATABASE_URL" in os.environ:
        return
    from controlplane import embedded

    # Replicas of two runs on one machine must not take each other's ports.
    first = random.randrange(10_000, 32_000, 100)
    os.environ.setdefault("AINDUS_REPLICA_PORTS", f"{first}-{first + 99}")
    _folder = Path(tempfile.mkdtemp(prefix="aindus-test-"))
    _folder.chmod(0o711)
    os.environ["AINDUS_DATA_DIR"] = str(_folder)
    layout = embedded.Layout(_folder)
    embedded.prepare(layout)
    # WhiteNoise warns of a STATIC_ROOT that is not there.
    (_folder / "static").mkdir(exist_ok=True)
    command, arguments = embedded.postgres_command(layout)
    command += ["-c", "fsync=off", "-c", "full_page_writes=off", "-c", "shared_buffers=256MB"]
    _start(command, arguments, layout.logs / "postgres.log")
    command, arguments = embedded.redis_command(layout)
    _start(command, arguments, layout.logs / "redis.log")
    deadline = time.monotonic() + 30
    while True:
        with contextlib.suppress(Exception):
            embedded.ensure_database(layout)
            break
        if time.monotonic() > deadline:
            raise RuntimeError((layout.logs / "postgres.log").read_text()[-2000:])
        time.sleep(0.02)


def pytest_unconfigure(config):
    for process in _started:
        process.send_signal(signal.SIGINT)
    for process in _started:
        process.wait(timeout=30)
    _started.clear()
    if _folder:
        shutil.rmtree(_folder, ignore_errors=True)
