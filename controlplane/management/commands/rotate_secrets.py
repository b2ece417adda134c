import os
from pathlib import Path

from cryptography.fernet import Fernet
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from controlplane import rotation


class Command(BaseCommand):
    help = (
        "Encrypt every stored secret with the newest of AINDUS_ENCRYPTION_KEYS. In order: --new-key, restart"
        " all roles, rotate_secrets, --drop-old, restart."
    )

    def add_arguments(self, parser):
        group = parser.add_mutually_exclusive_group()
        group.add_argument("--new-key", action="store_true", help="put a new key first into the key file")
        group.add_argument(
            "--drop-old",
            action="store_true",
            help="leave only the newest key in the key file, once none is needed",
        )

    def handle(self, *, new_key, drop_old, **options):
        if new_key:
            self._write([Fernet.generate_key().decode(), *settings.ENCRYPTION_KEYS])
            self.stdout.write("A new key is first. Restart all roles, then run rotate_secrets.")
            return
        try:
            rotated, current = rotation.rotate_stored_secrets()
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"{rotated} secrets rotated, {current} current already.")
        if drop_old:
            self._write(settings.ENCRYPTION_KEYS[:1])
            self.stdout.write("Only the newest key is left. Restart all roles.")

    def _write(self, keys: list[str]) -> None:
        if "AINDUS_ENCRYPTION_KEYS" in os.environ or "AINDUS_ENCRYPTION_KEYS_FILE" in os.environ:
            raise CommandError(
                "The keys come from the environment (AINDUS_ENCRYPTION_KEYS): change them there."
            )
        path = Path(settings.EMBEDDED.secrets) / "encryption_keys"
        temporary = path.with_name(f".{path.name}.new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(",".join(keys))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
