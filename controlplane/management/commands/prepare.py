import time

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection

from controlplane.first_start import first_start
from controlplane.probes import unapplied_migrations


class Command(BaseCommand):
    help = (
        "Apply migrations and make the administrator and the first project where there are none: before the"
        " roles of a release start. Its password is printed once."
    )
    requires_system_checks = []

    def add_arguments(self, parser):
        parser.add_argument(
            "--wait", action="store_true", help="change nothing; wait until another process has done it"
        )
        parser.add_argument(
            "--seconds", type=int, default=300, help="how long the database or the other may take"
        )

    def handle(self, *, wait, seconds, **options):
        deadline = time.monotonic() + seconds
        while True:
            standing = self._standing()
            if standing is None and wait:
                return
            if not wait and not isinstance(standing, str):
                break
            if time.monotonic() > deadline:
                told = standing if isinstance(standing, str) else f"{len(standing)} migrations are missing"
                raise CommandError(f"Not prepared after {seconds} s: {told}.")
            time.sleep(1)
        if standing:
            self.stdout.write(f"Applying {len(standing)} migrations.")
            call_command("migrate", interactive=False, verbosity=0)
        password = first_start()
        if password:
            self.stdout.write(
                f"Sign in as admin with the password {password} and change it; shown this once."
            )
        self.stdout.write("Prepared.")

    def _standing(self) -> list[str] | str | None:
        """The migrations that are missing, None for none, or why the database does not answer."""
        try:
            return unapplied_migrations() or None
        except (DatabaseError, OSError) as error:
            return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        finally:
            connection.close()
