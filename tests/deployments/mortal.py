"""Workers that die by SIGKILL, each where none died before."""

import os
import signal
import time

from django.db import connections

from worker import engine, signals
from worker.models import Operation
from worker.services import operation_wake

WRITES = ("PATCH", "POST", "DELETE")
WRITES_UNTIL_KILLED = 3


class Mortal:
    """Advances operations in processes that die: before a step, after it and before its outcome is stored,
    and once in the middle of its requests.

    `requests` gives those that the outside was sent by now; without it none die in their middle.
    """

    def __init__(self, folder, requests=lambda: []):
        self.folder, self.requests = folder, requests
        self.kills = []

    def run(self, operation, seconds=60.0):
        """The operation as it ended; AssertionError when it does not."""
        deadline = time.monotonic() + seconds
        while not Operation.objects.get(pk=operation.pk).is_finished:
            told = operation.events.order_by("-sequence").values_list("step", "outcome", "message")
            assert time.monotonic() < deadline, list(told[:8])
            self._one_life(operation)
        operation.refresh_from_db()
        return operation

    def _one_life(self, operation) -> None:
        connections.close_all()
        seen = len(self.requests())
        may_die_writing = self._first(f"{operation.kind} writes")
        child = os.fork()
        if child == 0:
            try:
                signals.step_leased.connect(self._die_before, weak=False)
                signals.step_ran.connect(self._die_after, weak=False)
                engine.drain(operation.subject, seconds=20)
            finally:
                os._exit(0)
        while not (ended := os.waitpid(child, os.WNOHANG))[0]:
            sent = sum(one.method in WRITES for one in self.requests()[seen:])
            if may_die_writing and sent >= WRITES_UNTIL_KILLED:
                may_die_writing = False
                os.kill(child, signal.SIGKILL)
            time.sleep(0.002)
        if os.WIFSIGNALED(ended[1]):
            self.kills.append(operation.kind)
            # The engine would wait a second and more before it tries again.
            operation_wake(subject=operation.subject)

    def _first(self, name) -> bool:
        try:
            (self.folder / name).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def _die_before(self, sender, kind, step, **_):
        if self._first(f"{kind} {step} before"):
            os.kill(os.getpid(), signal.SIGKILL)

    def _die_after(self, sender, kind, step, **_):
        if self._first(f"{kind} {step} after"):
            os.kill(os.getpid(), signal.SIGKILL)
