import contextlib
import os
import signal
import time

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from controlplane.supervisor.preflight import RunLock

STOP_SECONDS = 120


class Command(BaseCommand):
    help = "Stop the control plane that runs on this data directory, and wait until it has."
    requires_system_checks = []

    def handle(self, **options):
        lock = RunLock(settings.EMBEDDED.root)
        running = lock.running()
        if running is None:
            self.stdout.write(f"Nothing runs on {settings.EMBEDDED.root}.")
            return
        pid = running.get("pid")
        if not pid:
            raise CommandError("The control plane is just starting; try again.")
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while lock.running() is not None:
            if time.monotonic() > deadline:
                raise CommandError(
                    f"Process {pid} did not stop in {STOP_SECONDS} s; see {settings.EMBEDDED.logs}."
                )
            time.sleep(0.1)
        self.stdout.write("Stopped.")
