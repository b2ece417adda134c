from django.core.management.base import BaseCommand, CommandError

from controlplane import audit


class Command(BaseCommand):
    help = "Check the hash chain of the audit log; exit status 1 when an entry was changed or cut."

    def handle(self, **options):
        found = audit.verify()
        if found.broken_at is not None:
            raise CommandError(f"The audit log is broken at entry {found.broken_at}: {found.reason}.")
        self.stdout.write(f"{found.entries} entries, unbroken.")
