"""Imports FOCUS files: CSV, CSV.gz or Parquet of FOCUS 1.0 to 1.3."""

from pathlib import Path

from django.core.management.base import BaseCommand, CommandError

from controlplane.errors import ProblemError
from controlplane.models import Project
from costs.imports import cost_import_receive
from costs.models import OnError
from worker import engine


class Command(BaseCommand):
    help = "Import FOCUS files (CSV, CSV.gz, Parquet) as one import; a second import replaces the first."

    def add_arguments(self, parser):
        parser.add_argument("paths", nargs="+", metavar="PATH", type=Path)
        parser.add_argument("--project", default="", help="Name of the project; the first one by default.")
        parser.add_argument(
            "--source", default="", help="What the records are kept under; the first file's name by default."
        )
        parser.add_argument(
            "--on-error",
            default=OnError.FAIL,
            choices=OnError.values,
            help="fail imports nothing when a row is broken; skip leaves broken rows out.",
        )

    def handle(self, *, paths, project, source, on_error, **options):
        projects = Project.objects.filter(name=project) if project else Project.objects.order_by("pk")
        found = projects.first()
        if found is None:
            raise CommandError(f"There is no project {project}." if project else "There is no project yet.")
        streams = []
        try:
            for path in paths:
                try:
                    streams.append(path.open("rb"))
                except OSError as error:
                    raise CommandError(f"{path} cannot be read: {error.strerror}.") from None
            made, operation = cost_import_receive(
                project=found,
                files=[(path.name, stream.read) for path, stream in zip(paths, streams, strict=True)],
                source=source,
                on_error=on_error,
                created_by="command:import_costs",
            )
        except ProblemError as error:
            raise CommandError(error.detail) from None
        finally:
            for stream in streams:
                stream.close()
        # Here, because no worker may be running; when one is, whoever comes first does the next step.
        engine.drain(made.source.subject, seconds=24 * 3600)
        self._tell(made, operation)

    def _tell(self, made, operation) -> None:
        made.refresh_from_db()
        operation.refresh_from_db()
        for problem in made.problems:
            where = f"{problem['file']}:{problem['line']}"
            column = f" {problem['column']}" if problem["column"] else ""
            self.stderr.write(f"{where}{column}: {problem['reason']}")
        if made.rejected > len(made.problems):
            self.stderr.write(f"and more: {made.rejected:,} broken rows in all")
        if operation.status != "succeeded":
            raise CommandError(f"{operation.error} {operation.remedy}".strip())
        for total in made.totals:
            self.stdout.write(
                f"{total['provider']}: {total['rows']:,} rows, in {total['currency']}"
                f" billed {total['BilledCost']}, effective {total['EffectiveCost']},"
                f" list {total['ListCost']}, contracted {total['ContractedCost']}"
            )
        for period in made.periods:
            replaced = period["replaced_rows"]
            what = f", replacing {replaced:,}" if replaced else ""
            self.stdout.write(f"{period['month']}: {period['rows']:,} rows{what}")
        left_out = f"; {made.rejected:,} broken rows left out" if made.rejected else ""
        self.stdout.write(f"{made.rows:,} rows imported as {made.source.name} ({made.pk}){left_out}")
