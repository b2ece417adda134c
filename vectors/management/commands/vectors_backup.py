"""`manage.py vectors_backup dump|restore|prove|delete --at PLACE`: backups of this vector database."""

import uuid

import psycopg
from django.core.management.base import BaseCommand

from controlplane.errors import ProblemError
from vectors.backups import dumping, places, restoring
from vectors.backups.programs import AwayError
from vectors.backups.telling import Telling
from vectors.jobs.work import FailedError


class Command(BaseCommand):
    help = "Backs the vector database up, or reads a backup back into an empty database and proves it."
    requires_system_checks = []

    def add_arguments(self, parser):
        parser.add_argument("verb", choices=["dump", "restore", "prove", "delete"])
        parser.add_argument("--at", required=True, help="an absolute path, or s3://, gs://, az://")
        parser.add_argument(
            "--job", type=uuid.UUID, default=uuid.UUID(int=0), help="names what is not whole yet"
        )

    def handle(self, *, verb, at, job, **_):
        telling = Telling(self.stdout._out)
        try:
            if verb == "dump":
                result = dumping.dump(at, job, telling)
            elif verb == "restore":
                result = restoring.restore(at, telling)
            elif verb == "prove":
                result = restoring.prove(at, telling)
            else:
                places.delete(at, job)
                result = {}
        except (FailedError, ProblemError) as error:
            telling.failed(str(error), "away" if isinstance(error, AwayError) else "failed")
            raise SystemExit(1) from None
        except psycopg.Error as error:
            away = isinstance(error, psycopg.OperationalError) and "does not exist" not in str(error)
            text = (str(error).strip() or type(error).__name__).splitlines()[0]
            telling.failed(f"The database: {text}", "away" if away else "failed")
            raise SystemExit(1) from None
        telling.succeeded(result)
