"""The worker's Celery application with a killer in it: `celery --app tests.chaos.app worker`.

Of the processes that reach a moment of a step for the first time, every second dies by SIGKILL right there.
What was killed is noted in AINDUS_CHAOS_DIR, a file for each, made before the kill so that it happens once.
"""

import json
import os
import signal
import time
import zlib
from pathlib import Path

from worker import signals as moments
from worker.celery import app

__all__ = ["app"]

FOLDER = Path(os.environ["AINDUS_CHAOS_DIR"])
# Steps that wait are visited often: they are killed on later visits as well.
VISITS = (1, 4, 7, 10, 13)
# Every so many kills the whole worker goes, not only the process that runs the step.
WHOLE_WORKER_EVERY = 12


def _note(name: str, **detail) -> bool:
    """Make a file as a whole; False when it is there already."""
    draft = FOLDER / f"draft {os.getpid()}"
    draft.write_text(json.dumps(detail))
    try:
        (FOLDER / name).hardlink_to(draft)
    except FileExistsError:
        return False
    return True


def kill_once(moment: str, operation_id: str, kind: str, step: str) -> None:
    """Die if this moment of this step was not reached before (or is a later visit that is due)."""
    if not (FOLDER / "armed").exists():
        return
    visit = 1
    while not _note(f"visit {operation_id} {step} {moment} {visit}"):
        visit += 1
    if visit not in VISITS:
        return
    # Every second operation that comes here dies; which of them, differs from moment to moment.
    here = f"{kind} {step} {moment} {visit}"
    turn = 1
    while not _note(f"turn {here} {turn}"):
        turn += 1
    if turn % 2 == zlib.crc32(here.encode()) % 2:
        return
    count = len(list(FOLDER.glob("kill *"))) + 1
    whole = count % WHOLE_WORKER_EVERY == 0
    _note(
        f"kill {operation_id} {step} {moment} {visit}",
        operation=operation_id,
        kind=kind,
        step=step,
        moment=moment,
        at=time.time(),
        whole_worker=whole,
    )
    if whole:
        os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def _before(sender, operation_id, kind, step, **_):
    kill_once("before", operation_id, kind, step)


def _after(sender, operation_id, kind, step, **_):
    kill_once("after", operation_id, kind, step)


def _committed(sender, operation_id, kind, step, **_):
    kill_once("committed", operation_id, kind, step)


moments.step_leased.connect(_before, weak=False)
moments.step_ran.connect(_after, weak=False)
moments.step_committed.connect(_committed, weak=False)
