"""A worker that takes no messages ends itself."""

import os
import signal
import subprocess
import sys
import time

from worker.celery import app

QUEUE = "operations"


def test_a_deaf_worker_ends(settings, tmp_path):
    log = (tmp_path / "worker.log").open("w+")
    worker = subprocess.Popen(
        [
            *(sys.executable, "-m", "celery", "--app", "worker.celery", "--quiet", "worker"),
            *("--hostname", "deaf@%h", "--concurrency", "1", "--queues", QUEUE, "--loglevel", "INFO"),
            *("--without-gossip", "--without-mingle"),
        ],
        env=os.environ | {"AINDUS_ROLE": "worker", "DATABASE_URL": settings.DATABASE_URL},
        cwd=settings.BASE_DIR,
        stdout=log,
        stderr=log,
    )
    try:
        deadline = time.monotonic() + 20
        while not app.control.cancel_consumer(QUEUE, reply=True, timeout=0.5):
            assert time.monotonic() < deadline, (tmp_path / "worker.log").read_text()
        started = time.monotonic()
        app.send_task("worker.sweep", queue=QUEUE)
        assert worker.wait(25) == -signal.SIGKILL
        assert 7 < time.monotonic() - started < 20
        assert "this worker ends" in (tmp_path / "worker.log").read_text()
    finally:
        worker.kill()
        worker.wait()
        log.close()
        app.control.purge()
