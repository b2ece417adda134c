import asyncio
import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import NoReturn, TextIO

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.module_loading import import_string

from controlplane import embedded
from controlplane.supervisor import preflight
from controlplane.supervisor.console import Console
from controlplane.supervisor.leftovers import clean_up
from controlplane.supervisor.run import Started, Supervisor

# Starts the part of a detached start's report that says why it failed.
FAULT = "\0"


class Command(BaseCommand):
    help = (
        "Start the control plane: PostgreSQL and Redis (unless DATABASE_URL and REDIS_URL name others),"
        " the web role, a worker and beat. Ctrl-C or SIGTERM stops all of it; the next start continues on"
        " the same data."
    )
    # Django's system checks would ask the database, which this command starts.
    requires_system_checks = []

    def add_arguments(self, parser):
        parser.add_argument("--port", type=int, default=None, help="port of the web role (default 8000)")
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
        parser.add_argument(
            "--detach", action="store_true", help="return once it works; `manage.py down` stops it"
        )
        parser.add_argument(
            "--check",
            action="store_true",
            help="start on data of its own, run the main job, stop; exit status 0 only if all of it worked",
        )

    def handle(self, *, port, host, detach, check, **options):
        if port is not None and not 1 <= port <= 65535:
            raise CommandError("--port: give 1 to 65535.")
        try:
            if check:
                return self._check(port, host)
            if detach:
                return self._detach(port or 8000, host)
            return self._up(port or 8000, host)
        except (preflight.StartError, embedded.EmbeddedError) as error:
            raise CommandError(str(error)) from None

    def _up(self, port: int, host: str, report: TextIO | None = None) -> None:
        began = time.monotonic()
        # A detached start tells its few words to the one who asked and its lines to the files alone.
        console = Console(quiet=report is not None, stream=report or sys.stdout)
        layout = settings.EMBEDDED
        preflight.check_data_directory(layout.root)
        lock = preflight.RunLock(layout.root)
        former = lock.take()
        try:
            preflight.check_memory()
            own_postgres = not os.environ.get("DATABASE_URL") and not os.environ.get("DATABASE_URL_FILE")
            own_redis = not os.environ.get("REDIS_URL") and not os.environ.get("REDIS_URL_FILE")
            if own_postgres:
                preflight.check_postgres_version(layout)
            clean_up(layout, former, console.say)
            preflight.check_port(host, port)
            embedded.prepare(layout, postgres=own_postgres)
            supervisor = Supervisor(
                layout=layout,
                lock=lock,
                host=host,
                port=port,
                console=console,
                ready=lambda started: self._tell(console, report, layout, started),
                embedded_postgres=own_postgres,
                embedded_redis=own_redis,
                began=began,
            )
            asyncio.run(supervisor.run())
        except OSError as error:
            raise CommandError(f"The start failed: {error}. Is the disk full or a limit reached?") from None
        finally:
            lock.release()

    def _tell(self, console: Console, report, layout, started: Started) -> None:
        say = console.say
        say("")
        say(f"  AindusDB Control Plane is ready after {started.seconds:.1f} s: {started.url}")
        if started.password:
            say(f"  Sign in as admin with the password {started.password}")
            say("  It is shown this once; `.venv/bin/python manage.py changepassword admin` sets another.")
        say(f"  Data: {layout.root}")
        if report:
            say(f"  Process {os.getpid()}; stop it with: .venv/bin/python manage.py down")
            say("")
            # The reader of this pipe waits for its end.
            report.close()
        else:
            say("  Stop with Ctrl-C.")
            say("")

    def _detach(self, port: int, host: str) -> None:
        """Go on in a process of our own making, which has imported all it needs, and wait until it works."""
        read, write = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(read)
            self._run_detached(port, host, write)
        os.close(write)
        fault = ""
        with os.fdopen(read) as report:
            for line in report:
                if fault or line.startswith(FAULT):
                    fault += line.removeprefix(FAULT)
                else:
                    self.stdout.write(line, ending="")
        running = preflight.RunLock(settings.EMBEDDED.root).running()
        if fault or running is None or running.get("pid") != process:
            os.waitpid(process, 0)
            raise CommandError(fault.strip() or f"The start failed; see {settings.EMBEDDED.logs}.")

    def _run_detached(self, port: int, host: str, report_descriptor: int) -> NoReturn:
        status = 1
        report = os.fdopen(report_descriptor, "w")
        try:
            os.setsid()
            nothing = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(nothing, descriptor)
            os.set_inheritable(report_descriptor, False)
            self._up(port, host, report)
            status = 0
        except BaseException as error:
            # The reader is gone once the start has worked.
            with contextlib.suppress(OSError, ValueError):
                report.write(f"{FAULT}{error}\n")
                report.close()
        finally:
            os._exit(status)

    def _check(self, port: int | None, host: str) -> None:
        with contextlib.ExitStack() as stack:
            environment = dict(os.environ)
            if "AINDUS_DATA_DIR" not in environment:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="aindus-check-"))
                Path(folder).chmod(0o711)
                environment["AINDUS_DATA_DIR"] = str(Path(folder) / "data")
            driver = import_string(settings.CHECK_COMMAND)
            faults = driver(
                environment=environment,
                manage=[sys.executable, str(Path(settings.BASE_DIR) / "manage.py")],
                host=host,
                port=port or preflight.free_port(host),
                say=lambda line: (self.stdout.write(line), self.stdout.flush()),
            )
        if faults:
            raise CommandError("The check failed: " + "; ".join(faults))
