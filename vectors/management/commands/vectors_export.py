"""`manage.py vectors_export COLLECTION > FILE`: a collection as Parquet."""

import json
import os
import sys

from django.core.management.base import BaseCommand, CommandError

from controlplane.errors import ProblemError
from vectors.transfer import exporting


class Command(BaseCommand):
    help = "Writes the points of a collection to standard output, as Parquet."
    requires_system_checks = []

    def add_arguments(self, parser):
        parser.add_argument("collection", help="its name or id")
        parser.add_argument(
            "--options", default="{}", help='JSON {"namespace": text or null, "filter": object or null}'
        )

    def handle(self, *, collection, options, **_):
        options = {"namespace": None, "filter": None} | json.loads(options)
        if sys.stdout.isatty():
            raise CommandError("Parquet is no text: send it to a file, > points.parquet")
        try:
            with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as file:
                exporting.parquet_write(file, collection, **options)
        except BrokenPipeError:
            # Whoever read it has enough.
            os._exit(1)
        except ProblemError as error:
            raise CommandError(str(error)) from None
