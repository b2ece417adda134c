from datetime import timedelta

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from controlplane.errors import ProblemError
from controlplane.models import Project, Role
from controlplane.services import api_key_create


class Command(BaseCommand):
    help = "Make a key of the REST API and print it, alone, on standard output. It cannot be shown again."

    def add_arguments(self, parser):
        parser.add_argument("name", help="what the key is for, once per project")
        parser.add_argument("--role", required=True, choices=Role.values)
        parser.add_argument("--project", default="default", help="the project's name (default: default)")
        parser.add_argument("--expires-in-days", type=int, metavar="N", help="default: never")

    def handle(self, *, name, role, project, expires_in_days, **options):
        if expires_in_days is not None and not 1 <= expires_in_days <= 36500:
            raise CommandError("--expires-in-days: give 1 to 36500.")
        try:
            owner = Project.objects.get(name=project)
        except Project.DoesNotExist:
            known = ", ".join(Project.objects.order_by("name").values_list("name", flat=True)) or "none"
            raise CommandError(f"There is no project named {project}; known: {known}.") from None
        expires_at = timezone.now() + timedelta(days=expires_in_days) if expires_in_days else None
        try:
            _, text = api_key_create(
                project=owner, name=name, role=role, created_by="system", expires_at=expires_at
            )
        except ProblemError as error:
            details = "; ".join(f"{item['field']}: {item['message']}" for item in error.errors)
            raise CommandError(details or error.detail) from None
        self.stdout.write(text)
